import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import postgres from 'postgres';
import { openModuleCache } from '../cache.js';
import { createModuleHandler, createNodeListener } from '../http/index.js';
import { createPage } from '../page/index.js';
import { describe } from './failure.js';
import { openModules } from './modules.js';
import { PAGE_PATH } from './page.js';
import { openWorkerMetrics } from './serve-metrics.js';
import { CONFIG_VARIABLE, type FromWorker, now, type ToWorker, type WorkerConfig } from './serve-protocol.js';
import { onWarning } from './serve-warnings.js';

const config = JSON.parse(process.env[CONFIG_VARIABLE] ?? '{}') as WorkerConfig;
const tell = (message: FromWorker): void => void process.send?.(message);

// The terminal sends Ctrl-C to all processes; only the one that watches decides what happens then.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});

/** While the database is away every request fails, and one line a second says it. */
let warnedAt = Number.NEGATIVE_INFINITY;
function warnNowAndThen(message: string): void {
  if (performance.now() - warnedAt < 1_000) return;
  warnedAt = performance.now();
  tell({ type: 'warning', message });
}

async function work(): Promise<void> {
  const cache = await openModuleCache({
    connection: config.databaseUrl ?? {},
    ...(config.listenUrl === undefined ? {} : { listenConnection: config.listenUrl }),
    name: `module-cache serve, worker ${config.number}`,
    graceMs: config.grace,
    withoutDatabase: config.produceAlone ? 'produce' : 'fail',
    ...(config.metricsPath === undefined ? {} : { staleness: {} }),
  });
  cache.events.on('invalidated', ({ xid }) => {
    if (xid !== undefined) tell({ type: 'applied', xid, at: now() });
  });
  onWarning(cache.events, (message) => tell({ type: 'warning', message }));
  // For sources in a table: as many as will be read at once, and see the pool of a cache for the settings.
  const settings = { max: 4, prepare: false, fetch_types: false, onnotice: () => {} };
  const sql = config.databaseUrl === undefined ? postgres(settings) : postgres(config.databaseUrl, settings);
  const { source, transpiler } = await openModules(config.modules, sql, 1);
  const { realm, imports } = config.modules;
  const handler = createModuleHandler({
    ...{ cache, realm, imports, source, transpiler },
    ...(config.cors === undefined ? {} : { cors: config.cors }),
    peer: String(config.number),
    onError: (error) => warnNowAndThen(describe(error)),
  });
  const page =
    config.page === undefined
      ? undefined
      : createPage({
          connection: config.databaseUrl ?? {},
          basePath: PAGE_PATH,
          ...(config.page.token === undefined ? { loopback: true } : { token: config.page.token }),
          onError: (error) => warnNowAndThen(`the page: ${describe(error)}`),
        });
  const listener = createNodeListener(handler);
  const pageListener = page && createNodeListener(page);
  const metrics =
    config.metricsPath === undefined ? undefined : await openWorkerMetrics(cache, config.metricsPath, tell);
  const server = createServer((request, response) => {
    const target = pathAndQueryOf(request);
    if (metrics?.answer(target, request, response) === true) return;
    if (pageListener !== undefined && isOfPage(target)) pageListener(request, response);
    else listener(request, response);
  });

  let stopping = false;
  async function stop(): Promise<void> {
    if (stopping) return;
    stopping = true;
    server.close();
    server.closeIdleConnections();
    const cutOff = setTimeout(() => server.closeAllConnections(), 1_000);
    metrics?.close();
    await Promise.all([page?.close(), cache.close()]);
    await transpiler.close();
    await sql.end({ timeout: 1 });
    clearTimeout(cutOff);
    server.closeAllConnections();
    process.exit(0);
  }
  process.on('message', (message: ToWorker) => {
    if (message.type === 'stop') void stop();
    else metrics?.onMessage(message);
  });
  // Without the process that watches there is nobody left to invalidate what changes.
  process.on('disconnect', () => void stop());

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(config.port, config.host, resolve);
  });
  tell({ type: 'listening', port: (server.address() as AddressInfo).port });
}

/** In absolute form the path comes after the host, and the host after `http://`. */
const pathAndQueryOf = ({ url = '/' }: IncomingMessage): string =>
  url.startsWith('/') ? url : url.replace(/^[^/]*:\/\/[^/?]*/, '') || '/';

/** Also without the slash at its end, which the page knows to add. */
const isOfPage = (target: string): boolean => `${target.split('?', 1)[0]}/`.startsWith(PAGE_PATH);

work().catch((error) => {
  process.send?.({ type: 'failed', message: describe(error) } satisfies FromWorker, () => process.exit(1));
});
