import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { ArtifactRequest, ReadOptions } from '../../src/index.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { openInstance } from './support/instance.js';
import { closePeers, gate, making, newRealm, notAsked, openPeer, type Peer } from './support/peers.js';
import { startProxy, type TcpProxy } from './support/proxy.js';
import { invalidate, invalidateSilently, loseTheLog } from './support/realm.js';

/** Many reads at once are as many single reads, which share one question to the database. */

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
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
});

const quiet = { heartbeatMs: 60_000, maxStalenessMs: 120_000 };
const named = (...paths: string[]): ArtifactRequest[] => paths.map((path) => ({ realm, path }));

/** A peer whose pool tells what it asks. */
async function counting(): Promise<Peer & { readonly asked: string[] }> {
  const asked: string[] = [];
  const instance = openInstance(database.url, { debug: (_, query) => void asked.push(query) });
  cleanUps.push(instance.close);
  const peer = await openPeer({ connection: instance.sql, ...quiet });
  asked.length = 0;
  return { ...peer, asked };
}

async function publish(...paths: string[]): Promise<Peer> {
  const other = await openPeer({ connection: database.url });
  await Promise.all(
    paths.map((path) => other.cache.getOrProduce({ realm, path }, making(`made of ${path}`, ['dep']))),
  );
  return other;
}

describe('what is asked', () => {
  test('is one question, however many modules memory does not hold', async () => {
    const { cache, asked } = await counting();
    const paths = Array.from({ length: 200 }, (_, index) => `m${index}.ts`);
    await publish(...paths);
    const answers = await cache.getMany(named(...paths, 'absent.ts'));
    expect(answers.map((answer) => answer?.body)).toEqual([
      ...paths.map((path) => `made of ${path}`),
      undefined,
    ]);
    expect(asked).toHaveLength(1);
    expect(asked[0]).toContain('module_cache.get(');
  });

  test('is nothing for what memory holds, which is kept under the same rules as by a single read', async () => {
    const { cache, asked } = await counting();
    await publish('a.ts', 'b.ts');
    await cache.getMany(named('a.ts', 'b.ts'));
    asked.length = 0;
    expect(await cache.getMany(named('b.ts', 'a.ts'))).toMatchObject([
      { body: 'made of b.ts', source: 'l1', cached: true },
      { body: 'made of a.ts', source: 'l1', cached: true },
    ]);
    expect(await cache.get({ realm, path: 'a.ts' })).toMatchObject({ source: 'l1', dependencyKeys: ['dep'] });
    expect(asked).toHaveLength(0);
  });

  test('is only what is missing, and each module once', async () => {
    const { cache, asked, of } = await counting();
    await publish('a.ts', 'b.ts');
    await cache.get({ realm, path: 'a.ts' });
    asked.length = 0;
    const answers = await cache.getMany(named('b.ts', 'a.ts', 'b.ts', 'absent.ts', 'absent.ts'));
    expect(answers.map((answer) => answer?.source)).toEqual(['l2', 'l1', 'l2', undefined, undefined]);
    expect(asked).toHaveLength(1);
    expect(of('miss')).toHaveLength(1);
  });

  test('is nothing at all for an empty list', async () => {
    const { cache, asked } = await counting();
    expect(await cache.getMany([])).toEqual([]);
    expect(asked).toHaveLength(0);
  });

  test('is one question for 10,000 modules, and more are refused', async () => {
    const { cache, asked } = await counting();
    await database.sql`
      select count(module_cache.put(${realm}, 'm' || n, 'transpile', '', 'body ' || n, '{}', '{}', g.token))
      from module_cache.get(${realm}, 'none') g, generate_series(0, 9998) n`;
    const paths = Array.from({ length: 10_000 }, (_, index) => `m${index}`);
    const answers = await cache.getMany(named(...paths));
    expect(answers.map((answer) => answer?.body)).toEqual([
      ...paths.slice(0, -1).map((path) => path.replace('m', 'body ')),
      undefined,
    ]);
    expect(asked).toHaveLength(1);
    await expect(cache.getMany(named(...paths, 'one-more'))).rejects.toMatchObject({ code: 'MC003' });
  });
});

