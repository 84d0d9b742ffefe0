import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until, within } from '../support/wait.js';
import { openInstance } from './support/instance.js';
import { closePeers, gate, making, newRealm, notAsked, openPeer } from './support/peers.js';
import { endPeers, startPeer } from './support/process-peer.js';
import { startProxy } from './support/proxy.js';

let database: TestDatabase;
let realm: string;
const cleanUps: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());
beforeEach(() => {
  realm = newRealm();
});
afterEach(async () => {
  await closePeers();
  await endPeers();
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
});

const sessions = (name: string) => database.sql`
  select pid from pg_stat_activity where application_name = ${name}`;
const proxied = async () => {
  const proxy = await startProxy(database.url);
  cleanUps.push(() => proxy.close());
  return proxy;
};

describe('a closed cache', () => {
  test('has no connection, claim or entry left, and every call says that it is closed', async () => {
    const { cache, name } = await openPeer({ connection: database.url });
    await cache.getOrProduce({ realm, path: 'a.ts' }, making('a'));
    expect(await sessions(name)).not.toHaveLength(0);
    await Promise.all([cache.close(), cache.close()]);
    await until(async () => (await sessions(name)).length === 0, { what: 'its sessions have ended' });
    const closed = { code: 'MC103', hint: expect.any(String) };
    const request = { realm, path: 'a.ts' };
    expect(cache.peek(request)).toBeUndefined();
    expect(cache.stats()).toEqual({
      entries: 0,
      bytes: 0,
      connected: false,
      fresh: false,
      away: false,
      cursorAgeMs: Number.POSITIVE_INFINITY,
    });
    await expect(cache.get(request)).rejects.toMatchObject(closed);
    await expect(cache.getOrProduce(request, notAsked)).rejects.toMatchObject(closed);
    await expect(cache.invalidate(realm, ['a.ts'])).rejects.toMatchObject(closed);
    await expect(cache.clearRealm(realm)).rejects.toMatchObject(closed);
    await expect(cache.clearAll()).rejects.toMatchObject(closed);
    await cache.close();
  });

  test('leaves the instance that it was given as it was', async () => {
    const { sql, close } = openInstance(database.url);
    cleanUps.push(close);
    const peer = await openPeer({ connection: sql });
    await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('a'));
    await peer.cache.close();
    expect(await sql`select 1 as one`).toMatchObject([{ one: 1 }]);
    const again = await openPeer({ connection: sql });
    expect(await again.cache.get({ realm, path: 'a.ts' })).toMatchObject({ body: 'a' });
    await until(async () => (await sessions(peer.name)).length === 0, { what: 'its sessions have ended' });
  });

  test('rejects those who wait, aborts what is being made, and leaves the work to others', async () => {
    const peer = await openPeer({ connection: database.url });
    const other = await openPeer({ connection: database.url });
    const mine = gate();
    const theirs = gate();
    const producing = peer.cache.getOrProduce({ realm, path: 'a.ts' }, mine.produce);
    const holding = other.cache.getOrProduce({ realm, path: 'b.ts' }, theirs.produce);
    await Promise.all([mine.begun(), theirs.begun()]);
    const waiting = peer.cache.getOrProduce({ realm, path: 'b.ts' }, notAsked);
    const taking = other.cache.getOrProduce({ realm, path: 'a.ts' }, making('taken over'));
    await until(() => peer.of('miss').length === 2 && other.of('miss').length === 2, { what: 'both wait' });
    const outcome = Promise.allSettled([producing, waiting]);
    await peer.cache.close();
    for (const one of await outcome) {
      expect(one).toMatchObject({ status: 'rejected', reason: { code: 'MC103' } });
    }
    expect(mine.signals[0]?.aborted).toBe(true);
    expect((await taking).body).toBe('taken over');
    theirs.finish({ body: 'b' });
    expect((await holding).body).toBe('b');
  });
});

test('closing rejects those who wait for an answer of the database, whether it comes or not', async () => {
  const proxy = await proxied();
  const { cache } = await openPeer({ connection: proxy.url, listenConnection: database.url });
  await cache.get({ realm, path: 'warm.ts' });
  proxy.hold();
  const reading = cache.get({ realm, path: 'a.ts' });
  await until(() => proxy.held.length > 0, { what: 'the database has answered' });
  const closing = cache.close();
  await expect(reading).rejects.toMatchObject({ code: 'MC103' });
  proxy.release();
  await closing;
});

