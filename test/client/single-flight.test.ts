import { getEventListeners } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { ProducerContext, Product } from '../../src/index.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { closePeers, gate, making, newRealm, openPeer, type Peer } from './support/peers.js';
import { invalidate, invalidateSilently, stored } from './support/realm.js';

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

const untilApplied = (count = 1): Promise<unknown> =>
  until(() => peer.of('invalidated').length >= count, { what: 'the invalidation was applied' });
const invalidateAndApply = async (...paths: string[]): Promise<void> => {
  const before = peer.of('invalidated').length;
  await invalidate(database.sql, realm, ...paths);
  await untilApplied(before + 1);
};

describe('callers of one process', () => {
  test('share one production, however many they are', async () => {
    const { produce, begun, finish, ...work } = gate();
    const answers = Array.from({ length: 100 }, () =>
      peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce),
    );
    await begun();
    finish({ body: 'once' });
    const sources = (await Promise.all(answers)).map(({ source }) => source);
    expect(sources.filter((source) => source === 'coalesced')).toHaveLength(99);
    expect(peer.of('produced')).toHaveLength(1);
    expect(work.signals).toBeDefined();
  });

  test('all get the error that their producer threw, and a later caller has it produced again', async () => {
    const { produce, begun, fail } = gate();
    const answers = Array.from({ length: 3 }, () =>
      peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce).catch((error: unknown) => error),
    );
    await begun();
    const thrown = new Error('the disk is full');
    fail(thrown);
    expect(await Promise.all(answers)).toEqual([thrown, thrown, thrown]);
    const again = await until(
      () => peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('fine')).catch(() => undefined),
      { what: 'the failure is forgotten' },
    );
    expect(again).toMatchObject({ body: 'fine', cached: true });
  });

  test('get what was thrown, even if nobody else can be told of it as it is', async () => {
    for (const thrown of [Object.assign(new Error('odd'), { code: 1n }), Object.create(null)]) {
      const answer = peer.cache.getOrProduce({ realm, path: 'a.ts' }, () => {
        throw thrown;
      });
      expect(await answer.catch((error: unknown) => error)).toBe(thrown);
    }
  });

  test('get another error from another try: what one of them was told is not told to who comes later', async () => {
    const { produce, begun, fail } = gate();
    for (const run of [1, 2, 3]) {
      const answer = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
      await begun(run);
      fail(new Error(`failure ${run}`));
      await expect(answer).rejects.toThrow(`failure ${run}`);
    }
    const made = await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('fine'));
    expect(made).toMatchObject({ body: 'fine', cached: true });
  });

  test('get undefined for a module that nobody makes, also while it is being made', async () => {
    const { produce, begun, finish } = gate();
    const making = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    expect(await peer.cache.get({ realm, path: 'a.ts' })).toBeUndefined();
    finish({ body: 'made' });
    await making;
    expect((await peer.cache.get({ realm, path: 'a.ts' }))?.body).toBe('made');
  });
});

describe('a caller that comes after an invalidation', () => {
  test.each([
    ['the module', 'foo.ts', 'foo.ts'],
    ['an alias: foo for foo.ts', 'foo.ts', 'foo'],
    ['an alias: foo.js for foo.ts', 'foo.ts', 'foo.js'],
    ['an alias: foo for foo/index.ts', 'foo/index.ts', 'foo'],
  ])('trap: joins the production begun before it (%s)', async (_, path, named) => {
    const { produce, begun, finish } = gate();
    const before = peer.cache.getOrProduce({ realm, path }, produce);
    await begun();
    await invalidateAndApply(named);
    const after = peer.cache.getOrProduce({ realm, path }, making('new'));
    expect((await after).body).toBe('new');
    finish({ body: 'old' });
    expect(await before).toMatchObject({ cached: false });
    expect(peer.cache.peek({ realm, path })?.body).toBe('new');
  });

  test('trap: gets the production begun before it, because the dependency was not known until it was done', async () => {
    const { produce, begun, finish } = gate();
    const before = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    await invalidateAndApply('dep.ts');
    const after = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    finish({ body: 'old', dependencyKeys: ['./dep'.slice(2)] });
    await begun(2);
    finish({ body: 'new', dependencyKeys: ['dep'] });
    expect(await before).toMatchObject({ body: 'old', cached: false });
    expect(await after).toMatchObject({ body: 'new', cached: true });
  });

  test('by its own hand does not get the work of before, without waiting for any notification', async () => {
    const { produce, begun, finish } = gate();
    const before = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    await peer.cache.clearRealm(realm);
    expect(await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'))).toMatchObject({
      body: 'new',
    });
    finish({ body: 'old' });
    await before;
  });
});

