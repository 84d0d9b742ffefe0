import type { Sql } from 'postgres';
import type { ModuleCache } from '../cache.js';
import { mapConcurrently } from '../concurrency.js';
import { dependencyKeyOf, requireRealm } from '../keys.js';
import { SOURCE_HASH_HEADER } from './hash.js';
import { candidatesOf, type ModuleSource } from './source.js';

export { SOURCE_HASH_HEADER } from './hash.js';

export interface CompareOptions {
  /** What was found to have changed by then stays invalidated. */
  signal?: AbortSignal;
}

/** Artifacts looked up, and their modules invalidated, at a time; and how many of them are read at once. */
const PAGE = 1_000;
const READERS = 8;

/**
 * Invalidates every stored module whose source is another than it was made from, so that a change which was made while
 * nothing ran is found: an edit, a deletion, and a new module that an import of a stored one means now (`foo.ts` beside
 * `foo.js`). Resolves to the paths that had changed. A transactional source has no such changes.
 *
 * @throws the signal's reason; what the source or the database throws
 */
export async function compareWithStored(
  cache: ModuleCache,
  sql: Sql,
  realmUrl: string,
  source: ModuleSource,
  { signal }: CompareOptions = {},
): Promise<string[]> {
  signal?.throwIfAborted();
  if (source.isTransactional) return [];
  const realm = requireRealm(realmUrl);
  const stored = new Map<string, Set<string>>();
  const changed = new Set<string>();
  const invalidate = async (paths: string[]): Promise<void> => {
    if (paths.length > 0) await cache.invalidate(realm, paths);
    for (const path of paths) changed.add(path);
  };
  for await (const page of storedModules(sql, realm)) {
    for (const { path } of page) {
      const key = dependencyKeyOf(path);
      stored.set(key, (stored.get(key) ?? new Set()).add(path));
    }
    await invalidate(await selectConcurrently(page, (module) => hasChanged(source, module), signal));
  }
  await invalidate(await newlyMeant(source, stored, signal));
  return [...changed];
}

interface StoredModule {
  readonly path: string;
  /** Of the texts that its live artifacts, errors among them, were made from; null for one that does not say. */
  readonly hashes: readonly (string | null)[];
  readonly isDefined: boolean;
}

/** Without bodies, and in pages by the primary key: a realm may have a hundred thousand. */
async function* storedModules(sql: Sql, realm: string): AsyncGenerator<StoredModule[], void, undefined> {
  let last = ['', '', ''];
  for (;;) {
    // Whether it is dead is asked only of those on the page: that is what takes long. The view would say it of all that
    // come after `last`, because it lets nothing of a condition or an order in.
    const rows = await sql`
      with page as materialized (
        select canonical_path, kind, variant, headers ->> ${SOURCE_HASH_HEADER}::text as hash
        from module_cache.artifacts
        where realm_url = ${realm}::text
          and (canonical_path, kind, variant) > (${last[0] as string}::text, ${last[1] as string}::text, ${last[2] as string}::text)
        order by canonical_path, kind, variant
        limit ${String(PAGE)}::text::integer
      )
      select p.canonical_path, p.kind, p.variant, s.status, p.hash
      from page p
      cross join lateral (
        select a.status
        from module_cache.artifacts a
        where a.realm_url = ${realm}::text
          and (a.canonical_path, a.kind, a.variant) = (p.canonical_path, p.kind, p.variant)
        limit 1
      ) s
      order by p.canonical_path, p.kind, p.variant`.values();
    const modules = new Map<string, { path: string; hashes: (string | null)[]; isDefined: boolean }>();
    // After an error in the middle of a result postgres.js 3.4 leaves holes at the beginning of the next one.
    const page = rows.filter((row) => row !== undefined) as string[][];
    for (const [path, kind, , status, hash] of page as [string, string, string, string, string | null][]) {
      if (status === 'dead') continue;
      const module = modules.get(path) ?? { path, hashes: [], isDefined: false };
      module.hashes.push(hash);
      module.isDefined ||= kind === 'definition';
      modules.set(path, module);
    }
    yield [...modules.values()];
    if (page.length < PAGE) return;
    last = page[page.length - 1] as string[];
  }
}

async function hasChanged(source: ModuleSource, { path, hashes, isDefined }: StoredModule): Promise<boolean> {
  const named = hashes.filter((hash) => hash !== null);
  if (named.length > 0) {
    const current = (await source.read(path))?.hash;
    return named.some((hash) => hash !== current);
  }
  // A definition is always of a module of this realm; kinds of the user's own may be of anything.
  return isDefined && (await source.stamp(path)) === undefined;
}

/** Modules that nothing is stored of, and that come before a stored one for those who import their common name. */
async function newlyMeant(
  source: ModuleSource,
  stored: ReadonlyMap<string, ReadonlySet<string>>,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const found: string[] = [];
  for await (const path of source.list()) {
    signal?.throwIfAborted();
    const key = dependencyKeyOf(path);
    const beside = stored.get(key);
    if (beside === undefined || beside.has(path)) continue;
    const order = candidatesOf(key);
    const place = order.indexOf(path);
    if (place >= 0 && [...beside].some((other) => order.indexOf(other) > place)) found.push(path);
  }
  return found;
}

async function selectConcurrently<T extends { readonly path: string }>(
  items: readonly T[],
  test: (item: T) => Promise<boolean>,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const isSelected = await mapConcurrently(items, READERS, async (item) => {
    signal?.throwIfAborted();
    return test(item);
  });
  return items
    .filter((_, index) => isSelected[index])
    .map(({ path }) => path)
    .sort();
}
