import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import {
  createDefinitionLookup,
  type DefinitionAnswer,
  type DefinitionLookup,
  type DefinitionLookupOptions,
  type DefinitionRequest,
  type DefinitionResult,
  type Visibility,
} from '../../src/definition/index.js';
import type { Json } from '../../src/index.js';
import { openInstance } from '../client/support/instance.js';
import { closePeers, type Gate, gate, newRealm, openPeer, type Peer } from '../client/support/peers.js';
import { invalidate } from '../client/support/realm.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';

let database: TestDatabase;
let peer: Peer;
let other: Peer;
let realm: string;
const cleanUps: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  realm = newRealm();
  [peer, other] = (await Promise.all([1, 2].map(() => openPeer({ connection: database.url })))) as [
    Peer,
    Peer,
  ];
});
afterEach(async () => {
  jest.restoreAllMocks();
  await closePeers();
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
});

type Options = DefinitionLookupOptions<Json>;
const lookupOn = ({ cache }: Peer, options: Omit<Options, 'cache' | 'realm'>): DefinitionLookup =>
  createDefinitionLookup({ cache, realm, ...options });
const defining = (definition: Json) => (): DefinitionResult<Json> => ({ definition });
const notAsked = (): never => {
  throw new Error('this definition was produced although the cache had to have it');
};
/** A producer that works until it is told to end. */
const gated =
  (work: Gate) =>
  ({ signal }: DefinitionRequest): Promise<DefinitionResult<Json>> =>
    work.produce({ signal }) as Promise<unknown> as Promise<DefinitionResult<Json>>;
const finish = (work: Gate, result: DefinitionResult<Json>): void => work.finish(result as never);
/** Producers that make what the table says, and the paths that they were asked for. */
function table(results: Record<string, DefinitionResult<Json>>) {
  const asked: string[] = [];
  const produce = ({ path }: DefinitionRequest): DefinitionResult<Json> => {
    asked.push(path);
    return results[path];
  };
  return { asked, produce, results };
}
const errorsOf = (answer: DefinitionAnswer): string[] =>
  'errors' in answer ? answer.errors.map(({ path, message }) => `${path}: ${message}`) : [];

describe('a definition', () => {
  test('is made once for the fleet, and from memory the next time', async () => {
    const work = gate();
    const here = lookupOn(peer, { produce: gated(work) });
    const there = lookupOn(other, { produce: notAsked });
    const answers = [here.lookup('a.ts'), here.lookup('a.ts')];
    await work.begun();
    const waiting = there.lookup('a.ts');
    await until(() => other.of('miss').length === 1, { what: 'the other process waits' });
    finish(work, { definition: { fields: ['name'] }, dependencyKeys: ['base.ts'] });
    const made = { status: 'ok', realm, path: 'a.ts', definition: { fields: ['name'] }, errors: [] };
    expect(await Promise.all(answers)).toMatchObject([
      { ...made, source: 'produced', cached: true },
      { ...made, source: 'coalesced' },
    ]);
    expect(await waiting).toMatchObject({ ...made, dependencyKeys: ['base'] });
    expect(await there.lookup('a.ts')).toMatchObject({ ...made, source: 'l1' });
    expect(work.runs).toBe(1);
  });

  test('is made anew after an invalidation of what it was declared to be built from, in whatever way', async () => {
    const { produce, asked } = table({
      'a.ts': {
        definition: 1,
        dependencyKeys: ['key.ts'],
        dependencies: ['built.ts'],
        canonicalPath: 'real/a.ts',
      },
    });
    const here = lookupOn(peer, { produce });
    for (const [runs, changed] of ['key.ts', 'built.gts', 'real/a', 'a.js'].entries()) {
      expect(await here.lookup('a.ts')).toMatchObject({ status: 'ok', path: 'real/a.ts' });
      expect(asked).toHaveLength(runs + 1);
      await peer.cache.invalidate(realm, [changed]);
    }
  });

  test('that comes as the text of its JSON is kept as it is, as the compiler hands it over', async () => {
    const body = '{ "z": 1.0,  "a": [null] }';
    const produce = (): DefinitionResult<Json> => ({
      body,
      headers: { 'content-type': 'application/json' },
      dependencyKeys: ['b'],
      isError: false,
    });
    const answer = await lookupOn(peer, { produce }).lookup('a.ts');
    expect(answer).toMatchObject({ json: body, definition: { z: 1, a: [null] } });
    const stored = await peer.cache.get({ realm, path: 'a.ts', kind: 'definition', variant: 'public' });
    expect(stored).toMatchObject({ body, headers: { 'content-type': 'application/json' } });
  });

  test('belongs to whoever asked: changing it changes no answer of others', async () => {
    const here = lookupOn(peer, { produce: defining({ list: [1] }) });
    const first = await here.lookup('a.ts');
    if (first.status === 'ok') (first.definition as { list: number[] }).list.push(2);
    expect(await here.lookup('a.ts')).toMatchObject({ source: 'l1', definition: { list: [1] } });
  });

  test('of another variant is another definition', async () => {
    const old = lookupOn(peer, { produce: defining('old'), variant: 'compiler 1' });
    const young = lookupOn(peer, { produce: defining('new'), variant: 'compiler 2' });
    expect(await old.lookup('a.ts')).toMatchObject({ definition: 'old' });
    expect(await young.lookup('a.ts')).toMatchObject({ definition: 'new' });
    const kept = { realm, path: 'a.ts', kind: 'definition', variant: 'compiler 2/public' };
    expect(peer.cache.peek(kept)?.body).toBe('"new"');
  });

  test('null is a definition, and no missing module', async () => {
    expect(await lookupOn(peer, { produce: defining(null) }).lookup('a.ts')).toMatchObject({
      status: 'ok',
      definition: null,
    });
  });
});

