import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { closePeers, making, newRealm, openPeer, type Peer } from './support/peers.js';
import { startProxy, type TcpProxy } from './support/proxy.js';
import { invalidate, invalidateSilently, loseTheLog } from './support/realm.js';

/**
 * The fill rule (DESIGN.md section 3): answers of the pool are held on their way, while the dedicated connection goes
 * straight to the server, so that a notification overtakes the answer that it outdates.
 */

let database: TestDatabase;
let proxy: TcpProxy;
let peer: Peer;
let realm: string;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  realm = newRealm();
  proxy = await startProxy(database.url);
  // One connection, so that a statement which was prepared once takes a single round trip.
  peer = await openPeer({
    connection: `${proxy.url}?max=1`,
    listenConnection: database.url,
    heartbeatMs: 60_000,
    maxStalenessMs: 120_000,
  });
  await peer.cache.getOrProduce({ realm, path: 'warm.ts' }, making('warm'));
  await peer.cache.get({ realm, path: 'warmer.ts' });
});
afterEach(async () => {
  jest.restoreAllMocks();
  proxy.release();
  await closePeers();
  await proxy.close();
});

/** What lies in a folder may be another realm, and so may the folder itself. */
const dependencies = ['dep', 'lib/deep/dep', 'folder'];

const untilApplied = (count = 1): Promise<unknown> =>
  until(() => peer.of('invalidated').length >= count, { what: 'the invalidation was applied' });
const untilHeld = (text: string): Promise<unknown> =>
  until(() => proxy.held.includes(text), { what: `the server has answered ${text}` });

test.each([
  ['its module', (sql: TestDatabase['sql']) => invalidate(sql, realm, 'a.ts')],
  ['a dependency', (sql: TestDatabase['sql']) => invalidate(sql, realm, 'dep.ts')],
  ['its realm', (sql: TestDatabase['sql']) => sql`select module_cache.clear_realm(${realm})`],
  [
    'a realm in the URL of its own',
    (sql: TestDatabase['sql']) => sql`select module_cache.clear_realm(${`${realm}lib/`})`,
  ],
  ['the index of such a realm', (sql: TestDatabase['sql']) => invalidate(sql, `${realm}folder/`, 'index.ts')],
  [
    'a realm whose index it imports',
    (sql: TestDatabase['sql']) => sql`select module_cache.clear_realm(${`${realm}folder/`})`,
  ],
  ['everything', (sql: TestDatabase['sql']) => sql`select module_cache.clear_all()`],
  [
    'its module, by hand',
    (sql: TestDatabase['sql']) =>
      sql`select pg_notify('module_cache_invalidated', ${JSON.stringify({ k: 'module', r: realm, m: ['a'] })})`,
  ],
])(
  'trap: the answer of an L2 read reaches the process after the notification that outdates it (%s)',
  async (_, outdate) => {
    const other = await openPeer({ connection: database.url });
    await other.cache.getOrProduce({ realm, path: 'a.ts' }, making('old', dependencies));
    proxy.hold();
    const reading = peer.cache.get({ realm, path: 'a.ts' });
    await untilHeld('old');
    await outdate(database.sql);
    await untilApplied();
    proxy.release();

    // Who came before the invalidation may have this answer; nobody else.
    expect((await reading)?.body).toBe('old');
    expect(peer.cache.peek({ realm, path: 'a.ts' })).toBeUndefined();
    expect(peer.of('stale')).toHaveLength(1);
  },
);

test.each([
  ['its module', (sql: TestDatabase['sql']) => invalidate(sql, realm, 'a.ts')],
  ['a dependency', (sql: TestDatabase['sql']) => invalidate(sql, realm, 'dep.ts')],
  ['its realm', (sql: TestDatabase['sql']) => sql`select module_cache.clear_realm(${realm})`],
  [
    'a realm in the URL of its own',
    (sql: TestDatabase['sql']) => sql`select module_cache.clear_realm(${`${realm}lib/`})`,
  ],
  ['the index of such a realm', (sql: TestDatabase['sql']) => invalidate(sql, `${realm}folder/`, 'index.ts')],
  [
    'a realm whose index it imports',
    (sql: TestDatabase['sql']) => sql`select module_cache.clear_realm(${`${realm}folder/`})`,
  ],
  ['everything', (sql: TestDatabase['sql']) => sql`select module_cache.clear_all()`],
])(
  'trap: the answer of a put reaches the process after the notification that outdates it (%s)',
  async (_, outdate) => {
    const producing = peer.cache.getOrProduce({ realm, path: 'a.ts' }, () => {
      proxy.hold();
      return { body: 'old', dependencyKeys: dependencies };
    });
    await untilHeld('stored');
    await outdate(database.sql);
    await untilApplied();
    proxy.release();

    expect(await producing).toMatchObject({ body: 'old', source: 'produced', cached: false });
    expect(peer.cache.peek({ realm, path: 'a.ts' })).toBeUndefined();
    expect(await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'))).toMatchObject({
      body: 'new',
    });
  },
);

