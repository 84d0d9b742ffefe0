import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { createClaims } from '../../src/claims.js';
import { createEmitter } from '../../src/events.js';
import type { Session } from '../../src/session.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { openInstance } from './support/instance.js';
import { closePeers, gate, making, newRealm, notAsked, openPeer } from './support/peers.js';
import { startProxy, type TcpProxy } from './support/proxy.js';
import { invalidate, stored } from './support/realm.js';

/** One producer in the fleet, and no claim that outlives its production (DESIGN.md section 3, invariant 4). */

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
  jest.restoreAllMocks();
  await closePeers();
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
});

async function proxied(): Promise<TcpProxy> {
  const proxy = await startProxy(database.url);
  cleanUps.push(() => proxy.close());
  return proxy;
}

async function claimsHeld(): Promise<number> {
  const rows = await database.sql`
    select from pg_locks where locktype = 'advisory' and granted and objsubid = 1
      and database = (select oid from pg_database where datname = current_database())`;
  return rows.length;
}

/** How often a waiter has begun to wait until it looks by itself, and on request it waits for ever. */
function watchPolls({ forever = false } = {}): () => number {
  const { setTimeout } = globalThis;
  let polls = 0;
  jest.spyOn(globalThis, 'setTimeout').mockImplementation(((call: () => void, ms: number) => {
    const isPoll = ms > 200 && ms < 400;
    if (isPoll) polls += 1;
    return setTimeout(call, isPoll && forever ? 2 ** 31 - 1 : ms);
  }) as typeof setTimeout);
  return () => polls;
}

const untilFree = (): Promise<unknown> =>
  until(async () => (await claimsHeld()) === 0, { what: 'no claim is held any more' });

test('trap: every connection of a pool is held by a claim, and each needs one more to finish', async () => {
  const { cache } = await openPeer({ connection: `${database.url}?max=2` });
  const { produce, begun, finish } = gate();
  const answers = Array.from({ length: 30 }, (_, index) =>
    cache.getOrProduce({ realm, path: `m${index}.ts` }, produce, { deadlineMs: 30_000 }),
  );
  await begun(30);
  expect(await claimsHeld()).toBe(30);
  for (const _ of answers) finish({ body: 'made' });
  expect((await Promise.all(answers)).map(({ cached }) => cached)).toEqual(Array(30).fill(true));
  await untilFree();
});

test('thousands of productions begin at once: few calls are on their way, and the heartbeat is not behind them', async () => {
  let asking = 0;
  let most = 0;
  const session = {
    generation: 1,
    connected: true,
    async run() {
      asking += 1;
      most = Math.max(most, asking);
      await new Promise((resolve) => setImmediate(resolve));
      asking -= 1;
      return { claimed: true, key: '1' };
    },
  } as unknown as Session;
  const claims = createClaims(() => session, createEmitter());
  const ids = Array.from({ length: 5_000 }, (_, n) => ({
    realm,
    path: `m${n}.ts`,
    kind: 'transpile',
    variant: '',
  }));
  const held = await Promise.all(ids.map((id) => claims.acquire(id)));
  await Promise.all(held.map((claim) => claim.held && claim.release()));
  expect([most, asking]).toEqual([20, 0]);
});