test('names that differ in each part are told apart: realm, path, kind and variant', async () => {
  const peer = await openPeer({ connection: database.url });
  const other = await openPeer({ connection: database.url });
  const requests: ArtifactRequest[] = [
    { realm, path: 'a.ts' },
    { realm: `${realm}sub/`, path: 'a.ts' },
    { realm, path: 'a"\\\n☃.ts' },
    { realm, path: 'a.ts', kind: 'definition' },
    { realm, path: 'a.ts', variant: 'x' },
  ];
  for (const [index, request] of requests.entries()) {
    await other.cache.getOrProduce(request, making(String(index)));
  }
  const answers = await peer.cache.getMany(requests);
  expect(answers.map((answer) => answer?.body)).toEqual(['0', '1', '2', '3', '4']);
});

test('a module that is being made is not there yet, and the news of a failure is no module', async () => {
  const peer = await openPeer({ connection: database.url });
  const work = gate();
  const making = peer.cache.getOrProduce({ realm, path: 'a.ts' }, work.produce);
  await work.begun();
  expect(await peer.cache.getMany(named('a.ts'))).toEqual([undefined]);
  work.fail(new Error('the disk is full'));
  await expect(making).rejects.toThrow('the disk is full');
  expect(await peer.cache.getMany(named('a.ts'))).toEqual([undefined]);
});

test('an error that is cached is an answer', async () => {
  const peer = await openPeer({ connection: database.url });
  const other = await openPeer({ connection: database.url });
  await other.cache.getOrProduce({ realm, path: 'a.ts' }, () => ({ body: 'line 1', isError: true }));
  expect(await peer.cache.getMany(named('a.ts'))).toMatchObject([{ status: 'error', body: 'line 1' }]);
});

describe('reads that must not be outdated', () => {
  const strong = { consistency: 'strong' } as const;

  test('never get what a committed invalidation covers; about the rest memory is asked without its bodies', async () => {
    const { cache, asked } = await counting();
    const other = await publish('a.ts', 'b.ts', 'c.ts');
    await cache.getMany(named('a.ts', 'b.ts'));
    await invalidateSilently(database.sql, realm, 'a.ts');
    await other.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'), strong);
    asked.length = 0;
    expect(await cache.getMany(named('a.ts', 'b.ts', 'c.ts'), strong)).toMatchObject([
      { body: 'new', source: 'l2' },
      { source: 'l1' },
      { source: 'l2' },
    ]);
    expect(asked).toHaveLength(2);
  });

  test('with a token see its invalidation, although nobody has told of it', async () => {
    const { cache } = await counting();
    await publish('a.ts', 'b.ts');
    await cache.getMany(named('a.ts', 'b.ts'));
    await invalidateSilently(database.sql, realm, 'b.ts');
    const [row] = await database.sql`select module_cache.coherence_token() as token`;
    expect(await cache.getMany(named('a.ts', 'b.ts'), { after: row?.token })).toMatchObject([
      { source: 'l1' },
      undefined,
    ]);
  });

  test('trap: join older work', async () => {
    const proxy = await startProxy(database.url);
    cleanUps.push(() => proxy.close());
    const { cache } = await openPeer({
      connection: proxy.url,
      listenConnection: database.url,
      ...quiet,
    });
    await publish('a.ts');
    // So that the statement is prepared, and its answer is all that is held.
    await Promise.all([cache.getMany(named('warm.ts')), cache.getMany(named('warmer.ts'))]);
    const asked = proxy.sent(realm);
    proxy.hold();
    const before = cache.getMany(named('a.ts'));
    await until(() => proxy.held.includes('made of'), { what: 'the server has answered' });
    await invalidateSilently(database.sql, realm, 'a.ts');
    const answer = cache.getMany(named('a.ts'), strong);
    await until(() => proxy.sent(realm) - asked === 2, { what: 'it has asked for itself' });
    proxy.release();
    expect(await before).toMatchObject([{ body: 'made of a.ts' }]);
    expect(await answer).toEqual([undefined]);
  });
});

