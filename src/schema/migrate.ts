import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from 'postgres';
import { ModuleCacheError } from '../errors.js';
import { connectForMigration } from './connect.js';
import { connectionStringOf } from './connection-string.js';
import { committedMigrations, MIGRATIONS_FOLDER } from './files.js';
import { runGraphileMigrate } from './graphile.js';
import { planMigration, readInstalledState } from './history.js';

const POLL_MS = 50;

export interface MigrateOptions {
  /** Without it the `PG*` environment variables tell. Not through a transaction-pooling PgBouncer. */
  databaseUrl?: string;
  onLog?: (line: string) => void;
  /** How long to wait for other processes that do the same. Default: 120,000 ms. */
  timeoutMs?: number;
  /** The folder that holds `committed`; for tests. */
  migrationsFolder?: string;
}

export interface MigrateResult {
  /** Names of the migrations that this call ran; empty if there was nothing to do. */
  readonly applied: readonly string[];
  /** Version of the schema that is there now. */
  readonly version: string;
  /** Who keeps the schema up to date. */
  readonly managedBy: 'migrations' | 'extension' | 'script';
}

/**
 * Installs or upgrades the schema, in one transaction per migration. Any number of processes may call it at once. A
 * schema that was installed by another way is left alone.
 *
 * @throws ModuleCacheError MC004 if the database cannot hold the schema, MC005 if it is a standby, MC102 if other
 *   processes held the lock for too long; and the errors of postgres.js if it cannot be reached
 */
export async function migrate(options: MigrateOptions = {}): Promise<MigrateResult> {
  const { onLog = () => {}, timeoutMs = 120_000, migrationsFolder = MIGRATIONS_FOLDER } = options;
  const deadline = Date.now() + timeoutMs;
  const sql = await connectForMigration(options.databaseUrl);
  try {
    // graphile-migrate fails if another run is in progress, and a fleet starts all its processes at once. Asked again
    // and again instead of waited for inside a statement, whose snapshot would hold up others.
    while (Date.now() < deadline) {
      const result = (await lock(sql)) ? await migrateLocked(sql, migrationsFolder, onLog) : null;
      if (result !== null) return result;
      await sleep(POLL_MS);
    }
    throw new ModuleCacheError('MC102', 'another process is still installing the schema', {
      detail: `waited ${timeoutMs} ms`,
      hint: "Look for application_name = 'module-cache migrate' in pg_stat_activity.",
    });
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** Taken again by the same session it is only counted; the end of the session releases it. */
async function lock(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ locked: boolean }[]>`
    select pg_try_advisory_lock(hashtextextended('module_cache.migrate', 0)) as locked`;
  return row?.locked ?? false;
}

/** Null if graphile-migrate is busy: with the application's migrations, or with those of a process that was killed. */
async function migrateLocked(
  sql: Sql,
  migrationsFolder: string,
  onLog: (line: string) => void,
): Promise<MigrateResult | null> {
  const committed = committedMigrations(migrationsFolder);
  const before = await readInstalledState(sql);
  const plan = planMigration(before, committed);
  if (plan.kind === 'refuse') throw refusals[plan.because]();
  if (plan.kind === 'nothing') {
    onLog(reasons[plan.because]);
    return { applied: [], version: before.schema?.version ?? '', managedBy: managers[plan.because] };
  }
  if (plan.kind === 'reinstall') await sql`delete from graphile_migrate.migrations`;
  try {
    await runGraphileMigrate({ connectionString: await connectionStringOf(sql), migrationsFolder }, onLog);
  } catch (cause) {
    if ((cause as Error).message === 'Failed to get exclusive lock') return null;
    throw notInstalled(cause as Error);
  }
  const after = await readInstalledState(sql);
  const pending = committed.filter(({ hash }) => plan.kind !== 'upgrade' || !before.history.includes(hash));
  return {
    applied: pending.map(({ name }) => name),
    version: after.schema?.version ?? '',
    managedBy: 'migrations',
  };
}

const reasons = {
  current: 'the schema module_cache is up to date',
  newer: 'the schema module_cache is newer than this client, and stays as it is',
  extension:
    'the schema module_cache belongs to the extension: upgrade it with alter extension module_cache update',
  script: 'the schema module_cache was installed without these migrations, and stays as it is',
} as const;

const managers = {
  current: 'migrations',
  newer: 'migrations',
  extension: 'extension',
  script: 'script',
} as const;

const refusals = {
  'foreign history': (): ModuleCacheError =>
    new ModuleCacheError('MC004', 'this database has a graphile-migrate history of its own', {
      detail:
        'graphile_migrate.migrations names migrations that are not ours, and it holds one history per database',
      hint: 'Add the output of "module-cache sql" to your own migrations, or run: create extension module_cache',
    }),
  'foreign schema': (): ModuleCacheError =>
    new ModuleCacheError('MC004', 'the schema module_cache holds something else', {
      detail: 'there is a schema of that name without a function module_cache.schema_version()',
      hint: 'Rename or drop that schema.',
    }),
};

function notInstalled(cause: Error & { code?: string }): ModuleCacheError {
  const denied = cause.code === '42501';
  return new ModuleCacheError('MC004', 'the schema could not be installed', {
    detail: cause.message,
    hint: denied
      ? 'The role needs the right to create schemas in this database; or let an administrator run the output of: module-cache sql'
      : 'The migration that failed was rolled back. Run it again when the cause is gone.',
    cause,
  });
}
