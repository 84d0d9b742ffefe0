import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from 'postgres';
import type { CacheEvents } from '../events.js';
import { compareWithStored, watchRealm } from '../realm/index.js';
import { describe } from './failure.js';
import {
  type ModulesConfig,
  type ModulesOptions,
  openSource,
  settleModules,
  type TablePlace,
} from './modules.js';
import { PAGE_PATH, type PageConfig, type PageOptions, settlePage } from './page.js';
import { createReport, createWarn, type Report, textOfWarning } from './report.js';
import { createFleetMetrics, metricsPathOf } from './serve-metrics.js';
import { now } from './serve-protocol.js';
import { type OnClose, type OpenServer, openServer, type ServerOptions } from './server.js';
import { stopOnSignal } from './signals.js';
import { plural, printable } from './text.js';
import { settleTracking } from './tracking.js';
import { startWorkers, type Workers } from './workers.js';

export interface ServeOptions extends ServerOptions, ModulesOptions, PageOptions {
  port: number;
  host: string;
  workers: number;
  /** Origin whose pages may load modules; `*` for any. */
  cors?: string;
  /** For how long, in seconds, memory is served past its time while the database is away. */
  grace: number;
  /** Workers compile for themselves while the database is away. */
  produceAlone?: boolean;
  /** URL path of the metrics, or true for the usual one. */
  metrics?: string | true;
}

const COHERENT_TIMEOUT_MS = 10_000;
const SHOWN_MODULES = 8;
/** How often it is looked whether a table is still tracked, in ms. */
const TRACKING_EVERY_MS = 5_000;
/** How long such a look may keep the end waiting, in ms. */
const LAST_LOOK_MS = 1_000;