test('closing takes no longer than 8 s, whatever a silent database was asked', async () => {
  const proxy = await proxied();
  const options = { callTimeoutMs: 500, deadlineMs: 120_000 };
  const { cache } = await openPeer({ connection: proxy.url, listenConnection: database.url, ...options });
  await cache.get({ realm, path: 'warm.ts' });
  proxy.silence();
  const invalidating = cache.invalidate(realm, ['a.ts']).catch((error: unknown) => error);
  await expect(cache.get({ realm, path: 'a.ts' })).rejects.toMatchObject({ code: 'MC108' });
  await within(8_000, () => 'it is closed', cache.close());
  expect(await invalidating).toBeInstanceOf(Error);
});

test('closing does not wait for anything when nothing is in flight', async () => {
  const { cache } = await openPeer({ connection: database.url });
  await cache.get({ realm, path: 'a.ts' });
  await within(4_000, () => 'it is closed', cache.close());
});

test('closing does not wait for a server that cannot be reached', async () => {
  const proxy = await proxied();
  const { cache } = await openPeer({ connection: proxy.url, listenConnection: database.url });
  await cache.get({ realm, path: 'warm.ts' });
  await proxy.close();
  await expect(cache.get({ realm, path: 'a.ts' })).rejects.toMatchObject({ code: 'MC108' });
  await within(2_000, () => 'it is closed', cache.close());
});

describe('a process ends by itself after close', () => {
  const ended = async (child: Awaited<ReturnType<typeof startPeer>>['child'], timeoutMs = 5_000) =>
    expect(await within(timeoutMs, () => `the process ended; ${child.output}`, child.exited)).toEqual({
      code: 0,
      signal: null,
    });

  test('when nothing is going on', async () => {
    const peer = await startPeer({ connection: database.url });
    await peer.ask({ realm, path: 'a.ts' }, 'a');
    peer.tell('close');
    await ended(peer.child);
  });

  test('when a producer hangs', async () => {
    const peer = await startPeer({ connection: database.url });
    peer.ask({ realm, path: 'a.ts' }, 'hang').catch(() => {});
    await peer.child.next('producing');
    peer.tell('close');
    await ended(peer.child);
  });

  test('when the dedicated connection is away and being looked for', async () => {
    const proxy = await proxied();
    const peer = await startPeer({ connection: database.url, listenConnection: proxy.url });
    proxy.door = 'close';
    proxy.cut();
    const before = proxy.accepted;
    await until(() => proxy.accepted > before, { what: 'it tries to reconnect' });
    peer.tell('close');
    await ended(peer.child);
  });

  test('when the database has fallen silent, with questions on their way', async () => {
    const proxy = await proxied();
    const peer = await startPeer({ connection: `${proxy.url}?max=2` });
    await peer.ask({ realm, path: 'a.ts' }, 'a');
    proxy.silence();
    const before = proxy.accepted;
    for (const path of ['b.ts', 'c.ts', 'd.ts']) peer.ask({ realm, path }, 'b').catch(() => {});
    await until(() => proxy.sent('b.ts') > 0 && proxy.accepted > before, {
      what: 'a question is on its way, and a connection for another one',
    });
    peer.tell('close');
    // A server gets 8 s to end.
    await ended(peer.child, 8_000);
  });

  test('when the server is gone', async () => {
    const proxy = await proxied();
    const peer = await startPeer({ connection: proxy.url });
    await peer.ask({ realm, path: 'a.ts' }, 'a');
    await proxy.close();
    for (const path of ['b.ts', 'c.ts', 'd.ts']) peer.ask({ realm, path }, 'b').catch(() => {});
    peer.tell('close');
    await ended(peer.child, 8_000);
  });
});

test('opening a cache that cannot be opened leaves nothing behind', async () => {
  const proxy = await proxied();
  const { sql, close } = openInstance(database.url);
  cleanUps.push(close);
  await sql`alter function module_cache.changes_since(text) rename to away`;
  try {
    await expect(openPeer({ connection: proxy.url })).rejects.toThrow('changes_since');
  } finally {
    await sql`alter function module_cache.away(text) rename to changes_since`;
  }
  await until(() => proxy.connections === 0, { what: 'every connection is closed' });
});
