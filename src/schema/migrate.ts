import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from 'postgres';
import { ModuleCacheError } from '../errors.js';
import { isOlder, VERSION } from '../versions.js';
import { connectForMigration, requireOwnSession } from './connect.js';
import { connectionStringOf } from './connection-string.js';
import { type CommittedMigration, committedMigrations, MIGRATIONS_FOLDER } from './files.js';
import { runGraphileMigrate } from './graphile.js';
import {
  type InstalledState,
  missingRoles,
  type Plan,
  planMigration,
  readInstalledState,
} from './history.js';

const POLL_MS = 50;

export interface MigrateOptions {
  /** Without it the `PG*` environment variables tell. Through a pooler in transaction mode nothing is installed. */
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
  /** Roles that this user may not create: `select module_cache.grant_roles()` once somebody else has. */
  readonly missingRoles: readonly string[];
}

/**
 * Installs or upgrades the schema, in one transaction: whatever happens meanwhile, it is done or it was not begun. Any number of processes may call it at once. A
 * schema that was installed by another way is left alone.
 *
 * @throws ModuleCacheError MC004 if the database cannot hold the schema, MC005 if it is a standby, MC102 if other
 *   processes held the lock for too long, MC107 if there is something to do and a pooler shares the session; and the
 *   errors of postgres.js if it cannot be reached
 */
export async function migrate(options: MigrateOptions = {}): Promise<MigrateResult> {
  const { onLog = () => {}, timeoutMs = 120_000, migrationsFolder = MIGRATIONS_FOLDER } = options;
  const deadline = Date.now() + timeoutMs;
  const sql = await connectForMigration(options.databaseUrl);
  const committed = committedMigrations(migrationsFolder);
  try {
    const state = await readInstalledState(sql);
    const plan = requirePlan(state, committed);
    if (plan.kind === 'nothing') return await nothingToDo(sql, state, plan, onLog);
    await requireOwnSession(sql);
    // graphile-migrate fails if another run is in progress, and a fleet starts all its processes at once. Asked again
    // and again instead of waited for inside a statement, whose snapshot would hold up others.
    while (Date.now() < deadline) {
      const result = (await lock(sql)) ? await migrateLocked(sql, committed, migrationsFolder, onLog) : null;
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
  committed: readonly CommittedMigration[],
  migrationsFolder: string,
  onLog: (line: string) => void,
): Promise<MigrateResult | null> {
  const before = await readInstalledState(sql);
  const plan = requirePlan(before, committed);
  if (plan.kind === 'nothing') return nothingToDo(sql, before, plan, onLog);
  try {
    const connectionString = await connectionStringOf(sql);
    await runGraphileMigrate(
      { connectionString, migrationsFolder, forget: plan.kind === 'reinstall' },
      onLog,
    );
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
    missingRoles: await missingRoles(sql),
  };
}

/** @throws ModuleCacheError MC004 for a database that the schema cannot be installed into */
function requirePlan(
  state: InstalledState,
  committed: readonly CommittedMigration[],
): Exclude<Plan, { kind: 'refuse' }> {
  const plan = planMigration(state, committed);
  if (plan.kind === 'refuse') throw refusals[plan.because]();
  return plan;
}

async function nothingToDo(
  sql: Sql,
  { schema }: InstalledState,
  { because }: Extract<Plan, { kind: 'nothing' }>,
  onLog: (line: string) => void,
): Promise<MigrateResult> {
  const version = schema?.version ?? '';
  onLog(reasons[because](version));
  return {
    applied: [],
    version,
    managedBy: managers[because],
    missingRoles: await missingRoles(sql),
  };
}

const reasons = {
  current: () => 'the schema module_cache is up to date',
  newer: () => 'the schema module_cache is newer than this client, and stays as it is',
  extension: () =>
    'the schema module_cache belongs to the extension: upgrade it with alter extension module_cache update',
  script: (version: string) =>
    isOlder(version, VERSION)
      ? `the schema module_cache ${version} was installed without these migrations: upgrade it with the output of module-cache sql --from ${version}`
      : 'the schema module_cache was installed without these migrations, and stays as it is',
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
      : 'Everything was rolled back. Run it again when the cause is gone.',
    cause,
  });
}
