import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import postgres, { type Options, type PostgresType } from 'postgres';
import { only, type Queryable } from '../../src/calls.js';
import type { Connection } from '../../src/index.js';
import { openPool } from '../../src/pool.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { startBouncer } from '../support/pgbouncer.js';
import { until } from '../support/wait.js';
import { describeWith } from '../support/with-programs.js';
import { openInstance } from './support/instance.js';
import { closePeers, gate, making, newRealm, notAsked, openPeer, type Peer } from './support/peers.js';
import { startProxy } from './support/proxy.js';
import { invalidate } from './support/realm.js';

let database: TestDatabase;
let realm: string;
const cleanUps: (() => Promise<unknown> | unknown)[] = [];
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());
beforeEach(() => {
  realm = newRealm();
});
afterEach(async () => {
  await closePeers();
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

const options = (): Options<Record<string, PostgresType>> => {
  const { hostname, port, username, password, pathname } = new URL(database.url);
  return {
    host: hostname,
    port: Number(port),
    username,
    password: decodeURIComponent(password),
    database: pathname.slice(1),
  };
};

/** Keeps its connection to itself for a while. */
const pidOf = async (sql: Queryable): Promise<unknown> =>
  only(await sql`select pg_backend_pid()::text, pg_sleep(${'0.2'}::text::float8)::text`.values())[0];

const sessions = (name: string) => database.sql<{ pid: number; query: string }[]>`
  select pid, query from pg_stat_activity where application_name = ${name}`;

/** All that a cache does, once. */
async function exercise(peer: Peer, other: Peer): Promise<void> {
  const request = { realm, path: 'a.ts', kind: 'my kind', variant: 'snake_case' };
  const headers = { snake_case: [1, { camelCase: null }], 'x-date': '2026-01-01T00:00:00Z' };
  const product = { body: "'quoted' \\ ☃", headers, dependencyKeys: ['b.ts', 'https://other.example/c'] };
  const { produce, begun, finish } = gate();
  const made = peer.cache.getOrProduce(request, produce);
  await begun();
  const waiting = other.cache.getOrProduce(request, notAsked);
  finish(product);
  await made;
  const expected = {
    status: 'hit',
    body: product.body,
    headers,
    dependencyKeys: ['b', 'https://other.example/c'],
  };
  expect(await waiting).toMatchObject(expected);
  expect(peer.cache.peek(request)).toMatchObject(expected);
  await invalidate(database.sql, realm, 'b.ts');
  await until(() => peer.cache.peek(request) === undefined, { what: 'the dependency was heard of' });
  expect(await peer.cache.get(request)).toBeUndefined();
  await peer.cache.getOrProduce(request, () => ({ body: 'an error', isError: true, expiresInMs: 1e9 }));
  expect(await other.cache.get(request, { consistency: 'strong' })).toMatchObject({ status: 'error' });
  expect(await other.cache.get(request, { consistency: 'strong' })).toMatchObject({ source: 'l1' });
  const { token, modules } = await peer.cache.invalidate(realm, ['a.ts']);
  expect(modules).toEqual([{ realm, path: 'a.ts' }]);
  expect(await other.cache.get(request, { after: token })).toBeUndefined();
  await peer.cache.clearRealm(realm);
  await peer.cache.clearAll();
  expect(peer.of('warning')).toEqual([]);
  expect(other.of('warning')).toEqual([]);
}

describe('works with', () => {
  const upper = { ...postgres.pascal, undefined: null };
  const cases: [string, () => Connection][] = [
    ['a URL', () => database.url],
    ['options', () => ({ ...options(), max: 2 })],
    ['an instance', () => instance({})],
    ['an instance that turns names into camel case', () => instance({ transform: postgres.camel })],
    ['an instance that turns names into pascal case', () => instance({ transform: upper })],
    [
      'an instance that changes values and rows',
      () =>
        instance({
          transform: {
            undefined: null,
            column: { to: (name) => name.toUpperCase(), from: (name) => name.toUpperCase() },
            value: { from: (value) => (value === null ? undefined : value) },
          },
        }),
    ],
    [
      'an instance with types of its own',
      () =>
        instance({
          types: {
            json: { to: 114, from: [114, 3802], serialize: () => 'wrong', parse: () => 'wrong' },
            bool: { to: 16, from: [16], serialize: () => 'wrong', parse: () => 'wrong' },
            number: { to: 20, from: [20, 23, 1700], serialize: String, parse: () => Number.NaN },
            list: { to: 1009, from: [1009], serialize: () => 'wrong', parse: () => 'wrong' },
          } as never,
        }),
    ],
    ['an instance that does not fetch types', () => instance({ fetch_types: false })],
    ['an instance that prepares nothing', () => instance({ prepare: false })],
    ['an instance of one connection', () => instance({ max: 1 })],
  ];
  function instance(more: Options<Record<string, PostgresType>>): Connection {
    const opened = openInstance(database.url, more);
    cleanUps.push(opened.close);
    return opened.sql;
  }

  test.each(cases)('%s', async (_, connection) => {
    await exercise(
      await openPeer({ connection: connection() }),
      await openPeer({ connection: connection() }),
    );
  });
});

describe('a role whose sessions', () => {
  let role: { url: string; name: string };
  beforeAll(async () => {
    const name = `peer_${newRealm().replace(/\W/g, '_')}`;
    await database.sql.unsafe(`create role ${name} login password 'secret' in role module_cache_operator`);
    role = { name, url: Object.assign(new URL(database.url), { username: name, password: 'secret' }).href };
  });
  afterAll(async () => {
    await database.sql.unsafe(`drop role ${role.name}`);
  });
  const alter = async (setting: string, value: string): Promise<void> => {
    await database.sql.unsafe(`alter role ${role.name} set ${setting} = '${value}'`);
    cleanUps.push(() => database.sql.unsafe(`alter role ${role.name} reset ${setting}`));
  };

  test.each([
    ['begin SERIALIZABLE', 'default_transaction_isolation', 'serializable'],
    ['begin REPEATABLE READ', 'default_transaction_isolation', 'repeatable read'],
    ['begin read-only', 'default_transaction_read_only', 'on'],
  ])('%s has a cache that works like any other', async (_, setting, value) => {
    await alter(setting, value);
    await exercise(await openPeer({ connection: role.url }), await openPeer({ connection: role.url }));
  });

  test.each([['serializable'], ['repeatable read']])(
    'begin %s needs no transactions around single statements',
    async (isolation) => {
      await alter('default_transaction_isolation', isolation);
      const proxy = await startProxy(role.url);
      cleanUps.push(() => proxy.close());
      const peer = await openPeer({ connection: proxy.url });
      await exercise(peer, await openPeer({ connection: role.url }));
      // A connection that is lost inside of one would end the process (postgres.js 3.4).
      expect(proxy.sent('begin ')).toBe(0);
    },
  );

  test.each([['by its role'], ['in its URL']])(
    'are ended when they are idle keeps its dedicated connection (%s)',
    async (where) => {
      const url = where === 'in its URL' ? `${role.url}?idle_session_timeout=200` : role.url;
      if (where === 'by its role') await alter('idle_session_timeout', '200');
      const peer = await openPeer({ connection: url, heartbeatMs: 60_000, maxStalenessMs: 120_000 });
      await until(async () => (await sessions(peer.name)).length <= 1, {
        what: 'the pool has lost its sessions',
      });
      const other = openInstance(url, { max: 1 });
      cleanUps.push(other.close);
      const [session] = await other.sql`select pg_backend_pid() as pid`;
      await until(
        async () =>
          (await database.sql`select from pg_stat_activity where pid = ${session?.pid}`).length === 0,
        { what: 'an idle session of the role was ended' },
      );
      expect(peer.of('disconnected')).toEqual([]);
      await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('a'));
      await invalidate(database.sql, realm, 'a.ts');
      await until(() => peer.of('invalidated').length === 1, { what: 'it still hears' });
    },
  );

  test('may not run long keeps its dedicated connection usable', async () => {
    await alter('statement_timeout', '300');
    const peer = await openPeer({ connection: role.url, heartbeatMs: 100 });
    const lock = await database.sql.reserve();
    try {
      await lock`begin`;
      await lock`lock table module_cache._epochs in access exclusive mode`;
      const began = performance.now();
      await until(() => performance.now() - began > 500, { what: 'the catch-up takes longer than that' });
    } finally {
      await lock`rollback`;
      lock.release();
    }
    await until(() => peer.cache.stats().fresh, { what: 'it goes on' });
    expect(peer.of('warning')).toEqual([]);
  });
});

describe('the application, whose instance is used,', () => {
  test('sees nothing of the dedicated connection in it', async () => {
    const seen: string[] = [];
    const debugged: string[] = [];
    const { sql, close } = openInstance(database.url, {
      onparameter: (name: string) => seen.push(name),
      debug: (_: number, query: string) => debugged.push(query),
      onnotice: () => {},
    } as never);
    cleanUps.push(close);
    await sql`select 1`;
    const { parameters } = sql;
    const before = { ...parameters };
    seen.length = 0;
    const proxy = await startProxy(database.url);
    cleanUps.push(() => proxy.close());
    const peer = await openPeer({ connection: sql });
    await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('a'));
    expect(parameters).toEqual(before);
    expect(seen).toEqual([]);
    expect(debugged.filter((query) => /listen|changes_since/.test(query))).toEqual([]);
  });

  test('is not slowed down by the attempts to reconnect', async () => {
    const proxy = await startProxy(database.url);
    cleanUps.push(() => proxy.close());
    const { sql, close } = openInstance(database.url, { max: 1 });
    cleanUps.push(close);
    const peer = await openPeer({ connection: sql, listenConnection: proxy.url });
    const throughIt = await openPeer({ connection: sql });
    const { shared } = sql.options as unknown as { shared: { retries: number } };
    await database.sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = ${throughIt.name}`;
    await until(() => throughIt.of('disconnected').length === 1, { what: 'the connection is lost' });
    await until(() => throughIt.of('caught-up').length === 1, { what: 'it is back' });
    expect(shared.retries).toBe(0);
    expect(peer.of('disconnected')).toEqual([]);
  });

  test('has a query fail half-way through its rows: the next answer on that connection is not lost', async () => {
    const { sql, close } = openInstance(database.url, { max: 1 });
    cleanUps.push(close);
    const peer = await openPeer({ connection: sql });
    const failHalfWay = () =>
      expect(sql`select 1 / (5 - g) from generate_series(1, 10) g`).rejects.toThrow('division by zero');
    await failHalfWay();
    expect(await peer.cache.get({ realm, path: 'a.ts' })).toBeUndefined();
    await peer.cache.getOrProduce({ realm, path: 'a.ts' }, () => failHalfWay().then(() => ({ body: 'a' })));
    expect(peer.of('produced')).toMatchObject([{ reason: 'stored' }]);
    await failHalfWay();
    expect((await peer.cache.invalidate(realm, ['a.ts'])).modules).toHaveLength(1);
    await failHalfWay();
    await peer.cache.clearRealm(realm);
    const other = openInstance(database.url, { max: 1 });
    cleanUps.push(other.close);
    await expect(other.sql`select 1 / (5 - g) from generate_series(1, 10) g`).rejects.toThrow();
    await openPeer({ connection: other.sql });
  });
});

describe('the pool of its own', () => {
  test('has as many connections as its URL says, and no more', async () => {
    const peer = await openPeer({ connection: `${database.url}?max=3` });
    const lock = await database.sql.reserve();
    await lock`begin`;
    await lock`lock table module_cache._artifacts in access exclusive mode`;
    const reading = Array.from({ length: 10 }, (_, n) => peer.cache.get({ realm, path: `${n}.ts` }));
    const ofPool = async () =>
      (await sessions(peer.name)).filter(({ query }) => query.includes('module_cache.get(')).length;
    try {
      await until(async () => (await ofPool()) === 3, { what: 'all of them are at work' });
    } finally {
      await lock`rollback`;
      lock.release();
    }
    expect(await Promise.all(reading)).toEqual(Array(10).fill(undefined));
    expect(await ofPool()).toBeLessThanOrEqual(3);
  });

  test.each([['0'], ['-1'], ['1.5'], ['many']])('of a size of "%s" is refused', async (max) => {
    const refused = { code: 'MC107', detail: `max: ${max}`, hint: expect.any(String) };
    await expect(openPeer({ connection: `${database.url}?max=${max}` })).rejects.toMatchObject(refused);
    const given = { ...options(), max: max as unknown as number };
    await expect(openPeer({ connection: given })).rejects.toMatchObject(refused);
    const number = { ...options(), max: Number(max) };
    await expect(openPeer({ connection: number })).rejects.toMatchObject({ code: 'MC107' });
  });

  test.each([
    [undefined, 10],
    [2, 2],
    ['2', 2],
  ])('is as large as its options say (%p: %d)', async (max, size) => {
    const connection = { ...options(), max: max as number };
    const pool = await openPool(connection, 'sized');
    expect(pool.size).toBe(size);
    const pids = await Promise.all(Array.from({ length: 12 }, () => pool.run(pidOf)));
    await pool.close();
    expect(new Set(pids).size).toBe(size);
  });

  test('answers at once after all its connections were lost under load', async () => {
    const peer = await openPeer({ connection: database.url });
    const strong = { consistency: 'strong', deadlineMs: 5_000 } as const;
    let stop = false;
    let answers = 0;
    const callers = Array.from({ length: 30 }, async (_, n) => {
      while (!stop) {
        // As a busy server does: the next request is there as soon as this one has failed.
        await peer.cache.get({ realm, path: `${n}.ts` }, strong).catch(() => {});
        answers += 1;
      }
    });
    for (let round = 0; round < 3; round += 1) {
      const before = answers;
      await until(() => answers > before + 200, { what: 'the load is on' });
      await database.sql`
        select pg_terminate_backend(pid) from pg_stat_activity where application_name = ${peer.name}`;
      const asked = Array.from({ length: 30 }, (_, n) =>
        until(
          () =>
            peer.cache.get({ realm, path: `${n}.js` }, strong).then(
              () => true,
              () => false,
            ),
          {
            timeoutMs: 4_000,
            what: 'the database answers',
          },
        ),
      );
      await Promise.all(asked);
    }
    stop = true;
    await Promise.all(callers);
    await peer.cache.close();
    await until(async () => (await sessions(peer.name)).length === 0, { what: 'all of them are closed' });
  });

  test('fails instead of waiting for a server that is not behind its balancer', async () => {
    const proxy = await startProxy(database.url);
    cleanUps.push(() => proxy.close());
    proxy.door = 'close';
    await expect(openPeer({ connection: proxy.url, listenConnection: database.url })).rejects.toThrow(
      'closed before the server answered',
    );
    proxy.door = 'accept';
    const peer = await openPeer({ connection: proxy.url, listenConnection: database.url });
    proxy.door = 'close';
    proxy.cut();
    await expect(
      until(() => peer.cache.get({ realm, path: 'a.ts' }).then(() => false), { what: 'it fails' }),
    ).rejects.toMatchObject({ code: 'MC108' });
    proxy.door = 'accept';
    await until(
      () =>
        peer.cache.get({ realm, path: 'a.ts' }).then(
          () => true,
          () => false,
        ),
      { what: 'it is back' },
    );
  });

  test('asks for nothing but single statements, also with broadcast "log"', async () => {
    const proxy = await startProxy(database.url);
    cleanUps.push(() => proxy.close());
    const peer = await openPeer({ connection: proxy.url, broadcast: 'log' });
    await exercise(peer, await openPeer({ connection: database.url, broadcast: 'log' }));
    expect(proxy.sent('begin ')).toBe(0);
  });
});

describe('the dedicated connection', () => {
  test('is one, besides the pool, whatever happens to it', async () => {
    const { sql, close } = openInstance(database.url);
    cleanUps.push(close);
    const peer = await openPeer({ connection: sql });
    const counted: number[] = [];
    for (let round = 1; round <= 5; round += 1) {
      await Promise.all(
        Array.from({ length: 20 }, (_, n) =>
          peer.cache.getOrProduce({ realm, path: `${round}/${n}.ts` }, making('x')),
        ),
      );
      await database.sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = ${peer.name}`;
      await until(() => peer.of('caught-up').length === round, { what: 'it is back' });
      counted.push((await sessions(peer.name)).length);
    }
    expect(Math.max(...counted)).toBe(1);
    await peer.cache.close();
    await until(async () => (await sessions(peer.name)).length === 0, { what: 'it is closed' });
  });

  test('leaves none behind when it is lost with many questions on their way, and hundreds behind them', async () => {
    const { sql, close } = openInstance(database.url);
    cleanUps.push(close);
    const proxy = await startProxy(database.url);
    cleanUps.push(() => proxy.close());
    const peer = await openPeer({
      connection: sql,
      listenConnection: proxy.url,
      heartbeatMs: 60_000,
      maxStalenessMs: 120_000,
    });
    await peer.cache.getOrProduce({ realm: newRealm(), path: 'warm.ts' }, making('x'));
    proxy.hold();
    const answers = Array.from({ length: 500 }, (_, n) =>
      peer.cache.getOrProduce({ realm, path: `${n}.ts` }, making('x'), { deadlineMs: 20_000 }),
    );
    await until(() => peer.of('miss').length === 501, { what: 'all have missed' });
    await until(() => proxy.sent(realm) >= 20, { what: 'the questions are on their way' });
    proxy.release();
    proxy.cut();
    expect((await Promise.all(answers)).map(({ body }) => body)).toEqual(Array(500).fill('x'));
    await until(() => peer.cache.stats().connected, { what: 'it is back' });
    await peer.cache.close();
    await until(async () => (await sessions(peer.name)).length === 0, { what: 'all of them are closed' });
    expect(proxy.connections).toBe(0);
  });

  test('comes back when what accepted and hung up has a server behind it again', async () => {
    const proxy = await startProxy(database.url);
    cleanUps.push(() => proxy.close());
    const peer = await openPeer({ connection: database.url, listenConnection: proxy.url });
    proxy.door = 'close';
    proxy.cut();
    const before = proxy.accepted;
    const began = performance.now();
    await until(() => performance.now() - began > 1_500, { what: 'it has tried for a while' });
    // Not as fast as it can.
    expect(proxy.accepted - before).toBeLessThan(60);
    proxy.door = 'accept';
    await until(() => peer.of('caught-up').length === 1, { what: 'it is back' });
    expect(
      (await sessions(peer.name)).filter(({ query }) => /listen/i.test(query)).length,
    ).toBeLessThanOrEqual(1);
  });

  test('that is accepted and hung up on does not make opening a cache wait for ever', async () => {
    const proxy = await startProxy(database.url);
    cleanUps.push(() => proxy.close());
    proxy.door = 'close';
    const opening = openPeer({ connection: database.url, listenConnection: proxy.url });
    await expect(opening).rejects.toThrow();
    const after = proxy.accepted;
    await until(() => proxy.connections === 0, { what: 'nothing is left of it' });
    expect(proxy.accepted).toBe(after);
  });
});

