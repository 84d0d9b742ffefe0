import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { createShownWaits, type ShownWaits } from '../../src/show-waiting.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { closePeers, making, newRealm, openPeer } from './support/peers.js';
import { stubSession } from './support/stub-session.js';

/** Operators see who waits for the end of a claim, in the lock table. */

describe('in the database', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase();
  });
  afterAll(() => database.drop());
  afterEach(closePeers);

  const waiting = async (): Promise<string[]> => {
    const [row] = await database.sql`select waiting_peers from module_cache.claims`;
    return row?.waiting_peers ?? [];
  };
  const sharedLocks = () => database.sql`
    select pid from pg_locks where locktype = 'advisory' and mode = 'ShareLock'
      and database = (select oid from pg_database where datname = current_database())`;

  test('who has waited for a second is shown, as long as it waits and no longer', async () => {
    const realm = newRealm();
    const peer = await openPeer({ connection: database.url, name: 'patient' });
    const holder = await database.sql.reserve();
    await holder`select module_cache.claim(${realm}, 'a.ts', 'transpile', '')`;
    const asked = peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('mine'));
    await until(async () => (await waiting()).length === 1, { what: 'it is shown' });
    // It looks for itself again and again, and waits in between.
    for (let look = 0; look < 30; look += 1) {
      expect(await waiting()).toHaveLength(1);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await holder`select module_cache.release(${realm}, 'a.ts', 'transpile', '')`;
    holder.release();
    expect(await asked).toMatchObject({ body: 'mine', source: 'produced' });
    await until(async () => (await sharedLocks()).length === 0, { what: 'its lock is given back' });
  });

  test('who gives up is shown no longer', async () => {
    const realm = newRealm();
    const peer = await openPeer({ connection: database.url });
    const holder = await database.sql.reserve();
    await holder`select module_cache.claim(${realm}, 'a.ts', 'transpile', '')`;
    const giveUp = new AbortController();
    const asked = peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('mine'), { signal: giveUp.signal });
    await until(async () => (await waiting()).length === 1, { what: 'it is shown' });
    giveUp.abort();
    await expect(asked).rejects.toThrow();
    await until(async () => (await sharedLocks()).length === 0, { what: 'its lock is given back' });
    await holder`select module_cache.release(${realm}, 'a.ts', 'transpile', '')`;
    holder.release();
  });
});

describe('on its connection', () => {
  let waits: ShownWaits;
  beforeEach(() => {
    jest.useFakeTimers();
  });
  afterEach(() => {
    waits.stop();
    jest.useRealTimers();
  });
  const pass = (ms: number) => jest.advanceTimersByTimeAsync(ms);

  function open({ allowed = true } = {}) {
    const held = new Map<string, number>();
    let asked = 0;
    const state = { fails: false };
    const session = stubSession((text, [key, isWaiting]) => {
      asked += 1;
      if (state.fails) throw new Error('the connection is lost');
      if (text.includes('has_function_privilege')) return [String(allowed)];
      held.set(key as string, (held.get(key as string) ?? 0) + (isWaiting === 'true' ? 1 : -1));
      return ['true'];
    });
    waits = createShownWaits(() => session);
    const shown = () => [...held].filter(([, count]) => count !== 0).map(([key, count]) => [key, count]);
    return { session, shown, state, asked: () => asked };
  }

  test('a short wait is not shown, and costs nothing', async () => {
    const { asked } = open();
    for (let n = 0; n < 100; n += 1) {
      const leave = waits.enter(String(n));
      await pass(50);
      leave();
    }
    await pass(5_000);
    expect(asked()).toBe(0);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('several who wait for one thing are one, and the last to leave ends it', async () => {
    const { shown } = open();
    const leaveFirst = waits.enter('1');
    const leaveSecond = waits.enter('1');
    await pass(3_000);
    expect(shown()).toEqual([['1', 1]]);
    leaveFirst();
    leaveFirst();
    await pass(3_000);
    expect(shown()).toEqual([['1', 1]]);
    leaveSecond();
    await pass(3_000);
    expect(shown()).toEqual([]);
  });

  test('who looks for itself now and then waits in between, whenever that is', async () => {
    const { asked, shown } = open();
    let leave = waits.enter('1');
    await pass(3_000);
    const before = asked();
    for (let gap = 0; gap < 20; gap += 1) {
      leave();
      await pass(60);
      leave = waits.enter('1');
      await pass(250);
    }
    expect(shown()).toEqual([['1', 1]]);
    expect(asked()).toBe(before);
  });

  test('trap: thousands of waits fill the lock table of the server', async () => {
    const { shown } = open();
    for (let n = 0; n < 5_000; n += 1) waits.enter(String(n));
    await pass(10_000);
    expect(shown()).toHaveLength(32);
  });

  test('who has the claim itself now does not wait for it', async () => {
    const { shown } = open();
    const leave = waits.enter('1');
    await pass(3_000);
    leave();
    waits.over('1');
    await pass(0);
    expect(shown()).toEqual([]);
  });

  test('locks go with their connection, and are taken on the next one', async () => {
    const { session, shown } = open();
    const leave = waits.enter('1');
    await pass(3_000);
    session.generation += 1;
    await pass(1_000);
    // The stub does not forget those of the first one.
    expect(shown()).toEqual([['1', 2]]);
    session.generation += 1;
    leave();
    await pass(3_000);
    expect(shown()).toEqual([['1', 2]]);
  });

  test('a failure is nobody else’s, and an older schema is left alone', async () => {
    const { shown, state } = open();
    state.fails = true;
    waits.enter('1');
    await pass(3_000);
    state.fails = false;
    await pass(1_000);
    expect(shown()).toEqual([['1', 1]]);
    waits.stop();
    const older = open({ allowed: false });
    waits.enter('1');
    await pass(30_000);
    expect(older.shown()).toEqual([]);
    expect(older.asked()).toBe(1);
  });

  test('nothing runs after the end', async () => {
    for (const before of [[], ['1']]) {
      const { asked } = open();
      for (const key of before) waits.enter(key);
      waits.stop();
      waits.enter('2');
      await pass(10_000);
      expect(asked()).toBe(0);
      expect(jest.getTimerCount()).toBe(0);
    }
  });
});