describe('an error that a producer returns', () => {
  test('is cached for half a minute, and no longer', async () => {
    const error = { message: 'no such field', line: 3 };
    const produce = (): DefinitionResult<Json> => ({ error, dependencyKeys: ['base'] });
    const failed = { status: 'error', error: { realm, path: 'a.ts', ...error }, dependencyKeys: ['base'] };
    expect(await lookupOn(peer, { produce }).lookup('a.ts')).toMatchObject({ ...failed, source: 'produced' });
    expect(await lookupOn(other, { produce: notAsked }).lookup('a.ts')).toMatchObject({
      ...failed,
      source: 'l2',
    });
    const [row] = await database.sql`
      select extract(epoch from expires_in)::int as left from module_cache.get(${realm}, 'a.ts', 'definition', 'public')`;
    expect(row?.left).toBeGreaterThan(25);
    expect(row?.left).toBeLessThanOrEqual(30);
  });

  test('has a life of its own; definitions live until they are invalidated', async () => {
    const { produce, results, asked } = table({
      'bad.ts': { error: new TypeError('broken') },
      'good.ts': { definition: 1 },
    });
    const here = lookupOn(peer, { produce, errorTtlMs: 150 });
    await here.lookupMany(['bad.ts', 'good.ts']);
    results['bad.ts'] = { definition: 2 };
    await until(async () => (await here.lookup('bad.ts')).status === 'ok', { what: 'the error is over' });
    expect(await here.lookup('good.ts')).toMatchObject({ source: 'l1' });
    expect(asked).toEqual(['bad.ts', 'good.ts', 'bad.ts']);
  });

  test('goes with the invalidation of what it was made from', async () => {
    const { produce, results } = table({
      'a.ts': { error: { message: 'broken' }, dependencyKeys: ['base'] },
    });
    const here = lookupOn(peer, { produce });
    expect(await here.lookup('a.ts')).toMatchObject({ status: 'error' });
    results['a.ts'] = { definition: 1 };
    await peer.cache.invalidate(realm, ['base.ts']);
    expect(await here.lookup('a.ts')).toMatchObject({ status: 'ok' });
  });

  test('as text that is no JSON object, or by others under the same name, still has a message', async () => {
    await database.sql`
      select module_cache.put(${realm}, 'a.ts', 'definition', 'public', 'plain text',
        '{"definition-errors": [7, {"message": 1}, {"message": "seen"}], "definition-dependencies": ["x", {}]}',
        '{}', g.token, null, true)
      from module_cache.get(${realm}, 'a.ts') g`;
    expect(await lookupOn(peer, { produce: notAsked }).lookup('a.ts')).toMatchObject({
      error: { realm, path: 'a.ts', message: 'plain text' },
      errors: [{ realm, path: 'a.ts', message: 'seen' }],
    });
  });
});