describe('trap: a dedicated connection that cannot listen', () => {
  const refused = { code: 'MC101', hint: expect.stringContaining('listenConnection') };

  test.each([['notify'], ['log']] as const)(
    'because something between swallows notifications is refused (broadcast %s)',
    async (broadcast) => {
      const proxy = await startProxy(database.url, { deaf: true });
      cleanUps.push(() => proxy.close());
      const opening = openPeer({ connection: database.url, listenConnection: proxy.url, broadcast });
      await expect(opening).rejects.toMatchObject(refused);
      await until(() => proxy.connections === 0, { what: 'nothing is left of it' });
    },
  );

  describeWith('pgbouncer', 'because PgBouncer pools transactions', () => {
    const ignored =
      'default_transaction_isolation,default_transaction_read_only,statement_timeout,idle_session_timeout,tcp_keepalives_idle,tcp_keepalives_interval,tcp_keepalives_count,tcp_user_timeout,extra_float_digits';

    test.each([
      ['refuses parameters, notify', 'notify', {}],
      ['ignores parameters, notify', 'notify', { ignore_startup_parameters: ignored }],
      ['ignores parameters, log', 'log', { ignore_startup_parameters: ignored }],
    ] as const)('is refused (PgBouncer %s)', async (_, broadcast, settings) => {
      const bouncer = await startBouncer(database.url, { settings });
      cleanUps.push(() => bouncer.stop());
      const connection = `${bouncer.url(database.url)}?prepare=false`;
      await expect(openPeer({ connection, broadcast })).rejects.toMatchObject(refused);
      // With a connection of its own beside the pooler all is well.
      const peer = await openPeer({ connection, listenConnection: database.url, broadcast });
      await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('a'));
      await invalidate(database.sql, realm, 'a.ts');
      await until(() => peer.of('invalidated').length === 1, { what: 'it hears' });
    });
  });
});
