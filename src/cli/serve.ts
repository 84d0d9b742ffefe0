import { pathToFileURL } from 'node:url';
import postgres from 'postgres';
import { type ModuleCache, openModuleCache } from '../cache.js';
import { ModuleCacheError } from '../errors.js';
import { requireRealm } from '../keys.js';
import { compareWithStored, openDirectory, watchRealm } from '../realm/index.js';
import { migrate } from '../schema/migrate.js';
import { type DatabaseOptions, hasPgVariables, namedUrl, print } from './database.js';
import { startEmbeddedPostgres } from './embedded-postgres.js';
import { describe } from './failure.js';
import { now } from './serve-protocol.js';
import { startWorkers, type Workers } from './workers.js';

export interface ServeOptions extends DatabaseOptions {
  realm?: string;
  port: number;
  host: string;
  workers: number;
  listenUrl?: string;
}

const COHERENT_TIMEOUT_MS = 10_000;
const SHOWN_MODULES = 8;

/** Serves a folder until SIGINT or SIGTERM, then exits with 0. */
export async function serve(folder: string, options: ServeOptions): Promise<void> {
  const stop = stopOnSignal();
  const report = createReport(options.json === true);
  const opened: (() => Promise<unknown>)[] = [];
  let failure: unknown;
  try {
    await run(folder, options, report, stop, (close) => opened.unshift(close));
  } catch (error) {
    if (!stop.aborted) failure = error;
  }
  report('stopping', {}, 'stopping');
  for (const close of opened)
    await close().catch((error: unknown) => process.stderr.write(`${describe(error)}\n`));
  if (failure !== undefined) throw failure;
  report('stopped', {}, 'stopped');
  process.exit(0);
}

async function run(
  folder: string,
  options: ServeOptions,
  report: Report,
  stop: AbortSignal,
  onClose: (close: () => Promise<unknown>) => void,
): Promise<void> {
  const source = await openDirectory(folder);
  const realm = requireRealm(options.realm ?? pathToFileURL(`${source.root}/`).href);
  const databaseUrl = await openDatabase(options, report, onClose);
  const { listenUrl } = options;
  const directUrl = listenUrl ?? databaseUrl;
  const schema = await migrate(directUrl === undefined ? {} : { databaseUrl: directUrl });
  // Asked too seldom to prepare anything, which a pooler might lose; and see the pool of a cache for the types.
  const few = { max: 2, prepare: false, fetch_types: false };
  const sql = databaseUrl === undefined ? postgres(few) : postgres(databaseUrl, few);
  onClose(() => sql.end({ timeout: 1 }));
  const cache = await openModuleCache({
    connection: sql,
    ...(listenUrl === undefined ? {} : { listenConnection: listenUrl }),
    name: 'module-cache serve, watcher',
    l1: { maxBytes: 1_000_000 },
  }).catch(pointToOption);
  onClose(() => cache.close());
  const warn = (message: string): void => report('warning', { message }, `warning: ${message}`);
  cache.events.on('warning', ({ message }) => warn(message));

  let workers: Workers | undefined;
  const watcher = await watchRealm({
    cache,
    realm,
    folder: source.root,
    onError: (error) => warn(describe(error)),
    onInvalidated: (result) => void reportChange(report, result, () => workers),
  });
  onClose(() => watcher.close());
  const changed = await compareWithStored(cache, sql, realm, source);

  stop.throwIfAborted();
  workers = await startWorkers({
    count: options.workers,
    config: { folder: source.root, realm, databaseUrl, listenUrl, host: options.host, port: options.port },
    onMessage: warn,
  });
  onClose(workers.stop);
  const url = `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${workers.port}/`;
  const stored = await countStored(sql, realm);
  report(
    'ready',
    { url, realm, workers: options.workers, schema: schema.version, stored, changed },
    [
      `serving  ${source.root}`,
      `url      ${url}`,
      `realm    ${realm}`,
      `workers  ${options.workers}`,
      `cache    ${stored} artifacts from earlier runs${changed.length === 0 ? '' : `, ${changed.length} modules changed since`}`,
      'Ctrl-C stops.',
    ].join('\n'),
  );
  await new Promise<void>((resolve) => {
    if (stop.aborted) resolve();
    stop.addEventListener('abort', () => resolve(), { once: true });
  });
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

/** Undefined if the PG* variables tell where the database is. */
async function openDatabase(
  options: ServeOptions,
  report: Report,
  onClose: (close: () => Promise<unknown>) => void,
): Promise<string | undefined> {
  const named = namedUrl(options);
  if (named === undefined && !hasPgVariables() && options.listenUrl !== undefined) {
    throw new ModuleCacheError('MC107', '--listen-url needs a database URL beside it', {
      hint: 'Give the URL of the pooler with --database-url or DATABASE_URL; without a pooler --listen-url is not needed.',
    });
  }
  if (named !== undefined || hasPgVariables()) {
    const shown = named === undefined ? 'from the PG* variables' : withoutPassword(named);
    report('database', { embedded: false, url: shown }, `database ${shown}`);
    return named;
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
  return server.url;
}

async function countStored(sql: postgres.Sql, realm: string): Promise<number> {
  const [row] = await sql`
    select count(*)::integer as stored from module_cache.artifacts where realm_url = ${realm} and status <> 'dead'`;
  return row?.stored ?? 0;
}

async function reportChange(
  report: Report,
  {
    changed,
    invalidation,
    ms,
    beganAt,
  }: {
    changed: string[];
    invalidation: Awaited<ReturnType<ModuleCache['invalidate']>>;
    ms: number;
    beganAt: number;
  },
  workers: () => Workers | undefined,
): Promise<void> {
  const xid = invalidation.token.slice(invalidation.token.indexOf('@') + 1);
  const coherentAt = await workers()?.coherentAt(xid, COHERENT_TIMEOUT_MS);
  const coherentMs = coherentAt === undefined ? null : Math.max(0, coherentAt - beganAt);
  const modules = invalidation.modules.map((module) => module.path);
  const names = modules.slice(0, SHOWN_MODULES).join(', ');
  const more = modules.length > SHOWN_MODULES ? `, and ${modules.length - SHOWN_MODULES} more` : '';
  const coherence = coherentMs === null ? '' : `, all processes coherent after ${coherentMs.toFixed(1)} ms`;
  report(
    'invalidated',
    { at: now(), changed, modules, ms, coherentMs },
    `changed  ${changed.join(', ')}\n         ${modules.length} modules invalidated in ${ms.toFixed(1)} ms${coherence}: ${names}${more}`,
  );
}

type Report = (event: string, data: object, line: string) => void;

const createReport =
  (json: boolean): Report =>
  (event, data, line) =>
    print(json ? JSON.stringify({ event, ...data }) : line);

/** Aborts at the first SIGINT or SIGTERM; a second one ends the process at once. */
function stopOnSignal(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(130);
      controller.abort();
    });
  }
  return controller.signal;
}

function withoutPassword(url: string): string {
  try {
    const parsed = new URL(url);
    if (parsed.password !== '') parsed.password = '***';
    parsed.search = '';
    return parsed.href;
  } catch {
    return 'the given database';
  }
}