describe('what a producer throws', () => {
  test('reaches all who wait, is not cached, and the next call tries again', async () => {
    const work = gate();
    const here = lookupOn(peer, { produce: gated(work) });
    const there = lookupOn(other, { produce: notAsked });
    const answers = [here.lookup('a.ts'), here.lookup('a.ts')].map((answer) =>
      answer.catch((error) => error),
    );
    await work.begun();
    const waiting = there.lookup('a.ts').catch((error) => error);
    await until(() => other.of('miss').length === 1, { what: 'the other process waits' });
    const thrown = new Error('the network is down');
    work.fail(thrown);
    expect(await Promise.all(answers)).toEqual([thrown, thrown]);
    expect(await waiting).toMatchObject({ code: 'MC104', message: 'the network is down' });
    for (const each of [peer, other]) {
      const again = lookupOn(each, { produce: () => Promise.reject(new Error(`again by ${each.name}`)) });
      await expect(again.lookup('a.ts')).rejects.toThrow(`again by ${each.name}`);
    }
    expect(await lookupOn(other, { produce: defining(1) }).lookup('a.ts')).toMatchObject({
      source: 'produced',
    });
  });
});

describe('no such module', () => {
  test.each([
    ['null', null],
    ['undefined', undefined],
  ])('(%s) trap: makes every waiter produce in turn', async (_, nothing) => {
    const work = gate();
    const lookups = [peer, other].map((each) => lookupOn(each, { produce: gated(work) }));
    const answers = lookups.flatMap((each) => Array.from({ length: 4 }, () => each.lookup('none.ts')));
    await work.begun();
    await until(() => [peer, other].every((each) => each.of('miss').length === 1), {
      what: 'both processes wait',
    });
    finish(work, nothing);
    expect(await Promise.all(answers)).toEqual(Array(8).fill({ status: 'missing', realm, path: 'none.ts' }));
    expect(work.runs).toBe(1);
  });

  test('is told to all who asked before, however fast it was found out', async () => {
    for (let round = 0; round < 10; round += 1) {
      const { produce, asked } = table({});
      const lookups = [peer, other].map((each) => lookupOn(each, { produce }));
      const answers = lookups.flatMap((each) => Array.from({ length: 4 }, () => each.lookup(`${round}.ts`)));
      expect((await Promise.all(answers)).map(({ status }) => status)).toEqual(Array(8).fill('missing'));
      expect(asked).toHaveLength(1);
    }
  });

  test('is not cached: a module that is there at the next call is found at once, by every process', async () => {
    const { produce, results } = table({});
    const [here, there] = [lookupOn(peer, { produce }), lookupOn(other, { produce })];
    expect(await here.lookup('a.ts')).toMatchObject({ status: 'missing' });
    expect(await there.lookup('a.ts')).toMatchObject({ status: 'missing' });
    results['a.ts'] = { definition: 1 };
    expect(await there.lookup('a.ts')).toMatchObject({ status: 'ok', source: 'produced' });
    expect(await here.lookup('a.ts')).toMatchObject({ status: 'ok', source: 'l2' });
  });
});

