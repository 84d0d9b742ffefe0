import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { type ModuleCache, ModuleCacheError } from '../../src/index.js';
import { registerOpenTelemetryMetrics, traceModuleCache } from '../../src/observe/index.js';
import { closePeers, gate, making, newRealm, openPeer } from '../client/support/peers.js';
import { startProxy } from '../client/support/proxy.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';

let database: TestDatabase;
const exporter = new InMemorySpanExporter();
const tracerProvider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
beforeAll(async () => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  database = await createDatabase();
});
beforeEach(() => exporter.reset());
afterEach(closePeers);
afterAll(async () => {
  context.disable();
  propagation.disable();
  await tracerProvider.shutdown();
  await database.drop();
});

async function open(): Promise<ModuleCache> {
  const { cache } = await openPeer({ connection: database.url });
  return traceModuleCache(cache, { tracerProvider });
}

const spans = (): ReadableSpan[] => exporter.getFinishedSpans();
const named = (name: string): ReadableSpan => {
  const found = spans().filter((span) => span.name === `module_cache.${name}`);
  if (found.length !== 1) throw new Error(`${found.length} spans are called ${name}`);
  return found[0] as ReadableSpan;
};
const parentOf = (span: ReadableSpan): string | undefined => span.parentSpanContext?.spanId;

test('a production is a tree: the call, the producer with its own spans, and the put', async () => {
  const cache = await open();
  const realm = newRealm();
  const tracer = tracerProvider.getTracer('the application');
  await tracer.startActiveSpan('request', async (request) => {
    await cache.getOrProduce({ realm, path: 'a.ts', variant: 'of ada' }, async () => {
      await tracer.startActiveSpan('compile', async (span) => span.end());
      return { body: 'the body' };
    });
    request.end();
  });
  const [call, produce, put] = ['get_or_produce', 'produce', 'put'].map(named) as [
    ReadableSpan,
    ReadableSpan,
    ReadableSpan,
  ];
  const byName = (name: string) => spans().find((span) => span.name === name) as ReadableSpan;
  expect(parentOf(call)).toBe(byName('request').spanContext().spanId);
  expect(parentOf(produce)).toBe(call.spanContext().spanId);
  expect(parentOf(byName('compile'))).toBe(produce.spanContext().spanId);
  expect(parentOf(put)).toBe(call.spanContext().spanId);
  expect([call.kind, produce.kind, put.kind]).toEqual([SpanKind.CLIENT, SpanKind.INTERNAL, SpanKind.CLIENT]);
  expect(call.attributes).toEqual({
    'db.system.name': 'postgresql',
    'db.operation.name': 'get_or_produce',
    'module_cache.realm': realm,
    'module_cache.path': 'a.ts',
    'module_cache.kind': 'transpile',
    'module_cache.source': 'produced',
    'module_cache.cached': true,
  });
  expect(put.attributes).toMatchObject({ 'db.operation.name': 'put', 'module_cache.reason': 'stored' });
  const all = JSON.stringify(
    spans().map(({ name, attributes, events, status }) => [name, attributes, events, status]),
  );
  expect(all).not.toContain('the body');
  expect(all).not.toContain('of ada');
});

test('what memory answers has no span; what the database answers has one, with what it was', async () => {
  const cache = await open();
  const realm = newRealm();
  const request = { realm, path: 'a.ts' };
  await cache.getOrProduce(request, making('a'));
  exporter.reset();
  await cache.get(request);
  await cache.getOrProduce(request, making('b'));
  await cache.getMany([request]);
  expect(spans()).toEqual([]);
  const other = await open();
  await other.get(request);
  expect(named('get').attributes).toMatchObject({ 'db.operation.name': 'get', 'module_cache.source': 'l2' });
  exporter.reset();
  await other.get({ realm, path: 'none.ts' });
  expect(named('get').attributes).toMatchObject({ 'module_cache.source': 'none' });
  await other.getMany([request, { realm, path: 'none.ts' }]);
  expect(named('get_many').attributes).toMatchObject({ 'module_cache.requests': 2 });
});

