import type { Sql } from 'postgres';
import { incompatibility, isOlder, OLDEST_SCHEMA, VERSION } from '../versions.js';
import { connectForMigration } from './connect.js';
import { committedMigrations } from './files.js';
import { type InstalledState, missingRoles, planMigration, readInstalledState } from './history.js';

export interface SchemaStatus {
  /** Null if the database has no schema `module_cache`. */
  readonly version: string | null;
  /** Oldest client that works with the schema. */
  readonly oldestClient: string | null;
  readonly client: string;
  /** Oldest schema that works with this client. */
  readonly oldestSchema: string;
  readonly managedBy: 'migrations' | 'extension' | 'script' | null;
  /** True if the application keeps a graphile-migrate history of its own here: `migrate` does not install beside it. */
  readonly foreignHistory: boolean;
  /** True if this client brings a newer schema. */
  readonly pending: boolean;
  /** True if this client and the schema work together as they are. */
  readonly compatible: boolean;
  readonly missingRoles: readonly string[];
}

/**
 * Compares what is installed with this client, and changes nothing.
 *
 * @throws ModuleCacheError MC004 or MC005 for a server that cannot be used; and the errors of postgres.js
 */
export async function readSchemaStatus(databaseUrl?: string): Promise<SchemaStatus> {
  const sql = await connectForMigration(databaseUrl);
  try {
    const state = await readInstalledState(sql).catch((error: unknown) => readVisibleState(sql, error));
    const plan = planMigration(state, committedMigrations());
    const version = state.schema?.version ?? null;
    const [row] =
      version === null ? [] : await sql<{ oldest: string }[]>`select module_cache.oldest_client() as oldest`;
    const oldestClient = row?.oldest ?? null;
    const by = plan.kind === 'nothing' && (plan.because === 'extension' || plan.because === 'script');
    return {
      version,
      oldestClient,
      client: VERSION,
      oldestSchema: OLDEST_SCHEMA,
      managedBy: version === null ? null : by ? (plan.because as 'extension' | 'script') : 'migrations',
      foreignHistory: plan.kind === 'refuse' && plan.because === 'foreign history',
      pending: version === null || isOlder(version, VERSION),
      compatible:
        version !== null && oldestClient !== null && incompatibility(version, oldestClient) === undefined,
      missingRoles: await missingRoles(sql),
    };
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/**
 * The history of graphile-migrate belongs to who migrates. Whoever may not read it can still see that it is there, and
 * goes by what the schema says of itself.
 */
async function readVisibleState(sql: Sql, error: unknown): Promise<InstalledState> {
  if ((error as { code?: unknown }).code !== '42501') throw error;
  const [found] = await sql<{ version: string; extension: boolean; history: boolean }[]>`
    select
      module_cache.schema_version() as version,
      exists (select from pg_extension where extname = 'module_cache') as extension,
      exists (
        select
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'graphile_migrate' and c.relname = 'migrations') as history`;
  return {
    schema: { version: found?.version ?? null, extension: found?.extension ?? false },
    history: found?.history ? committedMigrations().map(({ hash }) => hash) : [],
  };
}