describe('an alias', () => {
  const resolve = async (path: string): Promise<string | undefined> =>
    ({ '': 'index.ts', foo: 'foo.ts', 'foo.js': 'foo.ts', 'foo.ts': 'foo.ts' })[path];

  test('and its target are one definition', async () => {
    const { produce, asked } = table({ 'foo.ts': { definition: 1 }, 'index.ts': { definition: 2 } });
    const here = lookupOn(peer, { produce, resolve });
    const answers = await here.lookupMany(['foo', 'foo.js', 'foo.ts', '', 'bar']);
    expect(answers.map(({ path, status }) => `${path} ${status}`)).toEqual([
      'foo.ts ok',
      'foo.ts ok',
      'foo.ts ok',
      'index.ts ok',
      'bar missing',
    ]);
    expect(asked).toEqual(['foo.ts', 'index.ts']);
  });

  test.each([
    ['foo', 'foo.ts'],
    ['foo.ts', 'foo'],
    ['foo', 'foo'],
  ])(
    'trap: a caller who arrives after an invalidation (%s) joins, by alias (%s), the production begun before it',
    async (named, invalidated) => {
      const work = gate();
      const here = lookupOn(peer, { produce: gated(work), resolve });
      const before = here.lookup('foo.ts');
      await work.begun();
      await invalidate(database.sql, realm, invalidated);
      await until(() => peer.of('invalidated').length === 1, { what: 'the invalidation was applied' });
      const after = lookupOn(peer, { produce: defining('new'), resolve }).lookup(named);
      expect(await after).toMatchObject({ definition: 'new' });
      finish(work, { definition: 'old' });
      expect(await before).toMatchObject({ cached: false });
      expect(await here.lookup('foo')).toMatchObject({ definition: 'new', source: 'l1' });
    },
  );

  test('that only the producer knows is outdated with its target, also while it is made', async () => {
    const work = gate();
    const here = lookupOn(peer, { produce: gated(work) });
    const before = here.lookup('latest');
    await work.begun();
    await invalidate(database.sql, realm, 'v2/main.ts');
    await until(() => peer.of('invalidated').length === 1, { what: 'the invalidation was applied' });
    const after = here.lookup('latest');
    finish(work, { definition: 'old', canonicalPath: 'v2/main.ts' });
    await work.begun(2);
    finish(work, { definition: 'new', canonicalPath: 'v2/main.ts' });
    expect(await before).toMatchObject({ definition: 'old', cached: false });
    expect(await after).toMatchObject({ path: 'v2/main.ts', definition: 'new', cached: true });
  });
});

describe('visibility', () => {
  test('is asked at every lookup, also for what is in memory, and a change of mind takes effect at once', async () => {
    let sees: Visibility = 'public';
    const questions: unknown[][] = [];
    const visibility = (...question: unknown[]): Visibility => {
      questions.push(question);
      return sees;
    };
    const produce = ({ user }: DefinitionRequest): DefinitionResult<Json> => ({ definition: `for ${user}` });
    const here = lookupOn(peer, { produce, visibility });
    const seen = async (user?: string): Promise<unknown> => {
      const answer = await here.lookup('a.ts', user === undefined ? {} : { user });
      return answer.status === 'ok' ? `${answer.definition} (${answer.source})` : answer.status;
    };
    expect(await seen('ada')).toBe('for undefined (produced)');
    expect(await seen('ada')).toBe('for undefined (l1)');
    sees = 'none';
    expect(await seen('ada')).toBe('forbidden');
    sees = 'private';
    expect(await seen('ada')).toBe('for ada (produced)');
    expect(await seen('bob')).toBe('for bob (produced)');
    expect(await seen('ada')).toBe('for ada (l1)');
    expect(await seen()).toBe('forbidden');
    sees = 'public';
    expect(await seen()).toBe('for undefined (l1)');
    expect(questions).toHaveLength(8);
    expect(questions[0]).toEqual(['ada', realm]);
  });

  test('none tells nothing: neither whether there is such a module, nor by asking for it', async () => {
    const resolve = jest.fn(async () => undefined);
    const here = lookupOn(peer, {
      produce: notAsked,
      resolve,
      visibility: async (): Promise<Visibility> => 'none',
    });
    const forbidden = { status: 'forbidden', realm };
    expect(await here.lookup('a.ts', { user: 'ada' })).toEqual({ ...forbidden, path: 'a.ts' });
    expect(await here.lookupMany(['a.ts', 'b.ts'])).toEqual([
      { ...forbidden, path: 'a.ts' },
      { ...forbidden, path: 'b.ts' },
    ]);
    expect(resolve).not.toHaveBeenCalled();
  });

  test('private definitions are kept under a hash of the user, who may be of any length', async () => {
    const visibility = (): Visibility => 'private';
    const user = `ada@example.com${'x'.repeat(10_000)}`;
    const variant = 'v'.repeat(430);
    const here = lookupOn(peer, { produce: defining(1), visibility, variant });
    expect(await here.lookup('a.ts', { user })).toMatchObject({ cached: true });
    const [row] = await database.sql`select variant from module_cache.artifacts where realm_url = ${realm}`;
    expect(row?.variant).toBe(`${variant}/user:${createHash('sha256').update(user).digest('hex')}`);
    expect(row?.variant).toHaveLength(500);
  });

  test('that cannot be told is no visibility', async () => {
    await lookupOn(peer, { produce: defining(1) }).lookup('a.ts');
    for (const answer of [undefined, null, true, 'Public', {}]) {
      const here = lookupOn(peer, { produce: notAsked, visibility: () => answer as never });
      await expect(here.lookup('a.ts', { user: 'ada' })).rejects.toMatchObject({ code: 'MC107' });
    }
    const failing = lookupOn(peer, {
      produce: notAsked,
      visibility: () => Promise.reject(new Error('no idea')),
    });
    await expect(failing.lookup('a.ts')).rejects.toThrow('no idea');
  });
});