describe('the fill rule', () => {
  let proxy: TcpProxy;
  let peer: Peer;
  beforeEach(async () => {
    proxy = await startProxy(database.url);
    cleanUps.push(() => proxy.close());
    peer = await openPeer({ connection: `${proxy.url}?max=1`, listenConnection: database.url, ...quiet });
    // So that the statement is prepared, and its answer is all that is held.
    await peer.cache.getMany(named('warm.ts'));
  });
  const untilHeld = (text: string): Promise<unknown> =>
    until(() => proxy.held.includes(text), { what: `the server has answered ${text}` });
  const untilApplied = (): Promise<unknown> =>
    until(() => peer.of('invalidated').length > 0, { what: 'the invalidation was applied' });

  test.each([
    ['one of the modules', () => invalidate(database.sql, realm, 'a.ts')],
    ['a dependency', () => invalidate(database.sql, realm, 'dep.ts')],
    ['their realm', () => database.sql`select module_cache.clear_realm(${realm})`],
    ['everything', () => database.sql`select module_cache.clear_all()`],
  ])(
    'trap: the answer of a batch reaches the process after the notification that outdates it (%s)',
    async (what, outdate) => {
      await publish('a.ts');
      const other = await openPeer({ connection: database.url });
      await other.cache.getOrProduce({ realm, path: 'else.ts' }, making('else'));
      proxy.hold();
      const reading = peer.cache.getMany(named('a.ts', 'else.ts'));
      await untilHeld('made of a.ts');
      await outdate();
      await untilApplied();
      proxy.release();

      // Who came before the invalidation may have this answer; nobody else.
      expect(await reading).toMatchObject([{ body: 'made of a.ts' }, { body: 'else' }]);
      expect(peer.cache.peek({ realm, path: 'a.ts' })).toBeUndefined();
      const touched = what === 'their realm' || what === 'everything';
      expect(peer.cache.peek({ realm, path: 'else.ts' })?.body).toBe(touched ? undefined : 'else');
      expect(peer.of('stale')).toHaveLength(touched ? 2 : 1);
    },
  );

  test('trap: everything was dropped while a batch was on its way, and it is put back', async () => {
    await publish('a.ts', 'b.ts');
    proxy.hold();
    const reading = peer.cache.getMany(named('a.ts', 'b.ts'));
    await untilHeld('made of a.ts');
    await invalidateSilently(database.sql, realm, 'a.ts');
    await loseTheLog(database.sql);
    await database.sql`select pg_notify('module_cache_invalidated', '{"k":"log"}')`;
    await until(() => peer.of('dropped').length === 1, { what: 'everything was dropped' });
    proxy.release();
    await reading;
    expect(peer.cache.stats().entries).toBe(0);
  });

  test('who comes after the invalidation does not get the answer that was already on its way, and all of them ask once', async () => {
    await publish('a.ts', 'b.ts');
    proxy.hold();
    const before = peer.cache.getMany(named('a.ts', 'b.ts'));
    await untilHeld('made of a.ts');
    // Only the declared dependency: nothing but the answers themselves can tell that they are outdated.
    await database.sql`select pg_notify('module_cache_invalidated',
      ${JSON.stringify({ k: 'module', r: realm, m: ['dep.ts'] })})`;
    await invalidateSilently(database.sql, realm, 'dep.ts');
    await untilApplied();
    const after = peer.cache.getMany(named('a.ts', 'b.ts', 'c.ts'));
    const single = peer.cache.get({ realm, path: 'a.ts' });
    proxy.release();
    expect(await before).toMatchObject([{ body: 'made of a.ts' }, { body: 'made of b.ts' }]);
    expect(await after).toEqual([undefined, undefined, undefined]);
    expect(await single).toBeUndefined();
  });

  test('a single read and a batch share the question of whichever came first', async () => {
    await publish('a.ts', 'b.ts');
    for (const path of ['a.ts', 'b.ts']) {
      const asked = proxy.sent(realm);
      const batch = (): Promise<unknown> => peer.cache.getMany(named(path)).then(([answer]) => answer);
      const single = (): Promise<unknown> => peer.cache.get({ realm, path });
      const reads = path === 'a.ts' ? [batch(), batch(), single()] : [single(), batch(), batch()];
      const made = { body: `made of ${path}`, source: 'l2' };
      expect(await Promise.all(reads)).toMatchObject([made, made, made]);
      expect(proxy.sent(realm) - asked).toBe(1);
    }
  });
});

