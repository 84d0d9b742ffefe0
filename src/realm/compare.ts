import type { Sql } from 'postgres';
import type { ModuleCache } from '../cache.js';
import { openKysely } from '../database.js';
import type { ModuleSource } from './source.js';

/** Artifacts that were made from a file carry the hash of its text under this header. */
export const SOURCE_HASH_HEADER = 'source-hash';

/**
 * Invalidates every stored module whose source is another than it was made from, so that a change which was made while
 * nothing ran is found. Resolves to the paths that had changed.
 */
export async function compareWithStored(
  cache: ModuleCache,
  sql: Sql,
  realm: string,
  source: ModuleSource,
): Promise<string[]> {
  const stored = await openKysely(sql)
    .selectFrom('module_cache.artifacts')
    .select(['canonical_path', 'headers'])
    .distinct()
    .where('realm_url', '=', realm)
    .where('status', '!=', 'dead')
    .execute();
  const changed = new Set<string>();
  for (const { canonical_path: path, headers } of stored) {
    const hash = headers[SOURCE_HASH_HEADER];
    if (hash === undefined || changed.has(path)) continue;
    if ((await source.read(path))?.hash !== hash) changed.add(path);
  }
  if (changed.size > 0) await cache.invalidate(realm, [...changed]);
  return [...changed];
}
