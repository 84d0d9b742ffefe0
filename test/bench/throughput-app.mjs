/*
 * A server of test/bench/throughput.mjs: an application that has OpenTelemetry, a logger and modules to serve, and, if
 * it is `observed`, all that the package tells about them.
 */
import { createServer } from 'node:http';
import { context } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-base';
import { pino } from 'pino';
import { createModuleHandler, createNodeListener } from '../../dist/http/index.js';
import { openModuleCache } from '../../dist/index.js';
import {
  logModuleCache,
  registerOpenTelemetryMetrics,
  registerPrometheusMetrics,
  traceModuleCache,
} from '../../dist/observe/index.js';
import { createPage } from '../../dist/page/index.js';
import { openDirectory, watchRealm } from '../../dist/realm/index.js';
import { createTranspiler } from '../../dist/transpile/index.js';

const [, , connection, folder, realm, metricsPath, ...features] = process.argv;
const has = (feature) => features.includes(feature);
const EXPORT_MS = 5_000;
const TRACED = 0.05;

// An application that traces has it, whatever of it is traced: from its first use on it costs every promise something.
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
context.with(context.active(), () => {});
const tracerProvider = new BasicTracerProvider({
  sampler: new TraceIdRatioBasedSampler(TRACED),
  spanProcessors: [new BatchSpanProcessor({ export: (_, done) => done({ code: 0 }), async shutdown() {} })],
});
const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
const meterProvider = new MeterProvider({
  readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: EXPORT_MS })],
});
// Kept for tests, which this is none of.
setInterval(() => exporter.reset(), EXPORT_MS).unref();
const logger = pino({ level: 'info' }, pino.destination('/dev/null'));

const inner = await openModuleCache({ connection, ...(has('sampler') ? { staleness: {} } : {}) });
const registry = has('prometheus') ? (await registerPrometheusMetrics(inner)).registry : undefined;
if (has('opentelemetry')) await registerOpenTelemetryMetrics(inner, { meterProvider });
if (has('logs')) logModuleCache(inner, logger);
const cache = has('traces') ? await traceModuleCache(inner, { tracerProvider }) : inner;
await watchRealm({ cache, realm, folder });
const source = await openDirectory(folder);
const transpiler = await createTranspiler();
const modules = createNodeListener(createModuleHandler({ cache, realm, source, transpiler }));
const page = has('page') ? createNodeListener(createPage({ connection, loopback: true })) : undefined;

const server = createServer(async (request, response) => {
  if (page !== undefined && request.url.startsWith('/-/') && request.url !== metricsPath)
    return page(request, response);
  if (registry === undefined || request.url !== metricsPath) return modules(request, response);
  response.writeHead(200, { 'content-type': registry.contentType }).end(await registry.metrics());
});
server.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}/`;
  process.stdout.write(`${JSON.stringify({ event: 'ready', url })}\n`);
});
process.on('SIGINT', () => process.exit(0));
