import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { closePeers, gate, making, newRealm, notAsked, openPeer, type Peer } from './support/peers.js';
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
