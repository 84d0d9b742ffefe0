import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { parseChange } from '../../src/coherence.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { closePeers, making, newRealm, openPeer, type Peer } from './support/peers.js';
import { CURSOR, startProxy, type TcpProxy } from './support/proxy.js';
import { invalidate } from './support/realm.js';

/** Notifications are hints: anybody who can log in can send them (DESIGN.md sections 3 and 5). */

let database: TestDatabase;
let proxy: TcpProxy;
let peer: Peer;
let realm: string;
beforeAll(async () => {
  database = await createDatabase();
  proxy = await startProxy(database.url);
});
afterAll(async () => {
  await proxy.close();
  await database.drop();
});
beforeEach(async () => {
  realm = newRealm();
  peer = await openPeer({
    connection: database.url,
    listenConnection: proxy.url,
    heartbeatMs: 60_000,
    maxStalenessMs: 120_000,
  });
  await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('a.ts', ['lib/deep/dep', 'folder']));
  await peer.cache.getOrProduce({ realm, path: 'b.ts' }, making('b.ts'));
});
afterEach(async () => {
  jest.restoreAllMocks();
  await closePeers();
});

const notify = (payload: unknown, channel = 'module_cache_invalidated') =>
  database.sql`select pg_notify(${channel}, ${typeof payload === 'string' ? payload : JSON.stringify(payload)})`;

const inMemory = (): string[] =>
  ['a.ts', 'b.ts'].filter((path) => peer.cache.peek({ realm, path }) !== undefined);

/** Notifications arrive in the order in which they were sent, so what came before this one has been handled. */
async function untilHeardAll(): Promise<void> {
  const marker = `${newRealm()}marker/`;
  await invalidate(database.sql, marker, 'marker.ts');
  await until(() => peer.of('invalidated').some((change) => change.realm === marker), {
    what: 'everything sent so far was heard',
  });
}

describe('a notification sent by hand, as the original server sent them,', () => {
  test.each([
    ['of a module', () => ({ k: 'module', r: realm, m: ['a.ts'] }), ['b.ts']],
    ['of a module by another of its names', () => ({ k: 'module', r: realm, m: ['a.js', 'c'] }), ['b.ts']],
    ['of a realm in another spelling', () => ({ k: 'realm', r: realm.replace('https', 'HTTPS') }), []],
    ['of a realm inside it', () => ({ k: 'realm', r: `${realm}lib/` }), ['b.ts']],
    [
      'of the index of a realm inside it',
      () => ({ k: 'module', r: `${realm}folder/`, m: ['index.ts'] }),
      ['b.ts'],
    ],
    ['of a realm inside it that has an index', () => ({ k: 'realm', r: `${realm}folder/` }), ['b.ts']],
    ['of everything', () => ({ k: 'global' }), []],
    ['of a transaction', () => ({ k: 'module', r: realm, m: ['b.ts'], x: '9999999999' }), ['a.ts']],
    ['of what is not here', () => ({ k: 'module', r: newRealm(), m: ['a.ts'] }), ['a.ts', 'b.ts']],
    ['of a transaction that memory has seen', () => ({ k: 'global', x: '3' }), ['a.ts', 'b.ts']],
  ])('%s drops from memory what it names, and nothing else', async (_, payload, rest) => {
    await notify(payload());
    await untilHeardAll();
    expect(inMemory()).toEqual(rest);
  });

  test('that says "read the log" does no harm', async () => {
    await notify({ k: 'log', x: '1' });
    await untilHeardAll();
    expect(inMemory()).toEqual(['a.ts', 'b.ts']);
  });
});