describe('waiting for another process', () => {
  test('trap: the waiter registers after the notification that it waits for has passed', async () => {
    const proxy = await proxied();
    const producing = await openPeer({ connection: database.url });
    const waiting = await openPeer({
      connection: database.url,
      listenConnection: proxy.url,
      heartbeatMs: 60_000,
      maxStalenessMs: 120_000,
    });
    const { produce, begun, finish } = gate();
    const first = producing.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    // The answer "somebody else has it", and the news that nobody has it any more, arrive as one.
    proxy.hold('false');
    const second = waiting.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked);
    await until(() => proxy.held.includes('false'), { what: 'the claim was refused' });
    finish({ body: 'made' });
    await first;
    await until(() => proxy.held.includes('module_cache_populated'), { what: 'the claim ended' });
    proxy.release();
    expect(await second).toMatchObject({ body: 'made' });
    // It did not have to ask again, so it did not sit out a poll. One question names the realm twice.
    expect(proxy.sent(realm)).toBe(2);
  });

  test('trap: the notification passes while the waiter, who has been refused, looks again', async () => {
    const pool = await proxied();
    const producing = await openPeer({ connection: database.url });
    const waiting = await openPeer({
      connection: `${pool.url}?max=1`,
      listenConnection: database.url,
      heartbeatMs: 60_000,
      maxStalenessMs: 120_000,
    });
    const { produce, begun, finish } = gate();
    const first = producing.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    // Told between its first look and the claim.
    waiting.cache.events.once('miss', () => pool.hold());
    const second = waiting.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked);
    await until(() => pool.held.includes('miss'), { what: 'there was nothing to be found yet' });
    finish({ body: 'made' });
    await first;
    // Sent after the end of the claim, so heard after it.
    await invalidate(database.sql, newRealm(), 'else.ts');
    await until(() => waiting.of('invalidated').length === 1, { what: 'the end of the claim was heard' });
    const polls = watchPolls();
    pool.release();
    expect(await second).toMatchObject({ body: 'made' });
    expect(polls()).toBe(0);
  });

  test('the end of a claim wakes those who wait, they need not look by themselves', async () => {
    const producing = await openPeer({ connection: database.url });
    const waiting = await openPeer({ connection: database.url });
    const { produce, begun, finish } = gate();
    const first = producing.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    const polls = watchPolls({ forever: true });
    const second = waiting.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked);
    await until(() => polls() > 0, { what: 'it waits, and would do so for ever' });
    finish({ body: 'made' });
    expect((await Promise.all([first, second])).map(({ body }) => body)).toEqual(['made', 'made']);
  });

  test('a production that fails is told to those who wait for it, and none of them fails in its turn', async () => {
    const producing = await openPeer({ connection: database.url });
    const waiting = await openPeer({ connection: database.url });
    const { produce, begun, fail } = gate();
    const first = producing.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    const second = waiting.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked);
    await until(() => waiting.of('miss').length === 1, { what: 'the other process waits' });
    fail(new Error('the disk is full'));
    await Promise.all([
      expect(first).rejects.toThrow('the disk is full'),
      expect(second).rejects.toMatchObject({ code: 'MC104', message: 'the disk is full' }),
    ]);
  });

  test('a failure that another process was told of is not told to who comes later', async () => {
    const failing = await openPeer({ connection: database.url });
    const later = await openPeer({ connection: database.url });
    const down = () => Promise.reject(new Error('the network is down'));
    await expect(failing.cache.getOrProduce({ realm, path: 'a.ts' }, down)).rejects.toThrow();
    const failed = performance.now();
    // Long enough to be told from the time that an answer takes, and long before the news of it is forgotten.
    await until(() => performance.now() - failed > 300, { what: 'that is a while ago' });
    const answer = await later.cache.getOrProduce({ realm, path: 'a.ts' }, making('fine'));
    expect(answer).toMatchObject({ body: 'fine', source: 'produced' });
  });

  test('an answer that is there when the claim is got is not made again', async () => {
    const proxy = await proxied();
    const other = await openPeer({ connection: database.url });
    const late = await openPeer({ connection: database.url, listenConnection: proxy.url });
    proxy.hold();
    const answer = late.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked);
    await until(() => late.of('miss').length === 1, { what: 'nothing was found' });
    await other.cache.getOrProduce({ realm, path: 'b.ts' }, making('unrelated'));
    // Stored by a process that did not need the claim.
    await database.sql`
      select module_cache.put(${realm}, 'a.ts', 'transpile', '', 'by sql', '{}', '{}', g.token)
      from module_cache.get(${realm}, 'a.ts') g`;
    proxy.release();
    expect(await answer).toMatchObject({ body: 'by sql' });
    await untilFree();
  });

  test('claims end with the connection that holds them, and what was made is stored all the same', async () => {
    const holder = await openPeer({ connection: database.url });
    const other = await openPeer({ connection: database.url });
    const { produce, begun, finish } = gate();
    const first = holder.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    const waiting = other.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await until(() => other.of('miss').length === 1, { what: 'the other process waits' });
    await database.sql`
      select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objsubid = 1
        and database = (select oid from pg_database where datname = current_database())`;
    await begun(2);
    // The claim is the other's now: the first must not release it.
    finish({ body: 'first' });
    expect(await first).toMatchObject({ body: 'first', cached: true });
    expect(await claimsHeld()).toBe(1);
    finish({ body: 'second' });
    await waiting;
    await untilFree();
  });
});

