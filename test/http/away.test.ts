import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type ModuleCache, openModuleCache } from '../../src/cache.js';
import type { ModuleCacheOptions } from '../../src/options.js';
import { startProxy, type TcpProxy } from '../client/support/proxy.js';
import { until } from '../support/wait.js';
import { type Ask, servedRealm } from './support/served-realm.js';

/** The database is away: what is fresh in memory is served, the rest is a 503 that says when to come again. */

const modules = servedRealm();
let proxy: TcpProxy;
let cache: ModuleCache;
let ask: Ask;
let errors: unknown[];
beforeEach(async () => {
  proxy = await startProxy(modules.database.url);
  cache = await openModuleCache({ connection: proxy.url, deadlineMs: 1_000, maxStalenessMs: 60_000 });
  errors = [];
  ask = await modules.serve({ cache, onError: (error) => errors.push(error) });
  await modules.write('known.ts', 'export const a = 1;');
  await modules.write('new.ts', 'export const a = 1;');
  await ask('/known.ts');
});
afterEach(async () => {
  await cache.close();
  await proxy.close();
});

test.each([
  [
    'closes every connection',
    () => {
      proxy.door = 'close';
      proxy.cut();
    },
  ],
  ['says nothing any more', () => proxy.silence()],
])('it %s', async (_, leave) => {
  leave();
  expect((await ask('/known.ts')).status).toBe(200);
  const response = await ask('/new.ts');
  expect([
    response.status,
    response.headers.get('retry-after'),
    response.headers.get('cache-control'),
  ]).toEqual([503, '1', 'no-store']);
  // Neither host nor port, nor what the driver calls it.
  expect(await response.text()).toBe('the module could not be served\n');
  expect(errors).toHaveLength(1);
  expect(errors[0]).toBeInstanceOf(Error);
});

test('a server that stops says so', async () => {
  await cache.close();
  const response = await ask('/new.ts');
  expect([response.status, response.headers.get('retry-after'), await response.text()]).toEqual([
    503,
    '1',
    'the server is stopping\n',
  ]);
});

test('a client that goes away is no error of the server', async () => {
  proxy.hold();
  const gone = new AbortController();
  const answer = ask('/new.ts', { signal: gone.signal });
  gone.abort();
  await answer;
  proxy.release();
  expect(errors).toEqual([]);
});

describe('with a grace period', () => {
  const brief = { deadlineMs: 5_000, heartbeatMs: 50, maxStalenessMs: 300, graceMs: 60_000 };
  let other: ModuleCache | undefined;
  afterEach(() => other?.close());
  async function outage(options: Partial<ModuleCacheOptions> = {}): Promise<{ ask: Ask; etag: string }> {
    const opened = await openModuleCache({ connection: proxy.url, ...brief, ...options });
    other = opened;
    const asked = await modules.serve({ cache: opened, recheckMs: 1 });
    const etag = (await asked('/known.ts')).headers.get('etag') as string;
    proxy.door = 'close';
    proxy.cut();
    await until(() => !opened.stats().fresh, { what: 'memory is past its time' });
    return { ask: asked, etag };
  }

  test('a module from memory says so, and nobody may keep it or go on with theirs', async () => {
    const { ask: asked, etag } = await outage();
    for (const headers of [{}, { 'if-none-match': etag }, { 'if-none-match': '*' }] as Record<
      string,
      string
    >[]) {
      const response = await asked('/known.ts', headers);
      expect([
        response.status,
        response.headers.get('x-module-cache'),
        response.headers.get('cache-control'),
      ]).toEqual([200, 'l1', 'no-store']);
      expect(Number(response.headers.get('x-module-cache-stale'))).toBeGreaterThanOrEqual(1);
      expect([response.headers.get('etag'), response.headers.get('last-modified')]).toEqual([null, null]);
      expect(response.headers.get('x-module-cache-token')).not.toBeNull();
      expect(await response.text()).toContain('export const a = 1');
    }
    const after = (await asked('/known.ts')).headers.get('x-module-cache-token') as string;
    expect((await asked('/known.ts', { 'x-module-cache-after': after })).status).toBe(503);
    expect((await asked('/new.ts')).status).toBe(503);
    proxy.door = 'accept';
    await until(async () => (await asked('/known.ts')).headers.get('x-module-cache-stale') === null, {
      what: 'the database is back',
    });
    expect((await asked('/known.ts', { 'if-none-match': etag })).status).toBe(304);
  });

  test('a module whose source is another by now is not served from memory', async () => {
    const { ask: asked } = await outage();
    await modules.write('known.ts', 'export const a = 22;');
    expect((await asked('/known.ts')).status).toBe(503);
  });

  test('with production without the database it is compiled here, and so is what memory does not hold', async () => {
    const { ask: asked } = await outage({ withoutDatabase: 'produce' });
    await modules.write('known.ts', 'export const a = 22;');
    for (const [path, text] of [
      ['/known.ts', 'a = 22'],
      ['/new.ts', 'a = 1'],
    ] as const) {
      const response = await asked(path);
      expect([response.status, response.headers.get('x-module-cache')]).toEqual([200, 'produced']);
      expect(response.headers.get('x-module-cache-stale')).toBeNull();
      expect(response.headers.get('x-module-cache-token')).toBeNull();
      expect(await response.text()).toContain(text);
    }
  });
});
