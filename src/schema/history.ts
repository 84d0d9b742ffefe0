import type { Sql } from 'postgres';
import type { CommittedMigration } from './files.js';

/** Roles belong to the server, not to the database. */
export const ROLES = ['module_cache_reader', 'module_cache_writer', 'module_cache_operator'];

/** What a database has of us, and what of graphile-migrate. */
export interface InstalledState {
  /** Null if there is no schema `module_cache`. */
  readonly schema: { readonly version: string | null; readonly extension: boolean } | null;
  /** Hashes in `graphile_migrate.migrations`, the oldest first: of our migrations, or of the application's own. */
  readonly history: readonly string[];
}

/** What `migrate` has to do, and why if it is nothing. */
export type Plan =
  | { readonly kind: 'install' }
  | { readonly kind: 'upgrade' }
  /** The schema was dropped by hand, its history was not. */
  | { readonly kind: 'reinstall' }
  | { readonly kind: 'nothing'; readonly because: 'current' | 'newer' | 'extension' | 'script' }
  | { readonly kind: 'refuse'; readonly because: 'foreign history' | 'foreign schema' };

/**
 * graphile-migrate keeps one linear history per database, and tells migrations apart by their numbers alone. Beside a
 * history that is not ours, our migrations would be taken for the application's, or the other way around.
 */
export function planMigration(state: InstalledState, committed: readonly CommittedMigration[]): Plan {
  const { schema, history } = state;
  const known = new Set(committed.map(({ hash }) => hash));
  const isForeign = history.some((hash) => !known.has(hash));
  if (schema === null) {
    if (isForeign) return { kind: 'refuse', because: 'foreign history' };
    return { kind: history.length > 0 ? 'reinstall' : 'install' };
  }
  if (schema.version === null) return { kind: 'refuse', because: 'foreign schema' };
  if (schema.extension) return { kind: 'nothing', because: 'extension' };
  if (history[0] === undefined || history[0] !== committed[0]?.hash)
    return { kind: 'nothing', because: 'script' };
  if (committed.every(({ hash }) => history.includes(hash))) {
    return { kind: 'nothing', because: isForeign ? 'newer' : 'current' };
  }
  return isForeign ? { kind: 'refuse', because: 'foreign history' } : { kind: 'upgrade' };
}

export async function readInstalledState(sql: Sql): Promise<InstalledState> {
  const [found] = await sql<{ schema: boolean; function: boolean; extension: boolean; history: boolean }[]>`
    select
      to_regnamespace('module_cache') is not null as schema,
      to_regprocedure('module_cache.schema_version()') is not null as function,
      exists (select from pg_extension where extname = 'module_cache') as extension,
      to_regclass('graphile_migrate.migrations') is not null as history`;
  const [version] = found?.function ? await sql`select module_cache.schema_version() as version` : [];
  const history = found?.history
    ? await sql<{ hash: string }[]>`select hash from graphile_migrate.migrations order by filename`
    : [];
  return {
    schema: found?.schema ? { version: version?.version ?? null, extension: found.extension } : null,
    history: history.map(({ hash }) => hash),
  };
}

/** The roles that are not there; where this user may not create them, somebody else has to. */
export async function missingRoles(sql: Sql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select r.name
    from unnest(string_to_array(${ROLES.join()}, ',')) r (name)
    where to_regrole(r.name) is null`;
  return rows.map(({ name }) => name);
}