describe('a payload that nobody can use', () => {
  const payloads = [
    '',
    'nonsense',
    '{',
    'null',
    '7',
    '"global"',
    '[]',
    '{}',
    '{"k":"everything"}',
    '{"k":"module"}',
    '{"k":"module","r":"not a realm","m":["a.ts"]}',
    '{"k":"module","r":7,"m":["a.ts"]}',
    '{"k":"module","r":"https://a.example/","m":"a.ts"}',
    '{"k":"module","r":"https://a.example/","m":[1]}',
    '{"k":"modules","r":"https://a.example/","m":["a.ts"]}',
    '{"k":"realm"}',
    '{"k":"realm","r":"https://a.example"}',
    '{"k":"global","x":7}',
    '{"k":"global","x":""}',
    '{"k":"global","x":"-1"}',
    `{"k":"global","x":"${'9'.repeat(30)}"}`,
    '{"__proto__":{"k":"global"}}',
  ];

  test('is told to the operator and changes nothing', async () => {
    for (const payload of payloads) await notify(payload);
    for (const payload of ['', '-1', 'x', '9'.repeat(40)]) await notify(payload, 'module_cache_populated');
    await untilHeardAll();
    expect(peer.of('warning').map(({ message }) => message)).toEqual(
      payloads.map((payload) => `a malformed notification was ignored: ${payload}`),
    );
    expect(inMemory()).toEqual(['a.ts', 'b.ts']);
    expect(peer.of('disconnected')).toEqual([]);
  });

  test('whatever it is, never throws', () => {
    const known = fc.record(
      {
        k: fc.oneof(fc.constantFrom('module', 'realm', 'global', 'log'), fc.jsonValue()),
        r: fc.oneof(fc.webUrl(), fc.jsonValue()),
        m: fc.oneof(fc.array(fc.string()), fc.jsonValue()),
        x: fc.oneof(fc.nat().map(String), fc.jsonValue()),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          known.map((value) => JSON.stringify(value)),
        ),
        (payload) => {
          const change = parseChange(payload);
          if (change?.x !== undefined) BigInt(change.x);
          if (change?.k === 'module') expect(change.m?.every((path) => typeof path === 'string')).toBe(true);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe('a flood', () => {
  const flood = (payload: (n: number) => object, count: number) => database.sql`
    select pg_notify('module_cache_invalidated', p)
    from jsonb_array_elements_text(${JSON.stringify(
      Array.from({ length: count }, (_, n) => JSON.stringify(payload(n))),
    )}::text::jsonb) p`;

  test.each([
    ['by hand', (n: number) => ({ k: 'module', r: 'https://flood.example/', m: [`${n}.ts`] })],
    ['by hand, of transactions to come', (n: number) => ({ k: 'global', x: String(10 ** 15 + n) })],
    ['of news to read the log', (n: number) => ({ k: 'log', x: String(n) })],
    ['of nonsense', (n: number) => ({ nonsense: n })],
  ])('%s costs a bounded amount of work, and is right in the end', async (_, payload) => {
    const asked = proxy.sent(CURSOR);
    const told = peer.told.length;
    for (let round = 0; round < 10; round += 1) await flood(payload, 2_000);
    await invalidate(database.sql, realm, 'a.ts');
    await until(() => !inMemory().includes('a.ts'), { what: 'the invalidation after the flood was applied' });
    expect(peer.told.length - told).toBeLessThan(2_500);
    expect(proxy.sent(CURSOR) - asked).toBeLessThan(30);
  });

  test('hides no invalidation that comes with it: what is not taken one by one is read from the log', async () => {
    await database.sql.begin(async (tx) => {
      await tx`
        select pg_notify('module_cache_invalidated',
          json_build_object('k', 'realm', 'r', 'https://flood.example/', 'x', (10 ^ 15)::bigint + n || '')::text)
        from generate_series(1, 2000) n`;
      await tx`select module_cache.invalidate(${realm}, array['a.ts'])`;
    });
    await until(() => !inMemory().includes('a.ts'), { what: 'the invalidation was applied' });
  });
});

test('its own echo does not drop what a process has got since, and an invalidation is announced once', async () => {
  const other = await openPeer({ connection: database.url });
  proxy.hold();
  await peer.cache.invalidate(realm, ['a.ts']);
  await other.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'));
  await peer.cache.get({ realm, path: 'a.ts' });
  proxy.release();
  await untilHeardAll();
  expect(peer.cache.peek({ realm, path: 'a.ts' })?.body).toBe('new');
  expect(peer.of('invalidated').filter((change) => change.realm === realm)).toHaveLength(1);
});

test('two invalidations of one module in one transaction arrive as one, and that does no harm', async () => {
  await database.sql.begin(async (tx) => {
    await tx`select module_cache.invalidate(${realm}, array['a.ts'])`;
    await tx`select module_cache.invalidate(${realm}, array['a.ts'])`;
  });
  await untilHeardAll();
  expect(inMemory()).toEqual(['b.ts']);
});

test('a fan-out over more than one notification drops all that it names', async () => {
  const paths = Array.from({ length: 400 }, (_, n) => `${'x'.repeat(30)}${n}.ts`);
  for (const path of [paths[0], paths[200], paths[399]]) {
    await peer.cache.getOrProduce({ realm, path: path as string }, making('x'));
  }
  await invalidate(database.sql, realm, ...paths);
  await untilHeardAll();
  expect(paths.filter((path) => peer.cache.peek({ realm, path }) !== undefined)).toEqual([]);
});

test('a listener of the application that throws keeps no invalidation from being applied', async () => {
  const uncaught: unknown[] = [];
  const { nextTick } = process;
  jest.spyOn(process, 'nextTick').mockImplementation((call, ...args) => {
    nextTick(() => {
      try {
        (call as (...args: unknown[]) => void)(...args);
      } catch (error) {
        uncaught.push(error);
      }
    });
  });
  peer.cache.events.on('invalidated', () => {
    throw new Error('a mistake of the application');
  });
  peer.cache.events.on('hit', () => {
    throw new Error('a mistake of the application');
  });
  expect((await peer.cache.get({ realm, path: 'b.ts' }))?.body).toBe('b.ts');
  await database.sql.begin(async (tx) => {
    await tx`select module_cache.invalidate(${realm}, array['a.ts'])`;
    await tx`select module_cache.clear_realm(${realm})`;
  });
  await until(() => inMemory().length === 0, { what: 'both invalidations were applied' });
  await until(() => uncaught.length >= 3, { what: 'each mistake was reported' });
  expect(peer.of('disconnected')).toEqual([]);
});