describe('who gives up', () => {
  test('at the deadline or by a signal is told so, and takes nobody along', async () => {
    const proxy = await startProxy(database.url);
    cleanUps.push(() => proxy.close());
    const { cache } = await openPeer({ connection: proxy.url, listenConnection: database.url, ...quiet });
    await publish('a.ts');
    proxy.hold();
    const patient = cache.get({ realm, path: 'a.ts' });
    const late = cache.getMany(named('a.ts', 'b.ts'), { deadlineMs: 20 });
    await expect(late).rejects.toMatchObject({ code: 'MC102' });
    const controller = new AbortController();
    const leaving = cache.getMany(named('a.ts', 'b.ts'), { signal: controller.signal });
    controller.abort(new Error('the browser is gone'));
    await expect(leaving).rejects.toThrow('the browser is gone');
    proxy.release();
    expect((await patient)?.body).toBe('made of a.ts');
  });

  test('by closing is told so', async () => {
    const { cache } = await openPeer({ connection: database.url });
    await cache.close();
    await expect(cache.getMany(named('a.ts'))).rejects.toMatchObject({ code: 'MC103' });
  });
});

test('an error of the database reaches whoever asked, and the next question is a new one', async () => {
  const instance = openInstance(database.url);
  cleanUps.push(instance.close);
  const { cache } = await openPeer({ connection: instance.sql });
  await publish('a.ts');
  instance.failNext('module_cache.get(');
  await expect(cache.getMany(named('a.ts', 'b.ts'))).rejects.toThrow('division by zero');
  expect(await cache.getMany(named('a.ts'))).toMatchObject([{ body: 'made of a.ts' }]);
});

test('before there is an epoch a batch finds nothing, sees to it that there is one, and asks twice', async () => {
  const { cache, asked } = await counting();
  await database.sql`delete from module_cache._epochs`;
  expect(await cache.getMany(named('a.ts', 'b.ts', 'c.ts'))).toEqual([undefined, undefined, undefined]);
  expect(asked).toHaveLength(2);
  await cache.getOrProduce({ realm, path: 'a.ts' }, making('a'));
  expect(await cache.getMany(named('a.ts'))).toMatchObject([{ body: 'a', source: 'l1' }]);
});

test.each([
  ['no list', undefined],
  ['a text', 'a.ts'],
  ['a list with nothing in it', [undefined]],
  ['a list of texts', ['a.ts']],
  [
    'a list with one bad path',
    [
      { realm: 'https://a.example/', path: 'a.ts' },
      { realm: 'https://a.example/', path: '../a' },
    ],
  ],
])('%s is no batch', async (_, requests) => {
  const { cache, asked } = await counting();
  await expect(cache.getMany(requests as never)).rejects.toMatchObject({
    code: expect.stringMatching(/^MC00[13]$/),
    hint: expect.stringMatching(/^[A-Z].{10,}\.$/s),
  });
  expect(asked).toHaveLength(0);
});

test('a batch is not read in a way that is none', async () => {
  const { cache } = await openPeer({ connection: database.url });
  await cache.getOrProduce({ realm, path: 'a.ts' }, making('a'));
  const reads: unknown[] = [
    { consistency: 'strogn' },
    { after: 7 },
    { deadlineMs: 0 },
    { signal: {} },
    { claimPatienceMs: -1 },
  ];
  for (const read of reads) {
    await expect(cache.getMany(named('a.ts'), read as ReadOptions)).rejects.toMatchObject({ code: 'MC003' });
    await expect(
      cache.getOrProduce({ realm, path: 'b.ts' }, notAsked, read as ReadOptions),
    ).rejects.toMatchObject({ code: 'MC003' });
  }
});
