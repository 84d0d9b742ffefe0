import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import {
  type ArtifactRequest,
  type ModuleCacheOptions,
  openModuleCache,
  type ReadOptions,
} from '../../src/index.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { closePeers, making, notAsked, openPeer, type Peer } from './support/peers.js';

/** Each a clear error with a hint, and the database as it was. */

const realm = 'https://bad.example/app/';
let database: TestDatabase;
let empty: TestDatabase;
let peer: Peer;
beforeAll(async () => {
  [database, empty] = await Promise.all([createDatabase(), createDatabase({ template: false })]);
});
afterAll(() => Promise.all([database.drop(), empty.drop()]));
beforeEach(async () => {
  peer = await openPeer({ connection: database.url });
});
afterEach(closePeers);

const state = async (): Promise<unknown> => [
  ...(await database.sql`select count(*)::text from module_cache.artifacts`),
  ...(await database.sql`select count(*)::text from module_cache.invalidations`),
  ...(await database.sql`select count(*)::text from pg_locks where locktype = 'advisory' and objsubid = 1
    and database = (select oid from pg_database where datname = current_database())`),
];
const clear = (code: string) =>
  expect.objectContaining({
    name: 'ModuleCacheError',
    code,
    message: expect.not.stringContaining('undefined'),
    detail: expect.any(String),
    hint: expect.stringMatching(/^[A-Z].{10,}\.$/s),
  });

const requests: [string, unknown][] = [
  ['nothing', undefined],
  ['null', null],
  ['a realm without a trailing slash', { realm: 'https://bad.example/app', path: 'a.ts' }],
  ['a realm that is no URL', { realm: 'app/', path: 'a.ts' }],
  ['a realm with a query', { realm: 'https://bad.example/?a/', path: 'a.ts' }],
  ['a realm with a user', { realm: 'https://me:secret@bad.example/', path: 'a.ts' }],
  ['a realm that is a number', { realm: 7, path: 'a.ts' }],
  ['no path', { realm }],
  ['an empty path', { realm, path: '' }],
  ['a path that is a number', { realm, path: 7 }],
  ['a path over the limit', { realm, path: 'x'.repeat(2_001) }],
  ['a path over the limit in bytes', { realm, path: '☃'.repeat(700) }],
  ['a path with ..', { realm, path: 'a/../b.ts' }],
  ['a path with a leading slash', { realm, path: '/a.ts' }],
  ['a path with a NUL', { realm, path: 'a\0.ts' }],
  ['a path with half a character', { realm, path: 'a\ud800.ts' }],
  ['a path with a query', { realm, path: 'a.ts?x' }],
  ['an empty kind', { realm, path: 'a.ts', kind: '' }],
  ['an over-long kind', { realm, path: 'a.ts', kind: 'k'.repeat(65) }],
  ['a kind that is a number', { realm, path: 'a.ts', kind: 7 }],
  ['an over-long variant', { realm, path: 'a.ts', variant: 'v'.repeat(501) }],
  ['a variant with a NUL', { realm, path: 'a.ts', variant: '\0' }],
];

test.each(requests)('%s is no artifact', async (_, request) => {
  const before = await state();
  const bad = request as ArtifactRequest;
  await expect(peer.cache.get(bad)).rejects.toEqual(clear('MC001'));
  await expect(peer.cache.getOrProduce(bad, notAsked)).rejects.toEqual(clear('MC001'));
  expect(peer.cache.peek(bad)).toBeUndefined();
  expect(await state()).toEqual(before);
});