describe('an invalidation during production', () => {
  test('aborts it, frees the claim, and those who waited get what is made anew', async () => {
    const { produce, begun, finish, signals } = gate({ heedsSignal: true });
    const answer = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    await invalidateAndApply('a.ts');
    await begun(2);
    expect(signals[0]?.aborted).toBe(true);
    finish({ body: 'new' });
    expect(await answer).toMatchObject({ body: 'new', cached: true, source: 'produced' });
  });

  test('frees the claim for another process even while its producer goes on', async () => {
    const other = await openPeer({ connection: database.url });
    const { produce, begun, finish } = gate();
    const before = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    await invalidateAndApply('a.ts');
    const answer = await other.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'));
    expect(answer).toMatchObject({ body: 'new', source: 'produced' });
    finish({ body: 'old' });
    expect((await before).cached).toBe(false);
  });

  test('of something else leaves it alone', async () => {
    const { produce, begun, finish, signals } = gate({ heedsSignal: true });
    const answer = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    await invalidateAndApply('ab.ts', 'a/b.ts', 'dep.ts');
    expect(signals[0]?.aborted).toBe(false);
    finish({ body: 'fine' });
    expect(await answer).toMatchObject({ body: 'fine', cached: true });
  });

  test('again and again: after three tries the caller gets its answer, which no cache keeps', async () => {
    let runs = 0;
    const produce = async ({ signal }: ProducerContext): Promise<Product> => {
      runs += 1;
      const run = runs;
      await invalidateAndApply('a.ts');
      if (signal.aborted) throw signal.reason;
      return { body: `try ${run}` };
    };
    const answer = await peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    expect(answer).toMatchObject({ body: 'try 3', cached: false, source: 'produced' });
    expect(await peer.cache.get({ realm, path: 'a.ts' })).toBeUndefined();
  });

  test('the third time: others need not wait for work that is lost', async () => {
    const other = await openPeer({ connection: database.url });
    const { produce, begun, finish, signals } = gate({ heedsSignal: true });
    const answer = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    for (const run of [1, 2, 3]) {
      await begun(run);
      await invalidateAndApply('a.ts');
    }
    const { body } = await other.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'), {
      deadlineMs: 10_000,
    });
    expect(body).toBe('new');
    expect(signals[2]?.aborted).toBe(false);
    finish({ body: 'old' });
    expect(await answer).toMatchObject({ body: 'old', cached: false });
  });

  test('that nobody has told of does not let the result in', async () => {
    const { produce, begun, finish } = gate();
    const answer = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    await invalidateSilently(database.sql, realm, 'dep.ts');
    finish({ body: 'old', dependencyKeys: ['dep'] });
    expect(await answer).toMatchObject({ body: 'old', cached: false });
    expect(await stored(database.sql, realm)).toEqual([]);
    expect(peer.cache.peek({ realm, path: 'a.ts' })).toBeUndefined();
  });
});

