import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { type ModuleCache, openModuleCache } from '../../src/cache.js';
import { startProxy, type TcpProxy } from '../client/support/proxy.js';
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
