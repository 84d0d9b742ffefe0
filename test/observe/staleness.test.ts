import { afterAll, afterEach, beforeAll, expect, jest, test } from '@jest/globals';
import type { Sql } from 'postgres';
import * as calls from '../../src/calls.js';
import { type CacheEvents, createEmitter } from '../../src/events.js';
import type { ArtifactId } from '../../src/keys.js';
import { coversOf } from '../../src/keys.js';
import type { L1Entry } from '../../src/l1.js';
import { parseSnapshotToken } from '../../src/snapshot.js';
import { createStalenessSampler, type StalenessOptions } from '../../src/staleness.js';
import { closePeers, making, newRealm, openPeer } from '../client/support/peers.js';
import { connect, createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';

let database: TestDatabase;
let sql: Sql;
beforeAll(async () => {
  database = await createDatabase();
  sql = database.sql;
});
afterEach(closePeers);
afterAll(() => database.drop());

type Recheck = CacheEvents['rechecked'][0];

const idOf = (realm: string, path = 'a.ts'): ArtifactId => ({ realm, path, kind: 'transpile', variant: '' });

async function put(id: ArtifactId, body: string, dependencyKeys: string[] = []): Promise<string> {
  const { token } = await calls.get(sql, id);
  const product = { body, headers: { a: 1 }, dependencyKeys, token, expiresInMs: null, isError: false };
  return calls.put(sql, id, product);
}

/** What memory would keep of this read. */
async function entryOf(id: ArtifactId): Promise<L1Entry> {
  const { status, body, headers, dependencyKeys, token } = await calls.get(sql, id);
  if (status === 'miss' || token === null) throw new Error('there is nothing to keep');
  return {
    id,
    module: { status, body, headers, dependencyKeys },
    covers: coversOf(id.realm, id.path, dependencyKeys),
    token,
    seen: parseSnapshotToken(token),
    expires: undefined,
  };
}

function startSampler(options: Partial<StalenessOptions> = {}) {
  const told: Recheck[] = [];
  const events = createEmitter();
  events.on('rechecked', (recheck) => void told.push(recheck));
  const sampler = createStalenessSampler({
    pool: { run: (call) => call(sql) },
    events,
    fromMemory: () => undefined,
    maxStalenessMs: 30,
    share: 1,
    perSecond: 1_000,
    delaysMs: [10, 50],
    ...options,
  });
  const outcomes = async (count = 3): Promise<[number, string][]> => {
    await until(() => told.length >= count, { what: `${count} outcomes` });
    return told.map(({ withinMs, outcome }) => [withinMs, outcome]);
  };
  return { ...sampler, told, outcomes };
}

const all = (outcome: string) => [10, 30, 50].map((delay) => [delay, outcome]);

test('what the database has as well is consistent, at once and at every delay', async () => {
  const id = idOf(newRealm());
  await put(id, 'é');
  const entry = await entryOf(id);
  const sampler = startSampler({ fromMemory: () => entry });
  sampler.count(entry);
  expect(await sampler.outcomes()).toEqual(all('consistent'));
  expect(sampler.told.map(({ isBound }) => isBound)).toEqual([false, true, false]);
});

test.each([
  ['its module', (realm: string) => calls.invalidate(sql, realm, ['a.ts'])],
  ['what it depends on', (realm: string) => calls.invalidate(sql, realm, ['b.ts'])],
  ['its realm', (realm: string) => calls.clearRealm(sql, realm)],
  ['everything', () => calls.clearAll(sql)],
])(
  'an entry that outlives an invalidation of %s is found, and one that is dropped is not',
  async (_, invalidate) => {
    const realm = newRealm();
    await put(idOf(realm), 'a', ['b']);
    const entry = await entryOf(idOf(realm));
    await invalidate(realm);
    const kept = startSampler({ fromMemory: () => entry });
    kept.count(entry);
    expect(await kept.outcomes()).toEqual(all('inconsistent'));
    const dropped = startSampler();
    dropped.count(entry);
    expect(await dropped.outcomes()).toEqual(all('consistent'));
  },
);

test('an entry that is dropped late is inconsistent until then', async () => {
  const realm = newRealm();
  await put(idOf(realm), 'a');
  const entry = await entryOf(idOf(realm));
  await calls.invalidate(sql, realm, ['a.ts']);
  await put(idOf(realm), 'b');
  const again = await entryOf(idOf(realm));
  const sampler = startSampler({ fromMemory: () => (sampler.told.length < 2 ? entry : again) });
  sampler.count(entry);
  expect(await sampler.outcomes()).toEqual([
    [10, 'inconsistent'],
    [30, 'inconsistent'],
    [50, 'consistent'],
  ]);
});

test('a second product of the same sources outdates nothing, although it differs', async () => {
  const id = idOf(newRealm());
  await put(id, 'one');
  const entry = await entryOf(id);
  await calls.invalidate(sql, newRealm(), ['other.ts']);
  expect(await put(id, 'two')).toBe('stored');
  const sampler = startSampler({ fromMemory: () => entry });
  sampler.count(entry);
  expect(await sampler.outcomes()).toEqual(all('consistent'));
});

test('what the log does not tell any more is unknown, and only as long as it is served', async () => {
  const own = await createDatabase();
  try {
    sql = own.sql;
    const id = idOf(newRealm());
    await put(id, 'one');
    const entry = await entryOf(id);
    await until(
      async () => {
        await calls.invalidate(sql, newRealm(), ['other.ts']);
        await sql`select from module_cache.collect_garbage('0')`;
        return !(await calls.changesSince(sql, entry.token)).complete;
      },
      { what: 'the floor is above the token' },
    );
    await put(id, 'two');
    const kept = startSampler({ fromMemory: () => entry });
    kept.count(entry);
    expect(await kept.outcomes()).toEqual(all('unknown'));
    const dropped = startSampler();
    dropped.count(entry);
    expect(await dropped.outcomes()).toEqual(all('consistent'));
  } finally {
    sql = database.sql;
    await own.drop();
  }
});

test('an entry of another life of the tables is outdated', async () => {
  const id = idOf(newRealm());
  await put(id, 'a');
  const entry = await entryOf(id);
  const foreign = { ...entry, seen: { ...entry.seen, life: `${'0'.repeat(32)}-1` } };
  const sampler = startSampler({ fromMemory: () => foreign });
  sampler.count(foreign);
  expect(await sampler.outcomes()).toEqual(all('inconsistent'));
});

test('while the database is away nothing is known', async () => {
  const id = idOf(newRealm());
  await put(id, 'a');
  const entry = await entryOf(id);
  const nowhere = connect('postgres://127.0.0.1:1/none');
  const sampler = startSampler({ pool: { run: (call) => call(nowhere) }, fromMemory: () => entry });
  sampler.count(entry);
  expect(await sampler.outcomes()).toEqual(all('unknown'));
  await nowhere.end();
});

test('a share is taken by chance, and no more than so many a second', async () => {
  const id = idOf(newRealm());
  await put(id, 'a');
  const entry = await entryOf(id);
  let asked = 0;
  const pool: StalenessOptions['pool'] = {
    run: (call) => {
      asked += 1;
      return call(sql);
    },
  };
  const countMany = async (sampler: ReturnType<typeof startSampler>) => {
    // With turns between, because only so many are asked for at once.
    for (let turn = 0; turn < 200; turn += 1) {
      for (let i = 0; i < 50; i += 1) sampler.count(entry);
      await until(() => sampler.told.length === 3 * asked, { what: 'all were answered' });
    }
    return asked;
  };
  const one = await countMany(startSampler({ pool, share: 0.01 }));
  expect(one).toBeGreaterThan(40);
  expect(one).toBeLessThan(200);
  asked = 0;
  const began = performance.now();
  const few = await countMany(startSampler({ pool, perSecond: 2 }));
  expect(few).toBeGreaterThanOrEqual(2);
  expect(few).toBeLessThanOrEqual(2 * Math.ceil((performance.now() - began) / 1_000 + 1));
});

test('once stopped it leaves no timer and tells nothing', async () => {
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const realm = newRealm();
  await put(idOf(realm), 'a');
  const entry = await entryOf(idOf(realm));
  await calls.invalidate(sql, realm, ['a.ts']);
  const sampler = startSampler({ fromMemory: () => entry, delaysMs: [10, 60_000] });
  sampler.count(entry);
  await sampler.outcomes(1);
  const running = timers();
  sampler.stop();
  expect(timers()).toBe(running - 1);
  const answered = sampler.told.length;
  sampler.count(entry);
  await calls.get(sql, entry.id);
  expect(sampler.told.length).toBe(answered);
});

test('a listener that closes the cache when it is told leaves no timer', async () => {
  const realm = newRealm();
  await put(idOf(realm), 'a');
  const entry = await entryOf(idOf(realm));
  await calls.invalidate(sql, realm, ['a.ts']);
  const spy = jest.spyOn(globalThis, 'setTimeout');
  const begunAfterwards = await new Promise<number>((resolve) => {
    const sampler = startSampler({
      fromMemory: () => {
        sampler.stop();
        const before = spy.mock.calls.length;
        process.nextTick(() => resolve(spy.mock.calls.length - before));
        return entry;
      },
    });
    sampler.count(entry);
  }).finally(() => spy.mockRestore());
  expect(begunAfterwards).toBe(0);
});

test('a cache that asks the log seldom is caught within a second, and keeps its promise', async () => {
  const realm = newRealm();
  const peer = await openPeer({
    connection: database.url,
    broadcast: 'log',
    heartbeatMs: 3_500,
    maxStalenessMs: 4_000,
    staleness: { share: 1, perSecond: 1_000 },
  });
  const rechecks: Recheck[] = [];
  peer.cache.events.on('rechecked', (recheck) => void rechecks.push(recheck));
  const request = { realm, path: 'a.ts' };
  await peer.cache.getOrProduce(request, making('a'));
  // Right after a heartbeat, so that the next one is far.
  await new Promise((resolve) => peer.cache.events.once('asked', resolve));
  await calls.invalidate(sql, realm, ['a.ts']);
  expect(peer.cache.peek(request)?.body).toBe('a');
  await until(() => rechecks.length === 2, { what: 'it was checked within the bound' });
  expect(rechecks).toMatchObject([
    { id: { path: 'a.ts' }, withinMs: 1_000, isBound: false, outcome: 'inconsistent' },
    { withinMs: 4_000, isBound: true, outcome: 'consistent' },
  ]);
});

test.each([{ share: 0 }, { share: 2 }, { share: Number.NaN }, { perSecond: 0 }, { perSecond: 1e6 }])(
  '%p is refused',
  async (staleness) => {
    await expect(openPeer({ connection: database.url, staleness })).rejects.toMatchObject({ code: 'MC107' });
  },
);