test('many at once have no span only where memory answered all of them at once', async () => {
  const cache = await open();
  const realm = newRealm();
  const [a, b] = [
    { realm, path: 'a.ts' },
    { realm, path: 'b.ts' },
  ];
  for (const request of [a, b]) await cache.getOrProduce(request, making(request.path));
  const { token } = await cache.invalidate(realm, ['c.ts']);
  // What was read after the invalidation is current.
  await cache.getMany([a, b], { consistency: 'strong' });
  exporter.reset();
  expect((await cache.getMany([a, b, a])).map((module) => module?.source)).toEqual(['l1', 'l1', 'l1']);
  await cache.getMany([]);
  expect(spans()).toEqual([]);
  for (const read of [{ consistency: 'strong' }, { after: token }] as const) {
    expect((await cache.getMany([a, b], read)).map((module) => module?.source)).toEqual(['l1', 'l1']);
    expect(named('get_many').attributes).toMatchObject({ 'module_cache.requests': 2 });
    exporter.reset();
  }
});

test('what memory answers past its time, after a question to the database, has a span', async () => {
  const proxy = await startProxy(database.url);
  try {
    const times = { heartbeatMs: 50, maxStalenessMs: 300, callTimeoutMs: 1_000, graceMs: 60_000 };
    const { cache } = await openPeer({ connection: proxy.url, ...times });
    const traced = await traceModuleCache(cache, { tracerProvider });
    const request = { realm: newRealm(), path: 'a.ts' };
    await traced.getOrProduce(request, making('a'));
    proxy.door = 'close';
    proxy.cut();
    await until(() => !cache.stats().fresh, { what: 'memory is past its time' });
    exporter.reset();
    expect(await traced.getMany([request])).toMatchObject([{ source: 'l1', staleMs: expect.any(Number) }]);
    named('get_many');
  } finally {
    await closePeers();
    await proxy.close();
  }
});

test('callers who share a production: one has its spans, each has its own', async () => {
  const cache = await open();
  const request = { realm: newRealm(), path: 'a.ts' };
  const work = gate();
  const answers = [cache.getOrProduce(request, work.produce), cache.getOrProduce(request, work.produce)];
  await work.begun();
  work.finish({ body: 'a' });
  await Promise.all(answers);
  const sources = spans()
    .filter(({ name }) => name === 'module_cache.get_or_produce')
    .map(({ attributes }) => attributes['module_cache.source']);
  expect(sources.sort()).toEqual(['coalesced', 'produced']);
  named('produce');
  named('put');
});

test('an error is named by its kind, never by its text', async () => {
  const cache = await open();
  const realm = newRealm();
  const secret = 'postgres://ada:secret@host/';
  await expect(
    cache.getOrProduce({ realm, path: 'a.ts' }, () => {
      throw new TypeError(secret);
    }),
  ).rejects.toThrow(secret);
  for (const name of ['get_or_produce', 'produce']) {
    expect(named(name).attributes['error.type']).toBe('TypeError');
    expect(named(name).status.code).toBe(SpanStatusCode.ERROR);
  }
  await expect(cache.get({ realm: 'https://ada:secret@host/', path: 'a.ts' })).rejects.toThrow();
  expect(named('get').attributes['error.type']).toBe('MC001');
  expect(named('get').attributes).not.toHaveProperty('module_cache.realm');
  const all = JSON.stringify(spans().map(({ attributes, events, status }) => [attributes, events, status]));
  expect(all).not.toContain('secret');
});

test('a module that does not exist is no error', async () => {
  const cache = await open();
  const absent = new ModuleCacheError('MC105', 'no such module');
  const asked = cache.getOrProduce({ realm: newRealm(), path: 'a.ts' }, () => Promise.reject(absent));
  await expect(asked).rejects.toBe(absent);
  for (const name of ['get_or_produce', 'produce']) {
    expect(named(name).status.code).toBe(SpanStatusCode.UNSET);
    expect(named(name).attributes['module_cache.absent']).toBe(true);
    expect(named(name).attributes).not.toHaveProperty('error.type');
  }
});

