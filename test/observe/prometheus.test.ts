import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import client from 'prom-client';
import { activityOf } from '../../src/activity.js';
import { createDefinitionLookup } from '../../src/definition/index.js';
import type { ModuleCache } from '../../src/index.js';
import { registerPrometheusMetrics } from '../../src/observe/index.js';
import { INSTRUMENT_NAMES } from '../../src/observe/instruments.js';
import { closePeers, making, newRealm, openPeer } from '../client/support/peers.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { parseMetrics } from './support/metrics.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterEach(closePeers);
afterAll(() => database.drop());

async function open(options: Parameters<typeof registerPrometheusMetrics>[1] = {}) {
  const { cache } = await openPeer({ connection: database.url });
  const metrics = await registerPrometheusMetrics(cache, options);
  return {
    cache,
    metrics,
    read: async () => parseMetrics(await metrics.registry.metrics()),
  };
}

/** A hit of each source, a miss, productions that end well, badly and too late, and invalidations. */
async function use(cache: ModuleCache, realm: string): Promise<void> {
  const request = { realm, path: 'a.ts' };
  await cache.getOrProduce(request, making('a'));
  for (let i = 0; i < 5; i += 1) await cache.get(request);
  await cache.get(request, { consistency: 'strong' });
  await cache.get({ realm, path: 'none.ts', kind: 'definition' });
  await expect(
    cache.getOrProduce({ realm, path: 'b.ts' }, () => {
      throw new Error('no');
    }),
  ).rejects.toThrow('no');
  await cache.getOrProduce({ realm, path: 'c.ts' }, async () => {
    await cache.invalidate(realm, ['c.ts']);
    return { body: 'outdated' };
  });
  await cache.invalidate(realm, ['a.ts']);
  await cache.clearRealm(realm);
}

test('what was served, produced, refused and invalidated is counted', async () => {
  const { cache, read } = await open();
  const realm = newRealm();
  await use(cache, realm);
  const figures = await read();
  const of = (name: string, labels = {}) => figures.get(`module_cache_${name}`, labels);
  expect(of('hits_total', { source: 'l1', kind: 'transpile' })).toBe(5);
  expect(of('hits_total', { source: 'l2', kind: 'transpile' })).toBe(1);
  expect(of('misses_total', { kind: 'definition' })).toBe(1);
  expect(of('misses_total', { kind: 'transpile' })).toBe(3);
  expect(of('failures_total', { kind: 'transpile' })).toBe(1);
  const produced = (outcome: string) =>
    of('production_duration_seconds_count', { kind: 'transpile', outcome });
  expect(produced('stored')).toBe(1);
  expect(produced('error')).toBe(1);
  expect(produced('stale')).toBe(1);
  expect(of('put_rejections_total', { kind: 'transpile', reason: 'stale' })).toBe(1);
  expect(of('invalidations_total', { scope: 'module' })).toBe(2);
  expect(of('invalidations_total', { scope: 'realm' })).toBe(1);
  expect(of('invalidated_entries_total')).toBe(1);
  expect(of('connected')).toBe(1);
  expect(of('away')).toBe(0);
  expect(of('processes')).toBe(1);
  expect(of('cursor_age_seconds')).toBeGreaterThan(0);
  expect(of('cursor_age_seconds')).toBeLessThan(60);
  // Reading changes nothing.
  expect((await read()).get('module_cache_hits_total', { source: 'l1', kind: 'transpile' })).toBe(5);
});

test('what memory holds, and what the log costs', async () => {
  const { cache, read } = await open();
  const realm = newRealm();
  await cache.getOrProduce({ realm, path: 'a.ts' }, making('x'.repeat(10_000)));
  await new Promise((resolve) => cache.events.once('asked', resolve));
  const figures = await read();
  expect(figures.get('module_cache_l1_entries')).toBe(1);
  expect(figures.get('module_cache_l1_size_bytes')).toBeGreaterThan(10_000);
  expect(figures.get('module_cache_catch_up_duration_seconds_count')).toBeGreaterThan(0);
});

test('counts go on although they were reported to the database meanwhile', async () => {
  const { cache, read } = await open();
  const realm = newRealm();
  const request = { realm, path: 'a.ts' };
  const hits = async () => (await read()).get('module_cache_hits_total', { source: 'l1', kind: 'transpile' });
  await cache.getOrProduce(request, making('a'));
  await cache.get(request);
  await until(
    async () => {
      const [row] = await database.sql`
        select l1_hits::integer from module_cache.stats where realm_url = ${realm}`;
      return row?.l1_hits === 1;
    },
    { timeoutMs: 20_000, what: 'it was reported' },
  );
  expect(await hits()).toBe(1);
  await cache.get(request);
  expect(await hits()).toBe(2);
});