test('a claim that went with its connection is not released: this process may have got it anew', async () => {
  const peer = await openPeer({ connection: database.url });
  const { produce, begun, finish } = gate();
  const first = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
  await begun();
  await database.sql`
    select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objsubid = 1
      and database = (select oid from pg_database where datname = current_database())`;
  await until(() => peer.of('caught-up').length === 1, { what: 'it has another connection' });
  const second = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce, { consistency: 'strong' });
  await begun(2);
  expect(await claimsHeld()).toBe(1);
  finish({ body: 'first' });
  await first;
  expect(await claimsHeld()).toBe(1);
  finish({ body: 'second' });
  await second;
  await untilFree();
});

describe('a claim is not left behind', () => {
  test('when the read after it fails: nor is the place among those who wait', async () => {
    const instance = openInstance(database.url);
    cleanUps.push(instance.close);
    const { cache, of } = await openPeer({ connection: instance.sql, claimPatienceMs: 50_000 });
    await cache.getOrProduce({ realm, path: 'warm.ts' }, making('warm'));
    const { produce, begun, finish } = gate();
    const blocking = await openPeer({ connection: database.url });
    const blocked = blocking.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    const answer = cache.getOrProduce({ realm, path: 'a.ts' }, making('a')).catch((error) => error);
    await until(() => of('miss').length === 2, { what: 'nothing was found' });
    instance.failNext('module_cache.get(');
    finish({ body: 'from the other' });
    await blocked;
    expect(await answer).toMatchObject({ message: 'division by zero' });
    await untilFree();
  });

  test('when the read after it fails, so that nothing can be produced', async () => {
    const instance = openInstance(database.url);
    cleanUps.push(instance.close);
    const { cache, of } = await openPeer({ connection: instance.sql });
    // Told while listeners run, which is between the first read and the claim.
    cache.events.once('miss', () => instance.failNext('module_cache.get('));
    await expect(cache.getOrProduce({ realm, path: 'a.ts' }, notAsked)).rejects.toThrow('division by zero');
    expect(of('miss')).toHaveLength(1);
    await untilFree();
    const again = await cache.getOrProduce({ realm, path: 'a.ts' }, making('a'), { deadlineMs: 5_000 });
    expect(again.body).toBe('a');
  });

  test('when its release fails', async () => {
    const peer = await openPeer({ connection: database.url });
    await database.sql`alter function module_cache.release(text, text, text, text) rename to released`;
    try {
      await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('a'));
    } finally {
      await database.sql`alter function module_cache.released(text, text, text, text) rename to release`;
    }
    expect(peer.of('warning')).toHaveLength(1);
    await untilFree();
  });

  test('when the caller is gone before it is got', async () => {
    const proxy = await proxied();
    const { cache } = await openPeer({
      connection: database.url,
      listenConnection: proxy.url,
      heartbeatMs: 60_000,
      maxStalenessMs: 120_000,
    });
    proxy.hold('true');
    const controller = new AbortController();
    const answer = cache.getOrProduce({ realm, path: 'a.ts' }, notAsked, { signal: controller.signal });
    await until(() => proxy.held.includes('true'), { what: 'the claim was granted' });
    expect(await claimsHeld()).toBe(1);
    controller.abort(new Error('gone'));
    await expect(answer).rejects.toThrow('gone');
    proxy.release();
    await untilFree();
  });
});