/** Serves a folder, or the modules of a table, until SIGINT or SIGTERM, then exits with 0. */
export async function serve(folder: string | undefined, options: ServeOptions): Promise<void> {
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
  folder: string | undefined,
  options: ServeOptions,
  report: Report,
  stop: AbortSignal,
  onClose: OnClose,
): Promise<void> {
  const named = await settleModules(folder, options);
  const page = await settlePage(options, options.host);
  const metricsPath = options.metrics === undefined ? undefined : metricsPathOf(options.metrics);
  const metrics = metricsPath === undefined ? undefined : await createFleetMetrics();
  const server = await openServer(options, {
    name: 'module-cache serve, watcher',
    connections: 2,
    report,
    onClose,
    garbage: false,
  });
  const { databaseUrl, sql, cache } = server;
  const warn = createWarn(report);
  cache.events.on('warning', (warning) => warn(textOfWarning(warning)));

  let workers: Workers | undefined;
  const whenCoherent = (xid: string): Promise<number | undefined> =>
    workers?.coherentAt(xid, COHERENT_TIMEOUT_MS) ?? Promise.resolve(undefined);
  const context: Context = { report, warn, onClose, stop, whenCoherent };
  const { config, changed } = await ('folder' in named.place
    ? followFolder(named, named.place.folder, server, context)
    : followTable(named, named.place, options.realm !== undefined, server, context));

  stop.throwIfAborted();
  const { listenUrl, host, port, cors, produceAlone = false } = options;
  const grace = options.grace * 1000;
  workers = await startWorkers({
    count: options.workers,
    config: {
      modules: config,
      databaseUrl,
      listenUrl,
      host,
      port,
      cors,
      grace,
      produceAlone,
      page,
      metricsPath,
    },
    onMessage: warn,
    metrics,
  });
  onClose(workers.stop);
  const { realm, place } = config;
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${workers.port}/`;
  const stored = await countStored(sql, realm);
  report(
    'ready',
    {
      ...{ url, realm, workers: options.workers, schema: server.schemaVersion, stored, changed },
      page: page === undefined ? null : pageUrl(url),
    },
    [
      `serving  ${'folder' in place ? place.folder : `table ${place.table}`}`,
      `url      ${url}`,
      `page     ${describePage(page, options, url)}`,
      `realm    ${realm}`,
      `workers  ${options.workers}`,
      ...(metricsPath === undefined ? [] : [`metrics  ${new URL(metricsPath, url).href}`]),
      `cache    ${stored} artifacts from earlier runs${changed.length === 0 ? '' : `, ${changed.length} modules changed since`}`,
      'Ctrl-C stops.',
    ].join('\n'),
  );
  await new Promise<void>((resolve) => {
    if (stop.aborted) resolve();
    stop.addEventListener('abort', () => resolve(), { once: true });
  });
}

const pageUrl = (url: string): string => new URL(PAGE_PATH, url).href;

function describePage(page: PageConfig | undefined, { page: wanted }: PageOptions, url: string): string {
  if (page === undefined)
    return wanted === false ? 'off' : 'off: beyond this machine it needs a token (--page-token-file)';
  return page.token === undefined ? pageUrl(url) : `${pageUrl(url)} (asks for its token)`;
}

interface Context {
  readonly report: Report;
  readonly warn: (message: string) => void;
  readonly onClose: OnClose;
  readonly stop: AbortSignal;
  /** When (ms since the epoch) the last process had applied a transaction; undefined if one did not in time. */
  readonly whenCoherent: (xid: string) => Promise<number | undefined>;
}

interface Followed {
  readonly config: ModulesConfig;
  /** Modules that had changed while nothing ran. */
  readonly changed: readonly string[];
}

/** Watches a folder first and compares it then, so that nothing falls in between. */
async function followFolder(
  config: ModulesConfig,
  folder: string,
  { sql, cache }: OpenServer,
  { report, warn, onClose, stop, whenCoherent }: Context,
): Promise<Followed> {
  const { realm } = config;
  const watcher = await watchRealm({
    cache,
    realm,
    folder,
    onError: (error) => warn(describe(error)),
    async onInvalidated({ changed, invalidation, ms, beganAt }) {
      const xid = invalidation.token.slice(invalidation.token.indexOf('@') + 1);
      const coherentAt = await whenCoherent(xid);
      const modules = invalidation.modules.map(({ path }) => path);
      reportChange(report, { changed, modules, ms, coherentMs: since(beganAt, coherentAt) });
    },
  });
  onClose(() => watcher.close());
  const source = await openSource(config, sql);
  return { config, changed: await compareWithStored(cache, sql, realm, source, { signal: stop }) };
}

/** The table itself invalidates; this process only listens, to tell of it. */
async function followTable(
  named: ModulesConfig,
  place: TablePlace,
  isRealmGiven: boolean,
  server: OpenServer,
  { report, warn, onClose, stop, whenCoherent }: Context,
): Promise<Followed> {
  const { sql, cache } = server;
  const config = await settleTracking(sql, named, place, isRealmGiven, warn);
  onClose(keepTracked(config, place, server, warn));
  cache.events.on('invalidated', async ({ realm, paths, xid }: CacheEvents['invalidated'][0]) => {
    if (realm !== config.realm || xid === undefined) return;
    const heardAt = now();
    const coherentMs = since(heardAt, await whenCoherent(xid));
    if (paths === undefined) return reportClear(report, config.realm, coherentMs);
    const modules = [...paths];
    reportChange(report, { changed: modules, modules, ms: null, coherentMs });
  });
  // Of a view, or of somebody else's table, nobody has told what changed while nothing ran.
  const source = await openSource(config, sql);
  return { config, changed: await compareWithStored(cache, sql, config.realm, source, { signal: stop }) };
}

/**
 * Another table may take the name of the tracked one, and triggers may be dropped: they are put back, which clears the
 * realm. While they cannot be, nobody tells of a change, so nothing is kept for longer than until the next look.
 */
function keepTracked(
  config: ModulesConfig,
  place: TablePlace,
  { sql, cache }: OpenServer,
  warn: (message: string) => void,
): () => Promise<void> {
  const wasTracked = 'tracked' in config.place && config.place.tracked;
  let told = '';
  const warnOnce = (message: string): void => {
    if (message !== told) warn(message);
    told = message;
  };
  async function look(): Promise<void> {
    let message = '';
    const settled = await settleTracking(sql, config, place, true, (refused) => {
      message = refused;
    });
    if (message === '') told = '';
    else if (wasTracked) warnOnce(message);
    if (wasTracked && 'tracked' in settled.place && !settled.place.tracked)
      await cache.clearRealm(config.realm);
  }
  let looking: Promise<void> | undefined;
  let isOver = false;
  const timer = setInterval(() => {
    looking ??= look()
      .catch((error: unknown) => {
        if (!isOver) warnOnce(describe(error));
      })
      .finally(() => {
        looking = undefined;
      });
  }, TRACKING_EVERY_MS);
  return async () => {
    isOver = true;
    clearInterval(timer);
    // A database that does not answer keeps nothing from being closed.
    await Promise.race([looking, sleep(LAST_LOOK_MS, undefined, { ref: false })]);
  };
}

const since = (beganAt: number, at: number | undefined): number | null =>
  at === undefined ? null : Math.max(0, at - beganAt);

async function countStored(sql: Sql, realm: string): Promise<number> {
  const [row] = await sql`
    select count(*)::integer as stored from module_cache.artifacts where realm_url = ${realm} and status <> 'dead'`;
  return row?.stored ?? 0;
}

interface Change {
  readonly changed: readonly string[];
  readonly modules: readonly string[];
  /** How long the call that invalidated took; null if it was somebody else's. */
  readonly ms: number | null;
  /** From its beginning, or from hearing of it, until the last process had applied it. */
  readonly coherentMs: number | null;
}

function reportChange(report: Report, { changed, modules, ms, coherentMs }: Change): void {
  const duration = ms === null ? '' : ` in ${ms.toFixed(1)} ms`;
  const coherence = coherentMs === null ? '' : `, all processes coherent after ${coherentMs.toFixed(1)} ms`;
  const first = ms === null ? '' : `changed  ${shortened(changed)}\n         `;
  report(
    'invalidated',
    { at: now(), changed, modules, ms, coherentMs },
    `${first || 'changed  '}${plural(modules.length, 'module')} invalidated${duration}${coherence}: ${shortened(modules)}`,
  );
}

function shortened(paths: readonly string[]): string {
  const more = paths.length > SHOWN_MODULES ? `, and ${paths.length - SHOWN_MODULES} more` : '';
  return paths.slice(0, SHOWN_MODULES).map(printable).join(', ') + more;
}

function reportClear(report: Report, realm: string, coherentMs: number | null): void {
  const coherence = coherentMs === null ? '' : `, all processes coherent after ${coherentMs.toFixed(1)} ms`;
  report('cleared', { at: now(), realm, coherentMs }, `cleared  ${printable(realm)}${coherence}`);
}