test.each([
  ['a consistency that is none', { consistency: 'strogn' }, 'MC003'],
  ['a token that is garbage', { after: 'garbage' }, 'MC002'],
  ['an empty token', { after: '' }, 'MC002'],
  ['a token that is a number', { after: 7 }, 'MC003'],
  ['a token of get', { after: `${'0'.repeat(32)}-1/3:3:` }, 'MC002'],
  ['a deadline of nothing', { deadlineMs: 0 }, 'MC003'],
  ['a deadline in the past', { deadlineMs: -5 }, 'MC003'],
  ['a deadline that is no number', { deadlineMs: Number.NaN }, 'MC003'],
  ['a signal that is none', { signal: {} }, 'MC003'],
])('%s is no way to read', async (_, read, code) => {
  const before = await state();
  const bad = read as unknown as ReadOptions;
  await expect(peer.cache.get({ realm, path: 'a.ts' }, bad)).rejects.toEqual(clear(code));
  await expect(peer.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked, bad)).rejects.toEqual(clear(code));
  expect(await state()).toEqual(before);
});

test.each([[undefined], [null], ['text'], [{}]])('%j is no producer', async (producer) => {
  await expect(peer.cache.getOrProduce({ realm, path: 'a.ts' }, producer as never)).rejects.toEqual(
    clear('MC003'),
  );
});

describe('an invalidation', () => {
  test.each([
    ['of a realm that is none', () => peer.cache.invalidate('nonsense', ['a.ts']), 'MC001'],
    ['of nothing', () => peer.cache.invalidate(realm, undefined as never), 'MC003'],
    ['of a text', () => peer.cache.invalidate(realm, 'a.ts' as never), 'MC003'],
    ['in what is no transaction', () => peer.cache.invalidate(realm, ['a.ts'], { tx: {} as never }), 'MC003'],
    ['of a realm that is none, whole', () => peer.cache.clearRealm('https://bad.example'), 'MC001'],
    [
      'of a realm, in what is no transaction',
      () => peer.cache.clearRealm(realm, { tx: 'tx' as never }),
      'MC003',
    ],
    ['of everything, in what is no transaction', () => peer.cache.clearAll({ tx: 7 as never }), 'MC003'],
  ])('%s is refused', async (_, call, code) => {
    const before = await state();
    await expect(call()).rejects.toEqual(clear(code));
    expect(await state()).toEqual(before);
  });

  test('that is refused before it is sent leaves the transaction of its caller usable', async () => {
    await database.sql.begin(async (tx) => {
      await expect(peer.cache.invalidate('nonsense', ['a.ts'], { tx })).rejects.toEqual(clear('MC001'));
      await expect(peer.cache.invalidate(realm, null as never, { tx })).rejects.toEqual(clear('MC003'));
      expect(await tx`select 1 as one`).toMatchObject([{ one: 1 }]);
    });
  });

  test('of no path at all does nothing', async () => {
    expect((await peer.cache.invalidate(realm, [])).modules).toEqual([]);
  });
});

