import postgres, { type Sql } from 'postgres';
import { type ModuleCache, openModuleCache } from '../cache.js';
import { ModuleCacheError } from '../errors.js';
import { committedMigrations } from '../schema/files.js';
import { readInstalledState } from '../schema/history.js';
import { migrate } from '../schema/migrate.js';
import { readSchemaStatus } from '../schema/status.js';
import { type DatabaseOptions, hasPgVariables, namedUrl, requireUrl } from './database.js';
import { startEmbeddedPostgres } from './embedded-postgres.js';
import { createWarn, type Report } from './report.js';

export interface ServerOptions extends DatabaseOptions {
  /** Of Postgres itself, if the database URL leads to a pooler. */
  listenUrl?: string;
}

export interface OpenServerSettings {
  readonly name: string;
  readonly connections: number;
  readonly report: Report;
  readonly onClose: OnClose;
  /** False where other processes of the command collect, whose metrics tell of it. */
  readonly garbage?: false;
}

export interface OpenServer {
  /** Undefined if the PG* variables tell where it is. */
  readonly databaseUrl: string | undefined;
  readonly sql: Sql;
  readonly cache: ModuleCache;
  readonly schemaVersion: string;
}

/** What has to be closed, in the opposite order. */
export type OnClose = (close: () => Promise<unknown>) => void;

/**
 * Finds the database, or starts an embedded one, installs the schema if it has none, and opens a small cache on it.
 *
 * @throws ModuleCacheError as `migrate` and `openModuleCache` do
 */
export async function openServer(
  options: ServerOptions,
  { name, connections, report, onClose, garbage }: OpenServerSettings,
): Promise<OpenServer> {
  const { listenUrl } = options;
  if (listenUrl !== undefined) requireUrl(listenUrl);
  const { databaseUrl, isEmbedded } = await findDatabase(options, report, onClose);
  const directUrl = listenUrl ?? databaseUrl;
  const install = () => migrate(directUrl === undefined ? {} : { databaseUrl: directUrl });
  const { version } = await install().catch(async (error: unknown) => {
    if ((error as { code?: string }).code === NOT_ALLOWED)
      return settleForInstalled(directUrl, error, report);
    if (!isEmbedded || !(await removeOtherBuild(databaseUrl as string))) throw error;
    const message = 'the embedded Postgres had the schema of another build, which was replaced';
    createWarn(report)(message);
    return install();
  });
  // Prepared statements might be lost in a pooler; and see the pool of a cache for the types.
  const settings = {
    ...{ max: connections, prepare: false, fetch_types: false, onnotice: () => {} },
    connection: { application_name: name },
  };
  const sql = databaseUrl === undefined ? postgres(settings) : postgres(databaseUrl, settings);
  onClose(() => sql.end({ timeout: 1 }));
  const cache = await openModuleCache({
    connection: sql,
    ...(listenUrl === undefined ? {} : { listenConnection: listenUrl }),
    name,
    l1: { maxBytes: 1_000_000 },
    ...(garbage === undefined ? {} : { garbage }),
  }).catch(pointToOption);
  onClose(() => cache.close());
  return { databaseUrl, sql, cache, schemaVersion: version };
}

const NOT_ALLOWED = '42501';

/** Who serves needs no right to install anything, where what is installed works. */
async function settleForInstalled(
  url: string | undefined,
  error: unknown,
  report: Report,
): Promise<{ version: string }> {
  const { version, client, compatible, pending } = await readSchemaStatus(url);
  if (version === null || !compatible) throw error;
  if (pending) {
    const message = `the schema is ${version}, and this role may not upgrade it to ${client}: "module-cache status" names the way`;
    createWarn(report)(message);
  }
  return { version };
}

/** The option of the command line instead of the client's. */
function pointToOption(error: unknown): never {
  if (!(error instanceof ModuleCacheError) || error.code !== 'MC101') throw error;
  const { code, message, detail } = error;
  throw new ModuleCacheError(code, message, {
    ...(detail === undefined ? {} : { detail }),
    hint: 'A pooler in transaction mode accepts LISTEN and hears nothing: add --listen-url with the URL of Postgres itself, and of the same database.',
    cause: error,
  });
}

async function findDatabase(
  options: ServerOptions,
  report: Report,
  onClose: OnClose,
): Promise<{ databaseUrl: string | undefined; isEmbedded: boolean }> {
  const named = namedUrl(options);
  if (named === undefined && !hasPgVariables() && options.listenUrl !== undefined) {
    throw new ModuleCacheError('MC107', '--listen-url needs a database URL beside it', {
      hint: 'Give the URL of the pooler with --database-url or DATABASE_URL; without a pooler --listen-url is not needed.',
    });
  }
  if (named !== undefined || hasPgVariables()) {
    const shown = named === undefined ? 'from the PG* variables' : withoutPassword(named);
    report('database', { embedded: false, url: shown }, `database ${shown}`);
    return { databaseUrl: named, isEmbedded: false };
  }
  const began = performance.now();
  const server = await startEmbeddedPostgres();
  onClose(() => server.stop());
  const ms = Math.round(performance.now() - began);
  report(
    'database',
    { embedded: true, version: server.version, dataDirectory: server.dataDirectory, ms },
    `database embedded Postgres ${server.version} in ${server.dataDirectory} (${server.adopted ? 'was running' : `started in ${ms} ms`})`,
  );
  return { databaseUrl: server.url, isEmbedded: true };
}

/**
 * What an unreleased build has left in the embedded server, where nobody else keeps anything: a history that begins with
 * our first migration and goes on with one that is not ours. Resolves to false if there is none.
 */
async function removeOtherBuild(databaseUrl: string): Promise<boolean> {
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} });
  try {
    const { schema, history } = await readInstalledState(sql);
    if (schema === null || history[0] !== committedMigrations()[0]?.hash) return false;
    await sql`drop schema module_cache, graphile_migrate cascade`;
    return true;
  } finally {
    await sql.end({ timeout: 1 });
  }
}

function withoutPassword(url: string): string {
  try {
    const parsed = new URL(url);
    if (parsed.password !== '') parsed.password = '***';
    parsed.search = '';
    return parsed.href;
  } catch {
    // With several hosts, which postgres.js understands.
    return 'the given database';
  }
}