describe('errors of dependencies', () => {
  test('are in the answer: nearest first, each once, whatever the cycles, and nothing is produced for it', async () => {
    const shared = { path: 'lib.ts', message: 'cannot be read' };
    const { produce, asked } = table({
      'a.ts': { definition: 'a', dependencies: ['b.ts', 'c.ts', 'absent.ts'], errors: [shared] },
      'b.ts': { error: { message: 'b is broken', line: 1 }, dependencies: ['d.ts'], errors: [shared] },
      'c.ts': { definition: 'c', dependencies: ['d.ts', 'a.ts'] },
      'd.ts': {
        error: { message: 'd is broken' },
        dependencies: ['b.ts', 'a.ts'],
        errors: [shared, { path: 'b.ts', message: 'b is broken' }],
      },
    });
    const here = lookupOn(peer, { produce });
    await here.lookupMany(['a.ts', 'b.ts', 'c.ts', 'd.ts']);
    // Another process has nothing of it in memory.
    const there = lookupOn(other, { produce });
    const [a, b, c] = await there.lookupMany(['a.ts', 'b.ts', 'c.ts']);
    expect(errorsOf(a as never)).toEqual([
      'lib.ts: cannot be read',
      'b.ts: b is broken',
      'd.ts: d is broken',
    ]);
    // Its own error is no error of a dependency.
    expect(b).toMatchObject({ status: 'error', error: { path: 'b.ts', line: 1 } });
    expect(errorsOf(b as never)).toEqual(['lib.ts: cannot be read', 'd.ts: d is broken']);
    expect(errorsOf(c as never)).toEqual([
      'd.ts: d is broken',
      'lib.ts: cannot be read',
      'b.ts: b is broken',
    ]);
    expect(asked).toHaveLength(4);
  });

  test('come and go while the answer itself is in memory: each has a life of its own', async () => {
    const { produce, results } = table({
      'a.ts': { definition: 'a', dependencies: ['b.ts'] },
      'b.ts': { error: { message: 'for now' } },
    });
    const here = lookupOn(peer, { produce, errorTtlMs: 200 });
    expect(errorsOf(await here.lookup('a.ts'))).toEqual([]);
    await here.lookup('b.ts');
    expect(errorsOf(await here.lookup('a.ts'))).toEqual(['b.ts: for now']);
    results['b.ts'] = { definition: 'b' };
    await until(async () => errorsOf(await here.lookup('a.ts')).length === 0, { what: 'the error is over' });
    expect(await here.lookup('a.ts')).toMatchObject({ source: 'l1' });
  });

  test('take one question for each step that is not in memory, however many modules it has', async () => {
    const names = Array.from({ length: 50 }, (_, index) => `dep${index}.ts`);
    const { produce } = table({
      'a.ts': { definition: 'a', dependencies: names },
      ...Object.fromEntries(
        names.map((name) => [name, { error: { message: 'broken' }, dependencies: ['deep.ts'] }]),
      ),
      'deep.ts': { error: { message: 'deep' } },
    });
    await lookupOn(other, { produce }).lookupMany(['a.ts', ...names, 'deep.ts']);
    const { asked, counting } = await openCounting();
    const answer = await lookupOn(counting, { produce: notAsked }).lookup('a.ts');
    expect(errorsOf(answer)).toHaveLength(51);
    expect(asked).toHaveLength(3);
  });

  test('of another realm are told only to who may see that realm', async () => {
    const secret = newRealm();
    const visibility = async (user: string | undefined, of: string): Promise<Visibility> =>
      of === realm || user === 'ada' ? 'public' : 'none';
    const produce = (): DefinitionResult<Json> => ({ error: { message: 'a secret' } });
    const elsewhere = createDefinitionLookup({ cache: peer.cache, realm: secret, visibility, produce });
    expect(await elsewhere.lookup('b.ts', { user: 'ada' })).toMatchObject({ status: 'error' });
    const dependencies = [{ realm: secret, path: 'b.ts' }];
    const here = lookupOn(peer, { visibility, produce: () => ({ definition: 1, dependencies }) });
    expect(errorsOf(await here.lookup('a.ts', { user: 'ada' }))).toEqual(['b.ts: a secret']);
    expect(errorsOf(await here.lookup('a.ts', { user: 'bob' }))).toEqual([]);
    // A change there reaches the definition here.
    await peer.cache.clearRealm(secret);
    expect(await here.lookup('a.ts', { user: 'bob' })).toMatchObject({ source: 'produced' });
  });
});