describe('a caller that gives up', () => {
  test('at its deadline is told so, and the others still get their answer', async () => {
    const { produce, begun, finish, signals } = gate();
    const patient = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    await expect(
      peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce, { deadlineMs: 20 }),
    ).rejects.toMatchObject({ code: 'MC102' });
    expect(signals[0]?.aborted).toBe(false);
    finish({ body: 'done' });
    expect((await patient).body).toBe('done');
  });

  test('by its signal gets the reason of the signal at once, and leaves no listener on it', async () => {
    const { produce, begun, finish } = gate();
    const patient = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    const controller = new AbortController();
    const leaving = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce, { signal: controller.signal });
    controller.abort(new Error('the browser is gone'));
    await expect(leaving).rejects.toThrow('the browser is gone');
    finish({ body: 'done' });
    await patient;
    const { signal } = new AbortController();
    for (let index = 0; index < 20; index += 1) {
      await peer.cache.getOrProduce({ realm, path: `b${index}.ts` }, making('b'), { signal });
    }
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test('before it has asked costs nothing', async () => {
    const signal = AbortSignal.abort(new Error('gone already'));
    let asked = false;
    const answer = peer.cache.getOrProduce(
      { realm, path: 'a.ts' },
      () => {
        asked = true;
        return { body: '' };
      },
      { signal },
    );
    await expect(answer).rejects.toThrow('gone already');
    await expect(peer.cache.get({ realm, path: 'a.ts' }, { signal })).rejects.toThrow('gone already');
    await peer.cache.get({ realm, path: 'else.ts' });
    expect(asked).toBe(false);
  });

  test('as the last one aborts the production, and another process takes over', async () => {
    const other = await openPeer({ connection: database.url });
    const { produce, begun, signals } = gate();
    const controller = new AbortController();
    const leaving = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce, { signal: controller.signal });
    await begun();
    const waiting = other.cache.getOrProduce({ realm, path: 'a.ts' }, making('taken over'));
    await until(() => other.of('miss').length === 1, { what: 'the other process waits' });
    controller.abort(new Error('gone'));
    await expect(leaving).rejects.toThrow('gone');
    expect(signals[0]?.aborted).toBe(true);
    expect(await waiting).toMatchObject({ body: 'taken over' });
  });

  test.each([['just before it leaves'], ['just after it has left']])(
    'as the last one does not take a newcomer along (%s)',
    async (when) => {
      const { produce, begun, finish } = gate({ heedsSignal: true });
      const controller = new AbortController();
      const leaving = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce, {
        signal: controller.signal,
      });
      await begun();
      controller.abort();
      if (when === 'just after it has left') await leaving.catch(() => {});
      const coming = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
      await expect(leaving).rejects.toBe(controller.signal.reason);
      if (when === 'just after it has left') await begun(2);
      finish({ body: 'mine' });
      expect((await coming).body).toBe('mine');
    },
  );
});

