import type { Sql } from 'postgres';
import { ModuleCacheError } from '../errors.js';
import { findTable } from '../realm/table-columns.js';
import type { ModulesConfig, TablePlace } from './modules.js';

/**
 * Has the triggers of `track_table` put on the table, unless they are there. A table that this user may not change is
 * served all the same, but only compared with its text now and then. Resolves to the same with the realm that the table
 * is tracked for, unless one was named.
 *
 * @throws ModuleCacheError MC107 if the table or its columns cannot be told, or if it is tracked in another way
 */
export async function settleTracking(
  sql: Sql,
  named: ModulesConfig,
  place: TablePlace,
  isRealmGiven: boolean,
  warn: (message: string) => void,
): Promise<ModulesConfig> {
  const found = await findTable({ ...place, sql, realm: named.realm });
  const [row] = await sql`
    select t.realm_url, t.path_column, t.realm_column, t.problem
    from module_cache.tracked_tables t where t.source = ${found.table}::text::regclass`.values();
  const [trackedRealm, pathColumn, realmColumn, gap] = (row ?? []) as (string | null | undefined)[];
  const realm = isRealmGiven || trackedRealm == null ? named.realm : trackedRealm;
  const isTracked = row !== undefined;
  if (isTracked && (pathColumn !== found.path.name || (realmColumn ?? undefined) !== found.realm?.name)) {
    throw trackedOtherwise(
      found.table,
      `columns: ${[pathColumn, realmColumn].filter((name) => name != null).join(', ')}`,
    );
  }
  if (isTracked && realmColumn == null && trackedRealm !== realm) {
    throw trackedOtherwise(found.table, `realm: ${trackedRealm}`);
  }
  const config = (tracked: boolean): ModulesConfig => ({ ...named, realm, place: { ...place, tracked } });
  if (isTracked && gap === null) return config(true);
  try {
    const own = isTracked ? (trackedRealm ?? null) : found.realm === undefined ? realm : null;
    await sql`
      select module_cache.track_table(
        ${found.table}::text::regclass, ${own}::text, ${found.path.name}::text::name,
        ${found.realm?.name ?? null}::text::name)`;
    return config(true);
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (!code?.startsWith('MC') && code !== '42501') throw error;
    warn(
      `${found.table} is not tracked: ${message}. Its changes are found by comparing; let its owner call module_cache.track_table`,
    );
    return config(false);
  }
}

function trackedOtherwise(table: string, how: string): ModuleCacheError {
  return new ModuleCacheError('MC107', 'the table is tracked in another way', {
    detail: `${table}, ${how}`,
    hint: 'Serve it as it is tracked (see module_cache.tracked_tables), or call module_cache.track_table for the other way.',
  });
}
