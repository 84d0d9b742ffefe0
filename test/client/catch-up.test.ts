import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { openInstance } from './support/instance.js';
import { closePeers, gate, making, newRealm, notAsked, openPeer, type Peer } from './support/peers.js';
import { CURSOR, startProxy, type TcpProxy } from './support/proxy.js';
import { invalidate, invalidateSilently, loseTheLog } from './support/realm.js';

/** NOTIFY is latency, the log is correctness; and nothing is served for longer than maxStaleness. */

let database: TestDatabase;
let proxy: TcpProxy;
let realm: string;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  realm = newRealm();
  proxy = await startProxy(database.url);
});
afterEach(async () => {
  jest.restoreAllMocks();
  proxy.release();
  await closePeers();
  await proxy.close();
});

const asks = (): number => proxy.sent(CURSOR);
const open = (options: { heartbeatMs?: number; maxStalenessMs?: number; broadcast?: 'log' } = {}) =>
  openPeer({ connection: database.url, listenConnection: proxy.url, ...options });
const never = { heartbeatMs: 60_000, maxStalenessMs: 120_000 };
const fill = ({ cache }: Peer, path = 'a.ts', body = 'old') =>
  cache.getOrProduce({ realm, path }, making(body));
const body = ({ cache }: Peer, path = 'a.ts'): string | undefined => cache.peek({ realm, path })?.body;

/** Of the session that listens. */
const terminate = (name: string) => database.sql`
  select pg_terminate_backend(pid) from pg_stat_activity
  where application_name = ${name} and pid in (
    select a.pid from pg_stat_activity a
    where a.application_name = ${name}
      and a.query ~ 'unlisten|changes_since|claim[(]|release[(]|_report_peer|_elect_collector|to_regprocedure')`;

describe('an invalidation while the dedicated connection is away', () => {
  test('is applied as soon as it listens again, long before the next heartbeat', async () => {
    const peer = await open(never);
    await fill(peer);
    await fill(peer, 'b.ts');
    // From then on it asks nothing for some seconds, so that only the loss itself can tell it.
    await until(() => proxy.sent('_report_peer') > 0, { what: 'it has reported' });
    proxy.door = 'close';
    await terminate(peer.name);
    await until(() => peer.of('disconnected').length === 1, {
      timeoutMs: 3_000,
      what: 'the connection is lost',
    });
    await invalidate(database.sql, realm, 'a.ts');
    proxy.door = 'accept';
    await until(() => peer.of('caught-up').length === 1, { what: 'it has caught up' });
    expect(body(peer)).toBeUndefined();
    expect(body(peer, 'b.ts')).toBe('old');
    expect(peer.of('caught-up')).toMatchObject([{ complete: true, changes: 1 }]);
    expect(await fill(peer, 'a.ts', 'new')).toMatchObject({ body: 'new' });
  });

  test('drops everything if the log no longer reaches back', async () => {
    const peer = await open(never);
    await fill(peer);
    proxy.door = 'close';
    proxy.cut();
    await until(() => peer.of('disconnected').length === 1, { what: 'the connection is lost' });
    await invalidate(database.sql, realm, 'a.ts');
    await loseTheLog(database.sql);
    proxy.door = 'accept';
    await until(() => peer.of('caught-up').length === 1, { what: 'it has caught up' });
    expect(body(peer)).toBeUndefined();
    expect(peer.of('dropped')).toHaveLength(1);
  });

  test('is bounded by maxStaleness: cut off from Postgres, a process stops trusting its memory', async () => {
    const maxStalenessMs = 600;
    const peer = await open({ heartbeatMs: 100, maxStalenessMs });
    await fill(peer);
    // A busy machine may be late with a heartbeat.
    await until(() => body(peer) === 'old', { what: 'memory is served' });
    proxy.hold();
    const heldAt = performance.now();
    await invalidateSilently(database.sql, realm, 'a.ts');
    let lastServedAt = heldAt;
    await until(
      () => {
        const now = performance.now();
        if (body(peer) === undefined) return true;
        lastServedAt = now;
        return false;
      },
      { what: 'memory is not served any more' },
    );
    // From the beginning of the last catch-up, which was before the answers were held.
    expect(lastServedAt - heldAt).toBeLessThan(maxStalenessMs);
    expect(peer.cache.stats().fresh).toBe(false);
    proxy.release();
    await until(() => peer.cache.stats().fresh, { what: 'it has caught up' });
    expect(body(peer)).toBeUndefined();
  });

  test('is not hidden by a catch-up that was asked before and answered after the pause', async () => {
    const peer = await open({ heartbeatMs: 100, maxStalenessMs: 500 });
    let lost = 0;
    for (let attempt = 1; ; attempt += 1) {
      await until(() => peer.cache.stats().fresh, { what: 'it has caught up' });
      await fill(peer);
      proxy.hold();
      await until(() => proxy.held.length > 0, { what: 'the log has answered' });
      const heldAt = performance.now();
      await until(() => performance.now() - heldAt > 500, { what: 'the time is over since it was asked' });
      await invalidateSilently(database.sql, realm, 'a.ts');
      const asked = asks();
      proxy.release();
      proxy.hold();
      await until(() => asks() > asked || peer.of('disconnected').length > lost, {
        what: 'that answer has arrived, and the next heartbeat is on its way',
      });
      // A busy machine may have taken so long that the connection was given up before the answer came.
      if (peer.of('disconnected').length === lost) break;
      expect(attempt).toBeLessThan(5);
      lost = peer.of('disconnected').length;
      proxy.release();
    }
    expect(peer.cache.stats().fresh).toBe(false);
    expect(body(peer)).toBeUndefined();
    proxy.release();
    await until(() => peer.cache.stats().fresh, { what: 'it has caught up' });
    expect(body(peer)).toBeUndefined();
  });
});