async function openCounting(): Promise<{ asked: string[]; counting: Peer }> {
  const asked: string[] = [];
  const instance = openInstance(database.url, { debug: (_, query) => void asked.push(query) });
  cleanUps.push(instance.close);
  const counting = await openPeer({ connection: instance.sql });
  asked.length = 0;
  return { asked, counting };
}

describe('many at once', () => {
  test('are one question to the database, in the order of the paths', async () => {
    const paths = Array.from({ length: 100 }, (_, index) => `m${index}.ts`);
    const produce = ({ path }: DefinitionRequest): DefinitionResult<Json> => ({ definition: path });
    await lookupOn(other, { produce }).lookupMany(paths);
    const { asked, counting } = await openCounting();
    const answers = await lookupOn(counting, { produce: notAsked }).lookupMany(paths);
    expect(answers).toMatchObject(paths.map((path) => ({ status: 'ok', definition: path, source: 'l2' })));
    expect(asked).toHaveLength(1);
    expect(await lookupOn(counting, { produce: notAsked }).lookupMany([])).toEqual([]);
    expect(asked).toHaveLength(1);
  });

  test('are made where they are missing, each once', async () => {
    const { produce, asked } = table({
      'a.ts': { definition: 'a' },
      'b.ts': { error: { message: 'broken' } },
      'c.ts': { definition: 'c' },
    });
    const here = lookupOn(peer, { produce });
    await here.lookup('a.ts');
    const answers = await here.lookupMany(['c.ts', 'none.ts', 'b.ts', 'a.ts', 'c.ts']);
    expect(answers.map(({ status }) => status)).toEqual(['ok', 'missing', 'error', 'ok', 'ok']);
    expect(asked.sort()).toEqual(['a.ts', 'b.ts', 'c.ts', 'none.ts']);
  });

  test('are made so many at a time, and no crowd of claims keeps the dedicated connection busy', async () => {
    let active = 0;
    let most = 0;
    const produce = async ({ path }: DefinitionRequest): Promise<DefinitionResult<Json>> => {
      active += 1;
      most = Math.max(most, active);
      await new Promise((resolve) => setImmediate(resolve));
      active -= 1;
      return { definition: path };
    };
    const paths = Array.from({ length: 200 }, (_, index) => `m${index}.ts`);
    const answers = await lookupOn(peer, { produce }).lookupMany(paths);
    expect(answers).toMatchObject(paths.map((path) => ({ status: 'ok', definition: path })));
    expect(most).toBeLessThanOrEqual(64);
  });

  test('fail if one of them does, and the others are kept', async () => {
    const produce = ({ path }: DefinitionRequest): DefinitionResult<Json> => {
      if (path === 'bad.ts') throw new Error('the network is down');
      return { definition: path };
    };
    const here = lookupOn(peer, { produce });
    await expect(here.lookupMany(['a.ts', 'bad.ts'])).rejects.toThrow('the network is down');
    await until(() => peer.of('produced').length === 1, { what: 'the other one is made' });
    expect(await lookupOn(peer, { produce: notAsked }).lookup('a.ts')).toMatchObject({ definition: 'a.ts' });
  });

  test('with the token of an invalidation see it, and so does a single one', async () => {
    const { produce, asked } = table({ 'a.ts': { definition: 1 }, 'b.ts': { definition: 2 } });
    const here = lookupOn(peer, { produce });
    await here.lookupMany(['a.ts', 'b.ts']);
    const after = await database.sql.begin(async (tx) => {
      await tx`set local module_cache.notify = off`;
      return (await other.cache.invalidate(realm, ['a.ts'], { tx })).token;
    });
    expect(await here.lookupMany(['a.ts', 'b.ts'], { after })).toMatchObject([
      { source: 'produced' },
      { source: 'l1' },
    ]);
    expect(await here.lookup('a.ts', { consistency: 'strong' })).toMatchObject({ definition: 1 });
    expect(asked).toEqual(['a.ts', 'b.ts', 'a.ts']);
  });
});