test('kinds beyond the twentieth are one, and realms are told apart only by the label that the user gives', async () => {
  const plain = await open();
  const labelled = await open({ realmLabel: (realm) => (realm.includes('paying') ? 'paying' : 'free') });
  for (const { cache } of [plain, labelled]) {
    for (let i = 0; i < 25; i += 1) {
      await cache.get({
        realm: `https://${i % 5 ? 'paying' : 'b'}${i}.example/`,
        path: 'a.ts',
        kind: `k${i}`,
      });
    }
  }
  const series = (await plain.read()).all('module_cache_misses_total');
  expect(series).toHaveLength(21);
  expect(series.filter(({ labels }) => labels.kind === 'other')).toEqual([
    { labels: { kind: 'other' }, value: 5 },
  ]);
  const byRealm = (await labelled.read()).all('module_cache_misses_total');
  expect(new Set(byRealm.map(({ labels }) => labels.realm))).toEqual(new Set(['paying', 'free']));
  expect(byRealm.reduce((sum, { value }) => sum + value, 0)).toBe(25);
});

test('no counter falls when a realm gets another label, which is asked for once', async () => {
  let plan = 'free';
  let asked = 0;
  const { cache, read } = await open({
    realmLabel: () => {
      asked += 1;
      return plan;
    },
  });
  const request = { realm: newRealm(), path: 'a.ts' };
  await cache.getOrProduce(request, making('a'));
  await cache.get(request);
  const hits = async () => (await read()).all('module_cache_hits_total').filter(({ value }) => value > 0);
  const labels = { source: 'l1', kind: 'transpile', realm: 'free' };
  expect(await hits()).toEqual([{ labels, value: 1 }]);
  plan = 'paying';
  await cache.get(request);
  expect(await hits()).toEqual([{ labels, value: 2 }]);
  expect(asked).toBe(1);
});

test('labels of realms that are not counted apart are not kept for ever', async () => {
  let asked = 0;
  const { cache, read } = await open({
    realmLabel: () => {
      asked += 1;
      return 'one';
    },
  });
  for (let n = 0; n < 5_000; n += 1) {
    const id = { realm: `https://tenant-${n}.example/`, path: 'a.ts', kind: 'transpile', variant: '' };
    cache.events.emit('miss', { id });
    cache.events.emit('failed', { id, ms: 1, error: undefined });
  }
  const figures = await read();
  expect(asked).toBe(1_000);
  const labels = { kind: 'transpile', realm: 'one' };
  expect(figures.get('module_cache_misses_total', labels)).toBe(1_000);
  expect(figures.get('module_cache_misses_total', { ...labels, realm: 'other' })).toBe(4_000);
});

test('a realmLabel that throws ends nothing: its realm is another one', async () => {
  const { cache, read } = await open({
    realmLabel: () => {
      throw new Error('unknown tenant');
    },
  });
  // An uncaught exception would fail this test.
  await cache.getOrProduce({ realm: newRealm(), path: 'a.ts' }, making('a'));
  await new Promise((resolve) => setImmediate(resolve));
  expect((await read()).get('module_cache_misses_total', { kind: 'transpile', realm: 'other' })).toBe(1);
});

test('a module that does not exist is no production that threw, here and in the database', async () => {
  const { cache, read } = await open();
  const realm = newRealm();
  const lookup = createDefinitionLookup({ cache, realm, produce: () => null });
  expect(await lookup.lookup('a.ts')).toMatchObject({ status: 'missing' });
  const figures = await read();
  const kind = 'definition';
  expect(figures.get('module_cache_failures_total', { kind })).toBe(0);
  const count = 'module_cache_production_duration_seconds_count';
  expect(figures.all(count)).toEqual([{ labels: { kind, outcome: 'absent' }, value: 1 }]);
  await cache.close();
  const rows = await database.sql`
    select misses::integer, failures::integer from module_cache.stats where realm_url = ${realm}`;
  expect([...rows]).toEqual([{ misses: 1, failures: 0 }]);
});

test('what has not happened yet is 0, so that it can be added up and is seen to rise', async () => {
  const { cache, read } = await open();
  expect((await read()).get('module_cache_memory_drops_total', { reason: 'cursor_too_old' })).toBe(0);
  const realm = newRealm();
  await cache.get({ realm, path: 'none.ts' });
  const figures = await read();
  for (const source of ['l1', 'l2'])
    expect(figures.get('module_cache_hits_total', { source, kind: 'transpile' })).toBe(0);
  for (const name of ['coalesced_total', 'failures_total'])
    expect(figures.get(`module_cache_${name}`, { kind: 'transpile' })).toBe(0);
  // Nothing is beyond what is counted apart.
  expect(figures.all('module_cache_misses_total')).toHaveLength(1);
});