test('news to read the log is not answered with what was asked before it', async () => {
  const peer = await open(never);
  await fill(peer);
  const [row] = await database.sql`select token from module_cache.get(${realm}, 'a.ts')`;
  // The answer to a first question is held, and the news behind it.
  proxy.hold(String(row?.token).split('/')[0] as string);
  await database.sql.notify('module_cache_invalidated', '{"k":"log","x":"1"}');
  await until(() => proxy.held.length > 0, { what: 'the log has answered' });
  const many = Array.from({ length: 5_000 }, (_, n) => `${'x'.repeat(20)}${n}.ts`);
  await invalidate(database.sql, realm, 'a.ts', ...many);
  await until(() => proxy.held.includes('"k":"log"'), { what: 'the news has come' });
  proxy.release();
  await until(() => body(peer) === undefined, { what: 'the log has told' });
});

test('work that began before maxStaleness is not joined while the log cannot be asked', async () => {
  const peer = await open({ heartbeatMs: 100, maxStalenessMs: 400 });
  const { produce, begun, finish } = gate();
  const before = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
  await begun();
  proxy.door = 'close';
  proxy.cut();
  const joining = peer.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked);
  const joinedAt = performance.now();
  await until(() => !peer.cache.stats().fresh && performance.now() - joinedAt > 400, {
    what: 'neither memory nor the work is young enough to be trusted',
  });
  await invalidate(database.sql, realm, 'a.ts');
  const after = await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'));
  expect(after).toMatchObject({ body: 'new', source: 'produced' });
  finish({ body: 'old' });
  expect((await Promise.all([before, joining])).map((module) => module.body)).toEqual(['old', 'old']);
});

describe('without any notification', () => {
  test.each([['off for the transaction'], ['off for the session']])(
    'a process is coherent within one heartbeat (%s)',
    async (how) => {
      const peer = await open({ heartbeatMs: 300 });
      await fill(peer);
      if (how === 'off for the transaction') await invalidateSilently(database.sql, realm, 'a.ts');
      else {
        const muted = openInstance(database.url, { connection: { 'module_cache.notify': 'off' } as never });
        await invalidate(muted.sql, realm, 'a.ts');
        await muted.close();
      }
      const committed = asks();
      await until(() => body(peer) === undefined, { what: 'the heartbeat has told' });
      // One may have been on its way at the commit; the next one tells.
      expect(asks() - committed).toBeLessThanOrEqual(2);
      expect(peer.of('invalidated')).toMatchObject([{ scope: 'module', realm, paths: ['a.ts'], dropped: 1 }]);
    },
  );

  test('broadcast "log": processes are coherent within one heartbeat, and nothing at all is notified', async () => {
    const heard: string[] = [];
    for (const channel of ['module_cache_invalidated', 'module_cache_populated']) {
      await database.sql.listen(channel, (payload) => void heard.push(payload));
    }
    const writer = await openPeer({ connection: database.url, broadcast: 'log' });
    const peer = await open({ broadcast: 'log', heartbeatMs: 250 });
    const { produce, begun, finish } = gate();
    const made = writer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    const waited = peer.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked);
    finish({ body: 'old' });
    await Promise.all([made, waited]);
    expect(body(peer)).toBe('old');

    for (const clear of [
      () => writer.cache.invalidate(realm, ['a.ts']),
      () => writer.cache.clearRealm(realm),
      () => writer.cache.clearAll(),
      () => database.sql.begin((tx) => writer.cache.invalidate(realm, ['a.ts'], { tx })),
    ]) {
      await fill(peer);
      const committing = asks();
      await clear();
      await until(() => body(peer) === undefined, { what: 'the heartbeat has told' });
      expect(asks() - committing).toBeLessThanOrEqual(3);
    }
    await database.sql.notify('module_cache_invalidated', 'marker');
    await until(() => heard.includes('marker'), { what: 'everything sent so far was heard' });
    expect(heard).toEqual(['marker']);
  });
});

