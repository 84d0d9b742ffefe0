import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { ModuleCacheOptions } from '../../src/index.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { closePeers, newRealm, openPeer, type Peer } from './support/peers.js';

/** What a process costs the server while calls are not answered in time: not more connections than it may open. */

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
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  await closePeers();
});

const open = (options: Partial<ModuleCacheOptions> = {}) =>
  openPeer({ connection: database.url, callTimeoutMs: 300, ...options });

/** All reads and writes wait from now on; or all that asks the log. */
async function lock(table: '_artifacts' | '_invalidations'): Promise<{ unlock(): Promise<void> }> {
  const holder = await database.sql.reserve();
  let locked = true;
  const unlock = async (): Promise<void> => {
    if (!locked) return;
    locked = false;
    await holder`rollback`;
    holder.release();
  };
  cleanUps.push(unlock);
  await holder`begin`;
  await holder.unsafe(`lock table module_cache.${table} in access exclusive mode`);
  return { unlock };
}

const backends = async (name: string) =>
  (await database.sql`select from pg_stat_activity where application_name = ${name}`).length;

const waiting = async (call = 'get') =>
  (
    await database.sql`
      select from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock' and query like ${`%module_cache.${call}(%`}`
  ).length;

/** Asks again and again, from several callers that do not keep step, and measures. */
async function insist(peer: Peer, ms: number): Promise<{ most: number; codes: Set<unknown> }> {
  const began = performance.now();
  const codes = new Set<unknown>();
  let most = 0;
  const caller = async (_: unknown, nth: number): Promise<void> => {
    for (let n = 0; performance.now() - began < ms; n += 1) {
      const options = { deadlineMs: 100 + 10 * nth };
      await peer.cache.get({ realm, path: `${nth}/${n}.ts` }, options).catch(({ code }) => codes.add(code));
    }
  };
  const measure = async (): Promise<void> => {
    while (performance.now() - began < ms) most = Math.max(most, await backends(peer.name));
  };
  await Promise.all([...Array.from({ length: 8 }).map(caller), measure()]);
  return { most, codes };
}

describe('while reads wait for a lock', () => {
  const max = 3;

  test('a process does not have more and more backends, however long that lasts', async () => {
    const peer = await open({ connection: `${database.url}?max=${max}`, callTimeoutMs: 2_000 });
    const { unlock } = await lock('_artifacts');
    const { most, codes } = await insist(peer, 12_000);
    expect(codes).toContain('MC102');
    expect(most).toBeLessThanOrEqual(3 * max);
    await until(async () => (await waiting()) === 0, { what: 'nothing of it is left' });
    await unlock();
    await until(() => peer.of('away').length === peer.of('back').length, { what: 'it is there' });
    expect(await peer.cache.get({ realm, path: 'a.ts' })).toBeUndefined();
    await peer.cache.close();
    await until(async () => (await backends(peer.name)) === 0, { what: 'all have left' });
  }, 60_000);

  test('a process that closes leaves nothing that waits', async () => {
    const peer = await open({ connection: `${database.url}?max=${max}`, callTimeoutMs: 60_000 });
    await lock('_artifacts');
    const asking = Array.from({ length: 20 }, (_, n) => peer.cache.get({ realm, path: `${n}.ts` }));
    const settled = Promise.allSettled(asking);
    await until(async () => (await waiting()) === max, { what: 'they wait' });
    await peer.cache.close();
    for (const { status } of await settled) expect(status).toBe('rejected');
    await until(async () => (await backends(peer.name)) === 0, { what: 'all have left' });
  }, 30_000);
});

test('while the log is locked, a dedicated connection that was given up leaves the server soon', async () => {
  const options = { heartbeatMs: 50, maxStalenessMs: 500 };
  const peer = await open(options);
  const { unlock } = await lock('_invalidations');
  let most = 0;
  await until(
    async () => {
      most = Math.max(most, await waiting('changes_since'));
      return peer.of('disconnected').length >= 5;
    },
    { timeoutMs: 60_000, what: 'it was given up again and again' },
  );
  expect(most).toBeLessThan(4);
  await until(async () => (await waiting('changes_since')) <= 1, { what: 'the others have left' });
  await unlock();
  await until(() => peer.cache.stats().fresh, { what: 'it is there' });
}, 90_000);