describe('a cache is not opened', () => {
  const opening = (options: unknown) => openModuleCache(options as ModuleCacheOptions);
  const never = () => database.url;

  test.each([
    ['without options', undefined],
    ['without a connection', {}],
    ['with an unset DATABASE_URL', { connection: undefined }],
    ['with an empty DATABASE_URL', { connection: '' }],
    ['with a connection that is null', { connection: null }],
    ['with a connection that is a number', { connection: 5432 }],
    ['with a connection that is no URL', { connection: 'nonsense' }],
  ])('%s', async (_, options) => {
    await expect(opening(options)).rejects.toEqual(clear('MC107'));
  });

  test.each([
    ['no memory', { l1: { maxBytes: 0 } }],
    ['half a byte of memory', { l1: { maxBytes: 0.5 } }],
    ['memory without end', { l1: { maxBytes: Number.POSITIVE_INFINITY } }],
    ['a heartbeat that is no number', { heartbeatMs: Number.NaN }],
    ['a heartbeat as long as maxStaleness', { heartbeatMs: 500, maxStalenessMs: 500 }],
    ['a negative staleness', { maxStalenessMs: -1 }],
    ['a deadline that is text', { deadlineMs: '5' }],
    ['no patience', { claimPatienceMs: 0 }],
    ['a broadcast that is none', { broadcast: 'shout' }],
    ['a name with a NUL', { name: 'a\0b' }],
    ['a name that is a number', { name: 7 }],
  ])('with %s', async (_, options) => {
    await expect(opening({ connection: never(), ...options })).rejects.toEqual(clear('MC107'));
  });

  test('on a database without the schema', async () => {
    await expect(opening({ connection: empty.url })).rejects.toMatchObject({
      code: 'MC004',
      hint: expect.stringContaining('module-cache migrate'),
    });
    const left = await empty.sql`select from pg_stat_activity where application_name like 'pg-module-cache%'
      and datname = current_database()`;
    expect(left).toHaveLength(0);
  });

  test.each([
    ['that is older than it can be', 'schema_version', '0.0.9', /schema 0\.0\.9, client \d+\.\d+\.\d+/],
    ['for newer clients', 'oldest_client', '99.0.0', /client \d+\.\d+\.\d+, schema .* from 99\.0\.0 on/],
  ])('on a schema %s: both versions are named', async (_, name, version, detail) => {
    const { sql } = database;
    await sql.unsafe(`alter function module_cache.${name}() rename to own_version`);
    await sql.unsafe(
      `create function module_cache.${name}() returns text language sql as $$ select '${version}' $$`,
    );
    try {
      await expect(opening({ connection: database.url })).rejects.toEqual(clear('MC004'));
      await expect(opening({ connection: database.url })).rejects.toMatchObject({
        detail: expect.stringMatching(detail),
      });
    } finally {
      await sql.unsafe(`drop function module_cache.${name}()`);
      await sql.unsafe(`alter function module_cache.own_version() rename to ${name}`);
    }
  });

  test('on a newer schema that still works with it opens', async () => {
    const { sql } = database;
    await sql.unsafe(`alter function module_cache.schema_version() rename to own_version`);
    await sql.unsafe(
      `create function module_cache.schema_version() returns text language sql as $$ select '9.0.0' $$`,
    );
    try {
      const cache = await openModuleCache({ connection: database.url });
      await cache.close();
    } finally {
      await sql.unsafe(`drop function module_cache.schema_version()`);
      await sql.unsafe(`alter function module_cache.own_version() rename to schema_version`);
    }
  });

  test('where nobody listens, by the error of the network', async () => {
    await expect(opening({ connection: 'postgres://127.0.0.1:1/none' })).rejects.toThrow(/ECONNREFUSED/);
  });

  test('for a role that may not use it, by the error of the database', async () => {
    await database.sql`create role nobody_special login password 'x'`;
    try {
      const url = Object.assign(new URL(database.url), { username: 'nobody_special', password: 'x' }).href;
      await expect(opening({ connection: url })).rejects.toMatchObject({
        code: '42501',
        message: expect.stringContaining('permission denied'),
      });
    } finally {
      await database.sql`drop role nobody_special`;
    }
  });

  test('with its memory somewhere else than its listener: it would never hear', async () => {
    const elsewhere = await createDatabase();
    try {
      await expect(opening({ connection: database.url, listenConnection: elsewhere.url })).rejects.toEqual(
        clear('MC101'),
      );
    } finally {
      await elsewhere.drop();
    }
  });
});

test('memory for a single byte keeps nothing, and the cache works', async () => {
  const small = await openPeer({ connection: database.url, l1: { maxBytes: 1 } });
  await small.cache.getOrProduce({ realm, path: 'a.ts' }, making('a'));
  expect(await small.cache.get({ realm, path: 'a.ts' })).toMatchObject({ source: 'l2' });
  expect(small.cache.stats()).toMatchObject({ entries: 0, bytes: 0 });
});

test('a realm in another spelling is the same realm', async () => {
  await peer.cache.getOrProduce({ realm: 'HTTPS://Bad.Example/app/', path: 'spelled.ts' }, making('a'));
  expect(peer.cache.peek({ realm, path: 'spelled.ts' })?.body).toBe('a');
  await peer.cache.invalidate('https://BAD.example/app/', ['spelled.ts']);
  expect(peer.cache.peek({ realm, path: 'spelled.ts' })).toBeUndefined();
  await until(() => peer.of('invalidated').length === 1, { what: 'it is told' });
});
