import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { closePeers, making, newRealm, openPeer, type Peer } from './support/peers.js';
import { CURSOR, startProxy, type TcpProxy } from './support/proxy.js';
import { stored } from './support/realm.js';

/** The invalidation is part of the caller's transaction, and never the reason why it fails (invariants 2 and 7). */

let database: TestDatabase;
let realm: string;
let proxy: TcpProxy;
beforeAll(async () => {
  database = await createDatabase();
  await database.sql`create table files (path text primary key, source text not null)`;
});
afterAll(() => database.drop());
beforeEach(async () => {
  realm = newRealm();
  proxy = await startProxy(database.url);
  await database.sql`truncate files`;
});
afterEach(async () => {
  await closePeers();
  await proxy.close();
});

const peek = ({ cache }: Peer): string | undefined => cache.peek({ realm, path: 'a.ts' })?.body;
const fill = ({ cache }: Peer) => cache.getOrProduce({ realm, path: 'a.ts' }, making('old'));
const invalidations = async (): Promise<number> =>
  (await database.sql`select from module_cache.invalidations where realm_url = ${realm}`).length;

describe.each([['notify'], ['log']] as const)(
  'in the transaction that changes the source (broadcast %s)',
  (broadcast) => {
    let writer: Peer;
    let reader: Peer;
    beforeEach(async () => {
      writer = await openPeer({ connection: database.url, broadcast });
      reader = await openPeer({ connection: database.url, listenConnection: proxy.url, broadcast });
      await fill(writer);
      await fill(reader);
    });

    test('the change and its invalidation become visible together, and not before', async () => {
      const { token, modules } = await database.sql.begin(async (tx) => {
        await tx`insert into files values ('a.ts', 'new')`;
        const done = await writer.cache.invalidate(realm, ['a.ts'], { tx });
        expect([peek(writer), peek(reader)]).toEqual(['old', 'old']);
        expect((await reader.cache.get({ realm, path: 'a.ts' }, { consistency: 'strong' }))?.body).toBe(
          'old',
        );
        return done;
      });
      expect(modules).toEqual([{ realm, path: 'a.ts' }]);
      expect(await reader.cache.get({ realm, path: 'a.ts' }, { after: token })).toBeUndefined();
      await until(() => peek(writer) === undefined && peek(reader) === undefined, {
        what: 'both have heard',
      });
    });

    test('a rollback leaves no trace', async () => {
      const rolledBack = database.sql.begin(async (tx) => {
        await tx`insert into files values ('a.ts', 'new')`;
        await writer.cache.invalidate(realm, ['a.ts'], { tx });
        await writer.cache.clearRealm(realm, { tx });
        await writer.cache.clearAll({ tx });
        throw new Error('no');
      });
      await expect(rolledBack).rejects.toThrow('no');
      expect(await invalidations()).toBe(0);
      const asked = proxy.sent(CURSOR);
      await until(() => proxy.sent(CURSOR) > asked + 1, { what: 'a heartbeat has passed' });
      expect([peek(writer), peek(reader)]).toEqual(['old', 'old']);
      expect(await stored(database.sql, realm)).toMatchObject([{ status: 'live' }]);
    });

    test('a savepoint that is rolled back takes its invalidation along, and the rest commits', async () => {
      await database.sql.begin(async (tx) => {
        await tx
          .savepoint(async (savepoint) => {
            await writer.cache.invalidate(realm, ['a.ts'], { tx: savepoint });
            throw new Error('no');
          })
          .catch(() => {});
        await writer.cache.invalidate(realm, ['b.ts'], { tx });
      });
      expect(await invalidations()).toBe(1);
      await until(() => reader.of('invalidated').length === 1, { what: 'the reader has heard' });
      expect(peek(reader)).toBe('old');
    });

    test.each([['repeatable read'], ['serializable']])('%s commits', async (isolation) => {
      await database.sql.begin(`isolation level ${isolation}`, async (tx) => {
        await tx`insert into files values ('a.ts', 'new')`;
        await writer.cache.invalidate(realm, ['a.ts'], { tx });
        await writer.cache.clearRealm(realm, { tx });
        await writer.cache.clearAll({ tx });
      });
      await until(() => peek(reader) === undefined, { what: 'the reader has heard' });
    });
  },
);

test('a path that nothing can be called by does not make the transaction fail: it is ignored and counted', async () => {
  const { cache } = await openPeer({ connection: database.url });
  const odd = [
    '',
    '/a.ts',
    '../a.ts',
    'a\0b.ts',
    'a\ud800.ts',
    'x'.repeat(3_000),
    'a?b',
    'a#b',
    null,
    undefined,
    7,
    {},
  ];
  const { modules } = await database.sql.begin(async (tx) => {
    await tx`insert into files values ('a.ts', 'new')`;
    return cache.invalidate(realm, [...(odd as string[]), 'a.ts'], { tx });
  });
  expect(modules).toEqual([{ realm, path: 'a.ts' }]);
  expect(await database.sql`select path from files`).toHaveLength(1);
  const [row] = await database.sql`select ignored from module_cache.invalidations where realm_url = ${realm}`;
  expect(Number(row?.ignored)).toBe(odd.length);
  expect((await cache.invalidate(realm, odd as string[])).modules).toEqual([]);
});

test('100,000 paths in one call are invalidated, here and in other processes', async () => {
  const writer = await openPeer({ connection: database.url });
  const reader = await openPeer({ connection: database.url });
  await fill(reader);
  const paths = Array.from({ length: 100_000 }, (_, n) => (n === 77_777 ? 'a.ts' : `m/${n}.ts`));
  const { modules } = await writer.cache.invalidate(realm, paths);
  expect(modules).toHaveLength(paths.length);
  await until(() => peek(reader) === undefined, { what: 'the reader has heard' });
});

test('an invalidation of its own is applied here at once, without waiting for the echo', async () => {
  const peer = await openPeer({ connection: database.url, listenConnection: proxy.url });
  proxy.hold();
  for (const clear of [
    () => peer.cache.invalidate(realm, ['a']),
    () => peer.cache.clearRealm(realm),
    () => peer.cache.clearAll(),
  ]) {
    await peer.cache.get({ realm, path: 'a.ts' });
    const [live] = await stored(database.sql, realm);
    if (live?.status !== 'live') {
      await database.sql`
        select module_cache.put(${realm}, 'a.ts', 'transpile', '', 'old', '{}', '{}', g.token)
        from module_cache.get(${realm}, 'a.ts') g`;
      await peer.cache.get({ realm, path: 'a.ts' });
    }
    expect(peek(peer)).toBe('old');
    await clear();
    expect(peek(peer)).toBeUndefined();
  }
  proxy.release();
});

test('a fan-out names every module that it reached, importers of other realms included', async () => {
  const { cache } = await openPeer({ connection: database.url });
  const elsewhere = newRealm();
  await cache.getOrProduce({ realm, path: 'a.ts' }, making('a', ['b']));
  await cache.getOrProduce({ realm, path: 'b.ts' }, making('b', ['c']));
  await cache.getOrProduce({ realm: elsewhere, path: 'd.ts' }, making('d', [`${realm}a.ts`]));
  const { modules } = await cache.invalidate(realm, ['c.ts']);
  const names = modules.map((module) => module.realm + module.path).sort();
  expect(names).toEqual([`${realm}a.ts`, `${realm}b.ts`, `${realm}c.ts`, `${elsewhere}d.ts`].sort());
  expect(cache.stats().entries).toBe(0);
});