describe('without the claim', () => {
  test('a module is made all the same while the dedicated connection is away', async () => {
    const proxy = await proxied();
    const peer = await openPeer({ connection: database.url, listenConnection: proxy.url });
    proxy.door = 'close';
    proxy.cut();
    await until(() => peer.of('disconnected').length === 1, { what: 'the connection is lost' });
    const answer = await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('a'), {
      deadlineMs: 10_000,
    });
    expect(answer).toMatchObject({ body: 'a', source: 'produced' });
    expect(peer.of('warning').map(({ message }) => message)).toContain(
      'a module is produced without a claim',
    );
  });

  test('a failure does not replace what another process has made', async () => {
    const holder = await openPeer({ connection: database.url });
    const impatient = await openPeer({ connection: database.url, claimPatienceMs: 50 });
    const work = gate();
    const made = holder.cache.getOrProduce({ realm, path: 'a.ts' }, work.produce);
    await work.begun();
    const failing = gate();
    const failed = impatient.cache.getOrProduce({ realm, path: 'a.ts' }, failing.produce);
    await failing.begun();
    work.finish({ body: 'good' });
    await made;
    failing.fail(new Error('no room here'));
    await expect(failed).rejects.toThrow('no room here');
    expect(await stored(database.sql, realm)).toMatchObject([{ status: 'live', body: 'good' }]);
  });

  test('a failure without the claim is nothing to those who wait for its holder', async () => {
    const holder = await openPeer({ connection: database.url });
    const impatient = await openPeer({ connection: database.url, claimPatienceMs: 50 });
    const work = gate();
    const made = holder.cache.getOrProduce({ realm, path: 'a.ts' }, work.produce);
    await work.begun();
    const failing = impatient.cache.getOrProduce({ realm, path: 'a.ts' }, () => {
      throw new Error('no room here');
    });
    await expect(failing).rejects.toThrow('no room here');
    expect(await stored(database.sql, realm)).toEqual([]);
    work.finish({ body: 'good' });
    await made;
  });

  test('what was made is not lost to a holder that fails later', async () => {
    const [slow, impatient] = await Promise.all([
      openPeer({ connection: database.url }),
      openPeer({ connection: database.url, claimPatienceMs: 50 }),
    ]);
    const work = gate();
    const failing = slow.cache.getOrProduce({ realm, path: 'a.ts' }, work.produce);
    await work.begun();
    await impatient.cache.getOrProduce({ realm, path: 'a.ts' }, making('good'));
    work.fail(new Error('too late'));
    await expect(failing).rejects.toThrow('too late');
    expect(await stored(database.sql, realm)).toMatchObject([{ status: 'live', body: 'good' }]);
  });

  test('nobody produces because its own production took long: patience is for waiting', async () => {
    const peer = await openPeer({ connection: database.url, claimPatienceMs: 300 });
    const other = await openPeer({ connection: database.url });
    const { produce, begun, finish } = gate({ heedsSignal: true });
    const began = performance.now();
    const answer = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    await until(() => performance.now() - began > 400, { what: 'the production takes longer than patience' });
    await invalidate(database.sql, realm, 'a.ts');
    await begun(2);
    expect(await claimsHeld()).toBe(1);
    const waiting = other.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked);
    await until(() => other.of('miss').length === 1, { what: 'the other process waits' });
    finish({ body: 'made' });
    expect((await Promise.all([answer, waiting])).map(({ body }) => body)).toEqual(['made', 'made']);
  });
});