test('beyond what is counted apart kinds are still told apart, here and in the database', async () => {
  const { cache, read } = await open();
  const miss = (realm: string, kind: string) =>
    cache.events.emit('miss', { id: { realm, path: 'a.ts', kind, variant: '' } });
  for (let n = 0; n < 1_000; n += 1) miss(`https://tenant-${n}.example/`, 'page');
  // A thousand are more than is reported at once, and not what this is about.
  while (activityOf(cache).take().length > 0);
  for (let n = 0; n < 10; n += 1) miss(`https://more-${n}.example/`, n < 7 ? 'page' : 'style');
  expect((await read()).all('module_cache_misses_total')).toEqual([
    { labels: { kind: 'page' }, value: 1_007 },
    { labels: { kind: 'style' }, value: 3 },
  ]);
  await cache.close();
  const rows = await database.sql`
    select kind, misses::integer from module_cache.stats where realm_url is null order by kind`;
  expect([...rows]).toEqual(
    expect.arrayContaining([
      { kind: 'page', misses: 7 },
      { kind: 'style', misses: 3 },
    ]),
  );
});

test('a cache that is closed has no age of its cursor', async () => {
  const { cache, read } = await open();
  expect((await read()).all('module_cache_cursor_age_seconds')).toHaveLength(1);
  await cache.close();
  const figures = await read();
  expect(figures.all('module_cache_cursor_age_seconds')).toEqual([]);
  expect(figures.get('module_cache_connected')).toBe(0);
});

test('neither realm nor path of a module is in the text', async () => {
  const { cache, metrics } = await open();
  await use(cache, newRealm());
  const text = await metrics.registry.metrics();
  expect(text).not.toMatch(/example|a\.ts/);
  expect(text).not.toContain(new URL(database.url).password);
});

test('samples of staleness are counted, and nines are no more than the samples show', async () => {
  const { cache } = await openPeer({ connection: database.url });
  const { registry } = await registerPrometheusMetrics(cache);
  const id = { realm: newRealm(), path: 'a.ts', kind: 'transpile', variant: '' };
  const tell = (outcome: 'consistent' | 'inconsistent' | 'unknown', isBound: boolean) =>
    cache.events.emit('rechecked', { id, withinMs: isBound ? 5_000 : 10_000, isBound, outcome });
  for (let i = 0; i < 99; i += 1) for (const isBound of [true, false]) tell('consistent', isBound);
  tell('unknown', true);
  for (let i = 0; i < 9; i += 1) tell('inconsistent', true);
  const figures = parseMetrics(await registry.metrics());
  const labels = { within_seconds: '10' };
  expect(figures.get('module_cache_staleness_rechecks_total', { ...labels, outcome: 'consistent' })).toBe(99);
  expect(figures.get('module_cache_staleness_nines', labels)).toBe(2);
  expect(figures.get('module_cache_staleness_nines', { within_seconds: '5' })).toBeCloseTo(
    Math.log10(10.9),
    5,
  );
  expect(figures.get('module_cache_staleness_violations_total')).toBe(9);
});

test("they go into the user's registry under a prefix, and out again; two of one name are refused whole", async () => {
  const registry = new client.Registry();
  new client.Counter({ name: 'other_total', help: 'of the application', registers: [registry] });
  const { metrics } = await open({ registry, prefix: 'app_' });
  expect(metrics.registry).toBe(registry);
  expect(registry.getMetricsAsArray().map(({ name }) => name)).toEqual(
    expect.arrayContaining(INSTRUMENT_NAMES.map((name) => `app_${name}`)),
  );
  const { cache } = await openPeer({ connection: database.url });
  const before = cache.events.listenerCount('produced');
  await expect(registerPrometheusMetrics(cache, { registry, prefix: 'app_' })).rejects.toThrow('already');
  expect(cache.events.listenerCount('produced')).toBe(before);
  metrics.close();
  expect(registry.getMetricsAsArray().map(({ name }) => name)).toEqual(['other_total']);
});

test('after it is closed the cache has no listener left', async () => {
  const { cache } = await openPeer({ connection: database.url });
  const listeners = () => cache.events.eventNames().map((name) => [name, cache.events.listenerCount(name)]);
  const before = listeners();
  const metrics = await registerPrometheusMetrics(cache);
  expect(listeners()).not.toEqual(before);
  metrics.close();
  expect(listeners()).toEqual(before);
  // No listener for what happens at every answer: it would cost as much as the answer.
  await registerPrometheusMetrics(cache);
  expect(cache.events.listenerCount('hit')).toBe(before.find(([name]) => name === 'hit')?.[1]);
});

test('what is no cache is refused with what to pass', async () => {
  await expect(registerPrometheusMetrics({} as ModuleCache)).rejects.toMatchObject({
    code: 'MC107',
    hint: expect.stringContaining('openModuleCache'),
  });
});