describe('a producer that takes minutes', () => {
  test('is the only one all the while: nobody loses patience with it', async () => {
    // What is waited for by default elsewhere is over at once.
    const waiting = await openPeer({ connection: database.url, claimPatienceMs: 1 });
    const work = gate();
    const here = lookupOn(peer, { produce: gated(work) }).lookup('a.ts');
    await work.begun();
    const there = lookupOn(waiting, { produce: notAsked }).lookup('a.ts');
    await until(() => waiting.of('miss').length === 1, { what: 'the other process waits' });
    const { now } = performance;
    jest.spyOn(performance, 'now').mockImplementation(() => now.call(performance) + 150_000);
    const asked = await questionsOf(waiting.name);
    await until(async () => (await questionsOf(waiting.name)) > asked, {
      what: 'it has looked again, much later',
    });
    finish(work, { definition: 'slow' });
    expect(await Promise.all([here, there])).toMatchObject([{ definition: 'slow' }, { definition: 'slow' }]);
    expect(work.runs).toBe(1);
  });

  test('and hangs is given up: its signal aborts, all who wait are told, and the next call tries again', async () => {
    const work = gate();
    const here = lookupOn(peer, { produce: gated(work), produceWithinMs: 300 });
    const there = lookupOn(other, { produce: notAsked });
    const late = here.lookup('a.ts').catch((error) => error);
    await work.begun();
    const waiting = there.lookup('a.ts').catch((error) => error);
    expect(await late).toMatchObject({ code: 'MC102', message: 'the definition took too long to produce' });
    expect(await waiting).toMatchObject({
      code: 'MC104',
      message: 'the definition took too long to produce',
    });
    expect(work.signals[0]?.aborted).toBe(true);
    expect(await lookupOn(other, { produce: defining(1) }).lookup('a.ts')).toMatchObject({ status: 'ok' });
  });

  test('is aborted by the invalidation of its module, and begins anew', async () => {
    const work = gate({ heedsSignal: true });
    const answer = lookupOn(peer, { produce: gated(work) }).lookup('a.ts');
    await work.begun();
    await invalidate(database.sql, realm, 'a.ts');
    await work.begun(2);
    expect(work.signals.map(({ aborted }) => aborted)).toEqual([true, false]);
    finish(work, { definition: 'new' });
    expect(await answer).toMatchObject({ definition: 'new', cached: true });
  });

  /** The last question of a connection of this name, by when it was asked. */
  async function questionsOf(name: string): Promise<number> {
    const [row] = await database.sql`
      select max(extract(epoch from query_start))::float as last from pg_stat_activity
      where application_name = ${name} and query like '%module_cache.claim(%'`;
    return row?.last ?? 0;
  }
});

describe('who gives up', () => {
  test.each([
    ['the producer', { produce: () => new Promise<never>(() => {}) }],
    ['visibility', { produce: notAsked, visibility: () => new Promise<never>(() => {}) }],
    ['resolve', { produce: notAsked, resolve: () => new Promise<never>(() => {}) }],
  ])('on %s is told so at the deadline, or at once by the signal', async (_, options) => {
    const here = lookupOn(peer, options);
    await expect(here.lookup('a.ts', { deadlineMs: 20 })).rejects.toMatchObject({ code: 'MC102' });
    const controller = new AbortController();
    const leaving = here.lookupMany(['a.ts', 'b.ts'], { signal: controller.signal });
    controller.abort(new Error('the browser is gone'));
    await expect(leaving).rejects.toThrow('the browser is gone');
  });
});

