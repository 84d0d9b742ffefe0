import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { createDefinitionLookup, type DefinitionRequest } from '../../src/definition/index.js';
import type { ModuleCacheOptions } from '../../src/index.js';
import { closePeers, newRealm, openPeer } from '../client/support/peers.js';
import { startProxy } from '../client/support/proxy.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';

let database: TestDatabase;
const cleanUps: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());
afterEach(async () => {
  await closePeers();
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
});

/** A lookup that has looked up `a.ts`, which is built from `b.ts`, which has an error; then the database goes away. */
async function lookupInOutage(options: Partial<ModuleCacheOptions>) {
  const proxy = await startProxy(database.url);
  cleanUps.push(() => proxy.close());
  const peer = await openPeer({
    connection: proxy.url,
    ...{ heartbeatMs: 50, maxStalenessMs: 300, graceMs: 60_000 },
    ...options,
  });
  const produce = ({ path }: DefinitionRequest) =>
    path === 'b.ts'
      ? { error: { message: 'odd' }, expiresInMs: 600_000 }
      : { definition: path, dependencies: ['b.ts'] };
  const lookup = createDefinitionLookup({ cache: peer.cache, realm: newRealm(), produce });
  await lookup.lookupMany(['b.ts', 'a.ts']);
  proxy.door = 'close';
  proxy.cut();
  await until(() => !peer.cache.stats().fresh, { what: 'memory is past its time' });
  return lookup;
}

test('within the grace period a definition and what is wrong below it come from memory, and say so', async () => {
  const lookup = await lookupInOutage({});
  const [a, b] = await lookup.lookupMany(['a.ts', 'b.ts']);
  expect(a).toMatchObject({
    status: 'ok',
    staleMs: expect.any(Number),
    errors: [{ path: 'b.ts', message: 'odd' }],
  });
  expect(b).toMatchObject({ status: 'error', staleMs: expect.any(Number) });
  await expect(lookup.lookup('c.ts')).rejects.toMatchObject({ code: 'MC108' });
});

test('without the database definitions are made here, one or many', async () => {
  const lookup = await lookupInOutage({ withoutDatabase: 'produce' });
  expect(await lookup.lookup('c.ts')).toMatchObject({ status: 'ok', definition: 'c.ts', cached: false });
  expect(await lookup.lookupMany(['a.ts', 'd.ts'])).toMatchObject([
    { status: 'ok', definition: 'a.ts' },
    { status: 'ok', definition: 'd.ts', cached: false },
  ]);
});