test('an invalidation has a span, with how much it reached, and the result is untouched', async () => {
  const cache = await open();
  const realm = newRealm();
  await cache.getOrProduce({ realm, path: 'a.ts' }, making('a', ['b']));
  const { modules } = await cache.invalidate(realm, ['b.ts']);
  expect(modules.map(({ path }) => path).sort()).toEqual(['a.ts', 'b.ts']);
  expect(named('invalidate').attributes).toMatchObject({
    'module_cache.realm': realm,
    'module_cache.paths': 1,
    'module_cache.modules': 2,
  });
  await cache.clearRealm(realm);
  await cache.clearAll();
  named('clear_realm');
  named('clear_all');
});

test('a product that an invalidation overtakes: its put says so', async () => {
  const cache = await open();
  const realm = newRealm();
  await cache.getOrProduce({ realm, path: 'a.ts' }, async () => {
    await database.sql`select from module_cache.invalidate(${realm}, array['a.ts'])`;
    return { body: 'a' };
  });
  expect(named('put').attributes).toMatchObject({ 'module_cache.reason': 'stale' });
});

test('misuse is answered as without traces, and closing it closes the cache and takes the listener away', async () => {
  const { cache } = await openPeer({ connection: database.url });
  const before = cache.events.listenerCount('produced');
  const traced = await traceModuleCache(cache, { tracerProvider });
  const request = { realm: newRealm(), path: 'a.ts' };
  await expect(traced.getOrProduce(request, undefined as never)).rejects.toMatchObject({ code: 'MC003' });
  await expect(traced.getMany(undefined as never)).rejects.toMatchObject({ code: 'MC003' });
  await expect(traced.invalidate(request.realm, undefined as never)).rejects.toMatchObject({ code: 'MC003' });
  await expect(traceModuleCache({ ...cache })).rejects.toMatchObject({ code: 'MC107' });
  await traced.close();
  expect(cache.events.listenerCount('produced')).toBe(before);
  await expect(cache.get(request)).rejects.toMatchObject({ code: 'MC103' });
});

test('metrics are those of Prometheus, through the meter, and end with close', async () => {
  const memory = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter: memory, exportIntervalMillis: 3_600_000 });
  const meterProvider = new MeterProvider({ readers: [reader] });
  const cache = await open();
  // What wraps a cache can be observed in its place.
  const metrics = await registerOpenTelemetryMetrics(cache, { meterProvider, attributes: { cache: 'one' } });
  const realm = newRealm();
  await cache.getOrProduce({ realm, path: 'a.ts' }, making('a'));
  for (let i = 0; i < 3; i += 1) await cache.get({ realm, path: 'a.ts' });
  await until(() => cache.stats().connected, { what: 'it is connected' });
  const read = async () => {
    memory.reset();
    await reader.forceFlush();
    const all = memory
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics));
    return (name: string) => all.find(({ descriptor }) => descriptor.name === `module_cache.${name}`);
  };
  const figures = await read();
  expect(figures('hits')).toMatchObject({
    descriptor: { unit: '{hit}' },
    dataPoints: [
      { value: 3, attributes: { cache: 'one', source: 'l1', kind: 'transpile' } },
      { value: 0, attributes: { source: 'l2' } },
    ],
  });
  for (const name of ['warnings', 'disconnections', 'staleness_violations']) {
    expect([name, figures(name)?.dataPoints]).toMatchObject([name, [{ value: 0 }]]);
  }
  expect(figures('production_duration')).toMatchObject({
    descriptor: { unit: 's' },
    dataPoints: [{ value: { count: 1 }, attributes: { kind: 'transpile', outcome: 'stored' } }],
  });
  expect(figures('connected')?.dataPoints).toMatchObject([{ value: 1 }]);
  expect(figures('l1_size')?.dataPoints).toMatchObject([{ value: expect.any(Number) }]);
  metrics.close();
  await cache.get({ realm, path: 'a.ts' });
  expect((await read())('hits')?.dataPoints ?? []).not.toMatchObject([{ value: 4 }]);
  await meterProvider.shutdown();
});

test('without an SDK nothing happens, and nothing breaks', async () => {
  trace.disable();
  const { cache } = await openPeer({ connection: database.url });
  const traced = await traceModuleCache(cache);
  const metrics = await registerOpenTelemetryMetrics(traced);
  const request = { realm: newRealm(), path: 'a.ts' };
  expect((await traced.getOrProduce(request, making('a'))).body).toBe('a');
  expect((await traced.get(request))?.source).toBe('l1');
  metrics.close();
});
