import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { ReadOptions } from '../../src/types.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { closePeers, gate, making, newRealm, notAsked, openPeer, type Peer } from './support/peers.js';
import { startProxy } from './support/proxy.js';
import { invalidate } from './support/realm.js';

/** What is on its way is aborted when it is lost, and only then. */

let database: TestDatabase;
let peer: Peer;
let realm: string;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  realm = newRealm();
  peer = await openPeer({ connection: database.url, heartbeatMs: 60_000, maxStalenessMs: 120_000 });
});
afterEach(closePeers);

const untilApplied = (count: number): Promise<unknown> =>
  until(() => peer.of('invalidated').length === count, { what: 'the invalidation was applied' });

test('news of an invalidation that a production has seen neither abort it nor keep others from joining it', async () => {
  const { produce, begun, finish, signals } = gate({ heedsSignal: true });
  const answer = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
  await begun();
  const late = JSON.stringify({ k: 'module', r: realm, m: ['a.ts'], x: '3' });
  await database.sql`select pg_notify('module_cache_invalidated', ${late})`;
  await untilApplied(1);
  const joining = peer.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked);
  expect(signals[0]?.aborted).toBe(false);
  finish({ body: 'made' });
  expect(await answer).toMatchObject({ body: 'made', cached: true });
  expect(await joining).toMatchObject({ body: 'made', source: 'coalesced' });
});

test('a production that a strong read did not join gives way to it when it is lost', async () => {
  const { produce, begun, finish } = gate();
  const before = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
  await begun();
  const strong = peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'), { consistency: 'strong' });
  await until(() => peer.of('miss').length === 2, { what: 'the strong read has looked for itself' });
  await invalidate(database.sql, realm, 'a.ts');
  expect(await strong).toMatchObject({ body: 'new', cached: true });
  finish({ body: 'old' });
  expect(await before).toMatchObject({ body: 'old', cached: false });
});

test('the last caller that gives up does not take along who asks in that very moment', async () => {
  const controller = new AbortController();
  const coming: Promise<{ body: string }>[] = [];
  const leaving = peer.cache.getOrProduce(
    { realm, path: 'a.ts' },
    ({ signal }) => {
      signal.addEventListener('abort', () => {
        coming.push(peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('mine')));
      });
      controller.abort(new Error('gone'));
      return new Promise<never>(() => {});
    },
    { signal: controller.signal },
  );
  await expect(leaving).rejects.toThrow('gone');
  expect((await Promise.all(coming)).map(({ body }) => body)).toEqual(['mine']);
});

describe('a strong read that waits for its turn with the database', () => {
  /** As many as are with the database at once. */
  const lanes = 10;

  test.each<[string, (peer: Peer, read: ReadOptions) => Promise<unknown>, string]>([
    ['of what memory holds', ({ cache }, read) => cache.get({ realm, path: 'a.ts' }, read), 'is_current'],
    [
      'of many that memory holds',
      ({ cache }, read) => cache.getMany([{ realm, path: 'a.ts' }], read),
      'is_current',
    ],
    [
      'of many that it does not hold',
      ({ cache }, read) => cache.getMany([{ realm, path: 'b.ts' }], read),
      'jsonb_array_elements',
    ],
  ])('%s: is never asked for once its caller has left', async (_, ask, sql) => {
    const proxy = await startProxy(database.url);
    const lock = await database.sql.reserve();
    try {
      const waiting = await openPeer({ connection: `${proxy.url}?max=1`, listenConnection: database.url });
      await waiting.cache.getOrProduce({ realm, path: 'a.ts' }, making('made'));
      await lock`begin`;
      await lock`lock table module_cache._artifacts in access exclusive mode`;
      const busy = Array.from({ length: lanes }, (_, n) => waiting.cache.get({ realm, path: `${n}.ts` }));
      const left = [new AbortController(), new AbortController()];
      const asking = left.map(({ signal }) => ask(waiting, { consistency: 'strong', signal }));
      const settled = Promise.allSettled(asking);
      await new Promise((resolve) => setImmediate(resolve));
      for (const one of left) one.abort(new Error('gone'));
      for (const one of await settled) expect(one).toMatchObject({ reason: { message: 'gone' } });
      const before = proxy.sent(sql);
      await lock`rollback`;
      await Promise.all(busy);
      expect(await waiting.cache.get({ realm, path: 'last.ts' })).toBeUndefined();
      expect(proxy.sent(sql)).toBe(before);
    } finally {
      await lock`rollback`;
      lock.release();
      await closePeers();
      await proxy.close();
    }
  });
});
