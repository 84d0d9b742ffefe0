import { incompatibility, isOlder, OLDEST_SCHEMA, VERSION } from '../versions.js';
import { connectForMigration } from './connect.js';
import { committedMigrations } from './files.js';
import { missingRoles, planMigration, readInstalledState } from './history.js';

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
    const state = await readInstalledState(sql);
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
