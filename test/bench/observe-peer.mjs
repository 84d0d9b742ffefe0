/* One process of test/bench/observe.mjs: does what it is told, and answers with how many ms that took. */
import { randomUUID } from 'node:crypto';
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
import { openModuleCache } from '../../dist/index.js';
import {
  logModuleCache,
  registerOpenTelemetryMetrics,
  registerPrometheusMetrics,
  traceModuleCache,
} from '../../dist/observe/index.js';

const [, , side, connection] = process.argv;
const BODY = Array.from({ length: 250 }, () => randomUUID().replaceAll('-', '')).join('');
const realm = `https://bench-${randomUUID()}.example/`;
const producer = () => ({ body: BODY });
const requests = Array.from({ length: 1000 }, (_, i) => ({ realm, path: `src/module${i}.ts` }));
// An application that traces has it, whatever of it is traced: from its first use on it costs every promise something
// on Node 20 and 22.
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
context.with(context.active(), () => {});
const SCRAPE_MS = 15_000;
/** Share of the calls that are recorded: a recorded span costs what the SDK makes of it. */
const TRACED = Number(process.env.TRACED ?? 0.05);

/** All of them unless FEATURES names some. */
const features = (process.env.FEATURES ?? 'sampler prometheus opentelemetry logs traces').split(/[\s,]+/);
const has = (feature) => features.includes(feature);

const cache = side === 'observed' ? await observe() : await openModuleCache({ connection, garbage: false });
for (const request of requests) await cache.getOrProduce(request, producer);
const stored = Array.from({ length: 500 }, () => ({ realm, path: `${randomUUID()}.ts` }));
for (const request of stored) await cache.getOrProduce(request, producer);
// Other processes read what this one has stored, and it what is not in its memory.
const reader =
  side === 'observed'
    ? await observe(1_000)
    : await openModuleCache({ connection, garbage: false, l1: { maxBytes: 1_000 } });

const work = {
  peek(i) {
    cache.peek(requests[i % 1000]);
  },
  get: (i) => cache.get(requests[i % 1000]),
  getOrProduce: (i) => cache.getOrProduce(requests[i % 1000], producer),
  async change(i) {
    await cache.invalidate(realm, [requests[i].path]);
    for (const request of requests) await cache.getOrProduce(request, producer);
  },
  read: (i) => reader.get(stored[i % stored.length]),
  produce: () => cache.getOrProduce({ realm, path: `${randomUUID()}.ts` }, producer),
};

process.on('message', async ({ name, times }) => {
  if (name === 'end') process.exit(0);
  for (const request of requests)
    if (cache.peek(request) === undefined) await cache.getOrProduce(request, producer);
  const run = work[name];
  const waits = name !== 'peek';
  const cpuBegan = process.cpuUsage();
  const began = performance.now();
  for (let i = 0; i < times; i += 1) {
    if (waits) await run(i);
    else run(i);
  }
  const elapsed = performance.now() - began;
  const { user, system } = process.cpuUsage(cpuBegan);
  process.send({ elapsed, cpu: (user + system) / 1000 });
});
process.send('ready');

async function observe(maxBytes = 64e6) {
  const staleness = has('sampler') ? {} : undefined;
  const inner = await openModuleCache({ connection, garbage: false, staleness, l1: { maxBytes } });
  if (has('prometheus')) {
    const { registry } = await registerPrometheusMetrics(inner);
    setInterval(() => void registry.metrics(), SCRAPE_MS);
  }
  if (has('opentelemetry')) {
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
    const meterProvider = new MeterProvider({
      readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: SCRAPE_MS })],
    });
    await registerOpenTelemetryMetrics(inner, { meterProvider });
  }
  if (has('logs')) logModuleCache(inner, pino({ level: 'info' }, { write() {} }));
  if (!has('traces')) return inner;
  const spanExporter = { export: (_, done) => done({ code: 0 }), shutdown: async () => {} };
  const tracerProvider = new BasicTracerProvider({
    sampler: new TraceIdRatioBasedSampler(TRACED),
    spanProcessors: [new BatchSpanProcessor(spanExporter)],
  });
  return traceModuleCache(inner, { tracerProvider });
}