describe('misuse', () => {
  test.each([
    ['no options', undefined],
    ['no cache', { cache: undefined }],
    ['no producer', { produce: undefined }],
    ['a resolve that is none', { resolve: 'foo.ts' }],
    ['a visibility that is none', { visibility: 'public' }],
    ['an over-long variant', { variant: 'v'.repeat(431) }],
    ['a variant with a NUL', { variant: '\0' }],
    ['errors without a life', { errorTtlMs: 0 }],
    ['errors that live for ever', { errorTtlMs: Number.POSITIVE_INFINITY }],
    ['no time to produce', { produceWithinMs: -1 }],
    ['a deadline that is no number', { deadlineMs: '5' }],
  ])('%s: no lookup', (_, wrong) => {
    const options = wrong && { cache: peer.cache, realm, produce: defining(1), ...wrong };
    expect(() => createDefinitionLookup(options as never)).toThrow(
      expect.objectContaining({ code: 'MC107', hint: expect.stringMatching(/^[A-Z].{10,}\.$/s) }),
    );
    expect(() => createDefinitionLookup({ cache: peer.cache, realm: 'x', produce: notAsked })).toThrow(
      expect.objectContaining({ code: 'MC001' }),
    );
  });

  test.each([
    ['a path that is none', ['../a.ts'], {}, 'MC001'],
    ['a path that is a number', [7], {}, 'MC001'],
    ['an empty path', [''], {}, 'MC001'],
    ['no list', 'a.ts', {}, 'MC003'],
    ['a user that is a number', ['a.ts'], { user: 7 }, 'MC003'],
    ['a user without a name', ['a.ts'], { user: '' }, 'MC003'],
    [
      'a user with half a character, which would have the hash of others',
      ['a.ts'],
      { user: 'a\ud800' },
      'MC003',
    ],
    ['a deadline of nothing', ['a.ts'], { deadlineMs: 0 }, 'MC003'],
    ['a consistency that is none', ['a.ts'], { consistency: 'strogn' }, 'MC003'],
  ])('%s is refused', async (_, paths, how, code) => {
    const here = lookupOn(peer, { produce: notAsked, visibility: notAsked });
    await expect(here.lookupMany(paths as never, how as never)).rejects.toMatchObject({ code });
  });

  test.each([
    ['a text', 'definition', 'MC003'],
    ['nothing in particular', {}, 'MC003'],
    ['a definition that is a function', { definition: () => {} }, 'MC003'],
    ['a definition that JSON cannot hold', { definition: 1n }, 'MC003'],
    ['a body that is no JSON', { body: '{' }, 'MC003'],
    ['a body that is no text', { body: Buffer.from('{}') }, 'MC003'],
    ['an error without a message', { error: 'broken' }, 'MC003'],
    ['an error that JSON cannot hold', { error: { message: 'x', n: 1n } }, 'MC003'],
    ['errors that are no list', { definition: 1, errors: 'x' }, 'MC003'],
    ['an empty error', { definition: 1, errors: [null] }, 'MC003'],
    ['dependencies that are no list', { definition: 1, dependencies: 'x' }, 'MC003'],
    ['a dependency that is none', { definition: 1, dependencies: ['../x'] }, 'MC001'],
    ['a dependency key that is none', { definition: 1, dependencyKeys: ['../x'] }, 'MC001'],
    ['a canonical path that is none', { definition: 1, canonicalPath: '/x' }, 'MC001'],
    ['a life that is over', { definition: 1, expiresInMs: 0 }, 'MC003'],
  ])('a producer that returns %s is told so, and nothing is cached', async (_, result, code) => {
    const here = lookupOn(peer, { produce: () => result as never });
    await expect(here.lookup('a.ts')).rejects.toMatchObject({ code });
    expect(await lookupOn(peer, { produce: defining(1) }).lookup('a.ts')).toMatchObject({
      source: 'produced',
    });
  });
});