describe('time', () => {
  test('trap: the monotonic clock stands still in suspend, the wall clock tells', async () => {
    const peer = await open({ heartbeatMs: 500, maxStalenessMs: 30_000 });
    await fill(peer);
    expect(body(peer)).toBe('old');
    const now = Date.now;
    jest.spyOn(Date, 'now').mockImplementation(() => now() + 31_000);
    expect(body(peer)).toBeUndefined();
    const before = asks();
    await until(() => body(peer) === 'old', { what: 'it was served again' });
    expect(asks()).toBeGreaterThan(before);
  });

  test('a wall clock that is set back does not make memory trusted for longer', async () => {
    const peer = await open({ heartbeatMs: 100, maxStalenessMs: 400 });
    await fill(peer);
    const now = Date.now;
    jest.spyOn(Date, 'now').mockImplementation(() => now() - 3_600_000);
    proxy.hold();
    await until(() => body(peer) === undefined, { what: 'memory is not served any more' });
  });

  test('an answer with a life does not outlive it in suspend', async () => {
    const peer = await open({ heartbeatMs: 100, maxStalenessMs: 30_000 });
    await peer.cache.getOrProduce({ realm, path: 'a.ts' }, () => ({ body: 'short', expiresInMs: 60_000 }));
    expect(body(peer)).toBe('short');
    const now = Date.now;
    jest.spyOn(Date, 'now').mockImplementation(() => now() + 61_000);
    await until(() => peer.cache.stats().fresh, { what: 'it has caught up after the suspend' });
    expect(body(peer)).toBeUndefined();
  });

  test('an answer with a life does not outlive it because the wall clock was set back', async () => {
    const peer = await open({ heartbeatMs: 100, maxStalenessMs: 30_000 });
    await peer.cache.getOrProduce({ realm, path: 'a.ts' }, () => ({ body: 'short', expiresInMs: 60_000 }));
    expect(body(peer)).toBe('short');
    const now = performance.now.bind(performance);
    jest.spyOn(performance, 'now').mockImplementation(() => now() + 61_000);
    await until(() => peer.cache.stats().fresh, { what: 'it has caught up' });
    expect(body(peer)).toBeUndefined();
  });
});

describe('a new epoch', () => {
  /** As after a crash: the tables are empty, and everything from before is void. */
  const renew = () =>
    database.sql.begin(async (tx) => {
      await tx`delete from module_cache._epochs`;
      await tx`select module_cache._renew_epoch()`;
    });

  test('empties memory at the next heartbeat', async () => {
    const peer = await open({ heartbeatMs: 200 });
    await fill(peer);
    await renew();
    await until(() => peer.of('dropped').length === 1, { what: 'memory was emptied' });
    expect(body(peer)).toBeUndefined();
    expect(await fill(peer, 'a.ts', 'new')).toMatchObject({ body: 'new', cached: true });
    expect(body(peer)).toBe('new');
  });

  test('that the cursor has not reached yet: its answers are served, and not kept', async () => {
    const peer = await open(never);
    await fill(peer);
    await renew();
    const other = await openPeer({ connection: database.url });
    await other.cache.getOrProduce({ realm, path: 'b.ts' }, making('new'));
    expect((await peer.cache.get({ realm, path: 'b.ts' }))?.body).toBe('new');
    // The cursor is of the old epoch, so nobody would tell this process when it is outdated.
    expect(body(peer, 'b.ts')).toBeUndefined();
  });

  test('makes a put with a token from before a result, not an error, and what comes next is kept', async () => {
    const peer = await open({ heartbeatMs: 200 });
    const { produce, begun, finish } = gate();
    const answer = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    await database.sql`delete from module_cache._epochs`;
    finish({ body: 'old' });
    expect(await answer).toMatchObject({ body: 'old', cached: false });
    await until(
      async () => (await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'))).source === 'l1',
      { what: 'the cache is in use again' },
    );
    expect(body(peer)).toBe('new');
  });
});

test('trap: max_lifetime closes the dedicated connection and takes its claims along', async () => {
  const peer = await openPeer({
    connection: `${proxy.url}?max=1&max_lifetime=1`,
    listenConnection: `${database.url}?max_lifetime=1`,
  });
  const { produce, begun, finish } = gate();
  const answer = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
  await begun();
  // The pool's connection is closed by its age; the next one is a new one.
  await until(() => proxy.connections === 0, { what: 'the age of the pool has come' });
  await peer.cache.get({ realm, path: 'b.ts' });
  await until(() => proxy.accepted > 1 && proxy.connections === 0, { what: 'it has come again' });
  expect(peer.of('disconnected')).toEqual([]);
  const other = await openPeer({ connection: database.url });
  const waiting = other.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked);
  await until(() => other.of('miss').length === 1, { what: 'the other process waits' });
  finish({ body: 'made' });
  expect((await Promise.all([answer, waiting])).map((module) => module.body)).toEqual(['made', 'made']);
});