test('an invalidation that the answer has seen does not keep it out of memory', async () => {
  const other = await openPeer({ connection: database.url });
  await other.cache.getOrProduce({ realm, path: 'a.ts' }, making('old'));
  await other.cache.invalidate(realm, ['a.ts']);
  await other.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'));
  await untilApplied();
  proxy.hold();
  const reading = peer.cache.get({ realm, path: 'a.ts' });
  await untilHeld('new');
  // The news of the old invalidation arrives once more, as the log repeats what was notified.
  const [row] = await database.sql`
    select xid::text from module_cache.invalidations where realm_url = ${realm}`;
  await database.sql`
    select pg_notify('module_cache_invalidated', ${JSON.stringify({ k: 'module', r: realm, m: ['a.ts'], x: row?.xid })})`;
  // Sent after it, so heard after it.
  await invalidate(database.sql, realm, 'else.ts');
  await untilApplied(2);
  proxy.release();
  await reading;
  expect(peer.cache.peek({ realm, path: 'a.ts' })?.body).toBe('new');
});

test('trap: everything was dropped while an answer was on its way, and it is put back', async () => {
  const other = await openPeer({ connection: database.url });
  await other.cache.getOrProduce({ realm, path: 'a.ts' }, making('old'));
  proxy.hold();
  const reading = peer.cache.get({ realm, path: 'a.ts' });
  await untilHeld('old');
  // The log no longer reaches back to the cursor: whatever it had told is lost.
  await invalidateSilently(database.sql, realm, 'a.ts');
  await loseTheLog(database.sql);
  await database.sql`select pg_notify('module_cache_invalidated', '{"k":"log"}')`;
  await until(() => peer.of('dropped').length === 1, { what: 'everything was dropped' });
  proxy.release();
  await reading;
  expect(peer.cache.peek({ realm, path: 'a.ts' })).toBeUndefined();
});

test('trap: too much would have to be remembered while an answer is on its way, and it is kept although outdated', async () => {
  const other = await openPeer({ connection: database.url });
  await other.cache.getOrProduce({ realm, path: 'a.ts' }, making('old'));
  proxy.hold();
  const reading = peer.cache.get({ realm, path: 'a.ts' });
  await untilHeld('old');
  await invalidate(database.sql, realm, 'a.ts');
  const many = Array.from({ length: 20_000 }, (_, index) => `m${index}.ts`);
  await invalidate(database.sql, newRealm(), ...many);
  await until(() => peer.of('invalidated').some(({ paths }) => paths?.length === many.length), {
    what: 'the large invalidation was applied',
  });
  proxy.release();
  await reading;
  expect(peer.cache.peek({ realm, path: 'a.ts' })).toBeUndefined();
});

test('an answer that is on its way for longer than its life is not kept', async () => {
  const other = await openPeer({ connection: database.url });
  await other.cache.getOrProduce({ realm, path: 'a.ts' }, () => ({ body: 'short', expiresInMs: 60_000 }));
  proxy.hold();
  const reading = peer.cache.get({ realm, path: 'a.ts' });
  await untilHeld('short');
  const [monotonic, wall] = [performance.now.bind(performance), Date.now];
  jest.spyOn(performance, 'now').mockImplementation(() => monotonic() + 61_000);
  jest.spyOn(Date, 'now').mockImplementation(() => wall() + 61_000);
  proxy.release();
  expect((await reading)?.body).toBe('short');
  expect(peer.cache.stats().fresh).toBe(true);
  expect(peer.cache.peek({ realm, path: 'a.ts' })).toBeUndefined();
});

test('a caller that comes after the invalidation does not get the answer that was already on its way', async () => {
  const other = await openPeer({ connection: database.url });
  await other.cache.getOrProduce({ realm, path: 'a.ts' }, making('old', ['dep']));
  proxy.hold();
  const before = peer.cache.get({ realm, path: 'a.ts' });
  await untilHeld('old');
  // Only the declared dependency: nothing but the answer itself can tell that it is outdated.
  await database.sql`select pg_notify('module_cache_invalidated',
    ${JSON.stringify({ k: 'module', r: realm, m: ['dep.ts'] })})`;
  await invalidateSilently(database.sql, realm, 'dep.ts');
  await untilApplied();
  const after = peer.cache.get({ realm, path: 'a.ts' });
  proxy.release();
  expect((await before)?.body).toBe('old');
  expect(await after).toBeUndefined();
});