describe('a producer that', () => {
  test.each([
    [
      'throws synchronously',
      () => {
        throw new Error('thrown');
      },
      { message: 'thrown' },
    ],
    [
      'throws what is no error',
      () => {
        throw 'text';
      },
      'text',
    ],
    ['throws null', () => Promise.reject(null), null],
    ['returns nothing', () => undefined as never, { code: 'MC003' }],
    ['returns a body that is no text', () => ({ body: Buffer.from('x') as never }), { code: 'MC003' }],
    [
      'returns a dependency key that is none',
      () => ({ body: '', dependencyKeys: ['../up.ts'] }),
      { code: 'MC001' },
    ],
    [
      'returns dependency keys that are no list',
      () => ({ body: '', dependencyKeys: 'a.ts' as never }),
      { code: 'MC003' },
    ],
    ['returns a life that is over', () => ({ body: '', expiresInMs: 0 }), { code: 'MC003' }],
    [
      'returns a life without end as a number',
      () => ({ body: '', expiresInMs: Number.POSITIVE_INFINITY }),
      { code: 'MC003' },
    ],
    [
      'returns headers that JSON cannot hold',
      () => ({ body: '', headers: { n: 1n as never } }),
      { code: 'MC003' },
    ],
    ['returns headers that are a list', () => ({ body: '', headers: ['a'] as never }), { code: 'MC003' }],
  ] as [string, () => Product, object | string | null][])(
    '%s: its caller is told what to do, and nothing is stored',
    async (_, produce, expected) => {
      const thrown = await peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce).then(
        (module) => ({ module }),
        (error: unknown) => error,
      );
      if (expected !== null && typeof expected === 'object') expect(thrown).toMatchObject(expected);
      else expect(thrown).toBe(expected);
      // What is kept for a second is the news of the failure.
      expect((await stored(database.sql, realm)).filter(({ status }) => status === 'live')).toEqual([]);
      const locks = await database.sql`select from pg_locks where locktype = 'advisory' and objsubid = 1
      and database = (select oid from pg_database where datname = current_database())`;
      expect(locks).toHaveLength(0);
    },
  );

  test.each([
    ['body', { body: 'a\0b' }],
    ['headers', { body: 'b', headers: { n: 'a\0b' } }],
  ])(
    'gives what Postgres cannot hold (%s): its caller has it, and the operator is told',
    async (_, product) => {
      const answer = await peer.cache.getOrProduce({ realm, path: 'a.ts' }, () => product);
      expect(answer).toMatchObject({ ...product, cached: false });
      expect(peer.of('warning')).toHaveLength(1);
      expect(await stored(database.sql, realm)).toEqual([]);
    },
  );

  test('gives headers: what it does with them later changes nothing, and every process has the same', async () => {
    const other = await openPeer({ connection: database.url });
    const headers = { list: [1], gone: undefined as never };
    const own = await peer.cache.getOrProduce({ realm, path: 'a.ts' }, () => ({ body: '', headers }));
    headers.list.push(2);
    expect((await other.cache.get({ realm, path: 'a.ts' }))?.headers).toEqual(own.headers);
    expect(own.headers).toStrictEqual({ list: [1] });
  });

  test('names a body of lone surrogates: this process serves the same bytes as the others', async () => {
    const other = await openPeer({ connection: database.url });
    const own = await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('a\ud800b'));
    expect((await other.cache.get({ realm, path: 'a.ts' }))?.body).toBe(own.body);
  });

  test('gives a life: the answer is gone from every cache when it is over', async () => {
    const answer = await peer.cache.getOrProduce({ realm, path: 'a.ts' }, () => ({
      body: 'short',
      expiresInMs: 200.5,
    }));
    expect(answer.cached).toBe(true);
    await until(async () => (await peer.cache.get({ realm, path: 'a.ts' })) === undefined, {
      what: 'it has expired',
    });
    expect(peer.cache.peek({ realm, path: 'a.ts' })).toBeUndefined();
  });

  test('gives an error to cache: it is served until the source changes', async () => {
    await peer.cache.getOrProduce({ realm, path: 'a.ts' }, () => ({ body: 'line 1', isError: true }));
    expect(await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('x'))).toMatchObject({
      status: 'error',
      body: 'line 1',
      source: 'l1',
    });
    await peer.cache.invalidate(realm, ['a.ts']);
    expect(await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('x'))).toMatchObject({
      status: 'hit',
    });
  });
});

test('two artifacts whose names run into each other are two, in memory and on their way', async () => {
  const one = { realm, path: 'a.ts', kind: 'transpile', variant: 'x\ny' };
  const two = { realm, path: 'a.ts\ntranspile', kind: 'x', variant: 'y' };
  const { produce, begun, finish } = gate();
  const first = peer.cache.getOrProduce(one, produce);
  await begun();
  expect(await peer.cache.getOrProduce(two, making('for another'))).toMatchObject({ body: 'for another' });
  finish({ body: 'for one reader' });
  await first;
  expect(peer.cache.peek(one)?.body).toBe('for one reader');
  expect(peer.cache.peek(two)?.body).toBe('for another');
});
