import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { ModuleCacheError, type ModuleCacheOptions } from '../../src/index.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { openInstance } from './support/instance.js';
import { closePeers, gate, making, newRealm, notAsked, openPeer, type Peer } from './support/peers.js';
import { startProxy, type TcpProxy } from './support/proxy.js';
import { invalidate } from './support/realm.js';

/** The database is away: what each option promises for that time, and no more. */

let database: TestDatabase;
let proxy: TcpProxy;
let realm: string;
const cleanUps: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  realm = newRealm();
  proxy = await startProxy(database.url);
});
afterEach(async () => {
  proxy.release();
  await closePeers();
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
  await proxy.close();
});

const brief = { heartbeatMs: 50, maxStalenessMs: 300, callTimeoutMs: 1_000 };
const open = (options: Partial<ModuleCacheOptions> = {}) =>
  openPeer({ connection: proxy.url, ...brief, ...options });
const fill = ({ cache }: Peer, path = 'a.ts', body = 'old') =>
  cache.getOrProduce({ realm, path }, making(body));

function optionsOf(url: string) {
  const { hostname, port, pathname, username, password } = new URL(url);
  return { host: hostname, port: Number(port), database: pathname.slice(1), username, password };
}

function leave(): void {
  proxy.door = 'close';
  proxy.cut();
}

function comeBack(): void {
  proxy.door = 'accept';
}

const isStale = (peer: Peer) => () => !peer.cache.stats().fresh;
const untilStale = (peer: Peer) => until(isStale(peer), { what: 'memory is past its time' });
const away = { code: 'MC108', detail: expect.any(String), hint: expect.any(String) };

describe('without a grace period', () => {
  test('nothing is served past its time: calls fail, and soon without asking', async () => {
    const peer = await open();
    await fill(peer);
    leave();
    await untilStale(peer);
    await expect(peer.cache.get({ realm, path: 'a.ts' })).rejects.toMatchObject(away);
    await until(() => peer.of('away').length === 1, { what: 'it knows' });
    for (const call of [
      peer.cache.get({ realm, path: 'a.ts' }),
      peer.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked),
      peer.cache.getMany([{ realm, path: 'a.ts' }]),
      peer.cache.invalidate(realm, ['a.ts']),
      peer.cache.clearRealm(realm),
    ]) {
      await expect(call).rejects.toMatchObject({ ...away, detail: expect.stringContaining('was not asked') });
    }
    comeBack();
    await until(() => peer.of('back').length === 1, { what: 'it is back' });
    expect((await peer.cache.get({ realm, path: 'a.ts' }))?.body).toBe('old');
  });

  test('who asks again and again at once keeps nothing else from its turn', async () => {
    const peer = await open();
    leave();
    await untilStale(peer);
    await until(() => peer.of('away').length === 1, { what: 'it knows' });
    let hadItsTurn = false;
    setTimeout(() => {
      hadItsTurn = true;
    }, 1);
    for (let asked = 0; asked < 5_000 && !hadItsTurn; asked += 1) {
      await peer.cache.get({ realm, path: 'a.ts' }).catch(() => {});
    }
    expect(hadItsTurn).toBe(true);
  });
});

describe('within the grace period', () => {
  test('memory is served past its time, and says so; not to strong or causal reads, nor by peek', async () => {
    const peer = await open({ graceMs: 60_000 });
    const { token } = await fill(peer);
    leave();
    await untilStale(peer);
    const served = await peer.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked);
    expect(served).toMatchObject({ body: 'old', source: 'l1', cached: true, token: expect.any(String) });
    expect(served.staleMs).toBeGreaterThanOrEqual(brief.maxStalenessMs);
    expect(await peer.cache.get({ realm, path: 'a.ts' })).toMatchObject({
      body: 'old',
      staleMs: expect.any(Number),
    });
    expect(await peer.cache.getMany([{ realm, path: 'a.ts' }])).toMatchObject([
      { staleMs: expect.any(Number) },
    ]);
    expect(peer.cache.peek({ realm, path: 'a.ts' })).toBeUndefined();
    for (const read of [{ consistency: 'strong' }, { after: token as string }] as const) {
      await expect(peer.cache.get({ realm, path: 'a.ts' }, read)).rejects.toMatchObject(away);
      await expect(peer.cache.getMany([{ realm, path: 'a.ts' }], read)).rejects.toMatchObject(away);
    }
    // What memory does not hold may be in the database.
    await expect(peer.cache.get({ realm, path: 'b.ts' })).rejects.toMatchObject(away);
    const both = [
      { realm, path: 'a.ts' },
      { realm, path: 'b.ts' },
    ];
    const hits = peer.of('hit').length;
    await expect(peer.cache.getMany(both)).rejects.toMatchObject(away);
    expect(peer.of('hit')).toHaveLength(hits);
  });

  test('its token is honest: what was invalidated meanwhile is not older than it, for who passes it on', async () => {
    const peer = await open({ graceMs: 60_000 });
    const other = await openPeer({ connection: database.url });
    await fill(peer);
    leave();
    await untilStale(peer);
    const { token } = await other.cache.invalidate(realm, ['a.ts']);
    const stale = await peer.cache.get({ realm, path: 'a.ts' });
    expect(stale?.staleMs).toBeDefined();
    await until(() => peer.of('away').length === 1, { what: 'it knows' });
    comeBack();
    await until(() => peer.cache.stats().fresh && peer.of('back').length === 1, { what: 'it is back' });
    expect(stale?.token).not.toBe(token);
    expect(await peer.cache.get({ realm, path: 'a.ts' }, { after: token })).toBeUndefined();
    expect(await other.cache.get({ realm, path: 'a.ts' }, { after: stale?.token as string })).toBeUndefined();
  });

  test('it ends', async () => {
    const peer = await open({ graceMs: 500 });
    await fill(peer);
    leave();
    const leftAt = performance.now();
    await untilStale(peer);
    let servedAt = 0;
    await until(
      async () => {
        const asked = performance.now();
        const served = await peer.cache.get({ realm, path: 'a.ts' }).catch((error) => error);
        if (served.code === 'MC108') return true;
        servedAt = asked;
        return false;
      },
      { what: 'nothing is served any more' },
    );
    expect(servedAt - leftAt).toBeLessThan(brief.maxStalenessMs + 500);
  });

  test('a database that is there is asked, however late the heartbeat is', async () => {
    const peer = await open({ connection: database.url, listenConnection: proxy.url, graceMs: 60_000 });
    await fill(peer);
    leave();
    await untilStale(peer);
    await invalidate(database.sql, realm, 'a.ts');
    expect(await fill(peer, 'a.ts', 'new')).toMatchObject({ body: 'new', source: 'produced' });
    expect((await peer.cache.get({ realm, path: 'a.ts' }))?.staleMs).toBeUndefined();
  });

  test('what the database has called outdated stays so when it goes away after that', async () => {
    const pooled = await startProxy(database.url);
    cleanUps.push(() => pooled.close());
    const peer = await open({ connection: pooled.url, listenConnection: proxy.url, graceMs: 60_000 });
    await fill(peer);
    leave();
    await untilStale(peer);
    await invalidate(database.sql, realm, 'a.ts');
    expect(await peer.cache.get({ realm, path: 'a.ts' })).toBeUndefined();
    pooled.door = 'close';
    pooled.cut();
    await expect(peer.cache.get({ realm, path: 'a.ts' })).rejects.toMatchObject(away);
  });

  test('an end that the producer has set holds', async () => {
    const peer = await open({ graceMs: 60_000 });
    await peer.cache.getOrProduce({ realm, path: 'a.ts' }, () => ({ body: 'brief', expiresInMs: 1_000 }));
    const madeAt = performance.now();
    leave();
    await until(() => isStale(peer)() && performance.now() - madeAt > 1_000, { what: 'its end has come' });
    await expect(peer.cache.get({ realm, path: 'a.ts' })).rejects.toMatchObject(away);
  });
});

describe('production without the database', () => {
  const alone = { withoutDatabase: 'produce' } as const;

  test('is for this process only: once for those who ask together, kept nowhere', async () => {
    const peer = await open(alone);
    leave();
    await untilStale(peer);
    const { produce, begun, finish } = gate();
    const asking = [1, 2, 3].map(() => peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce));
    await begun();
    finish({ body: 'here' });
    for (const module of await Promise.all(asking)) {
      expect(module).toMatchObject({ body: 'here', cached: false });
      expect(module.token).toBeUndefined();
    }
    expect(peer.of('produced')).toMatchObject([{ reason: 'away' }]);
    expect(await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('again'))).toMatchObject({
      body: 'again',
    });
    await expect(peer.cache.get({ realm, path: 'a.ts' })).rejects.toMatchObject(away);
    await until(() => peer.of('away').length === 1, { what: 'it knows' });
    comeBack();
    await until(() => peer.of('back').length === 1, { what: 'it is back' });
    expect(await fill(peer, 'a.ts', 'for all')).toMatchObject({ body: 'for all', cached: true });
  });

  test('a strong or causal read gets work that was begun after it', async () => {
    const peer = await open(alone);
    const { token } = await peer.cache.invalidate(realm, ['a.ts']);
    leave();
    await untilStale(peer);
    const { produce, begun, finish } = gate();
    const before = peer.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
    await begun();
    // A token from the future, which only the database could judge.
    const unknown = token.replace(/@\d+$/, '@999999999');
    for (const read of [{ consistency: 'strong' }, { after: unknown }] as const) {
      const module = await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'), read);
      expect(module).toMatchObject({ body: 'new', source: 'produced', cached: false });
    }
    finish({ body: 'old' });
    expect((await before).body).toBe('old');
  });

  test('a strong read does not take memory that is fresh, because nobody can tell', async () => {
    const peer = await open({ ...alone, maxStalenessMs: 60_000 });
    await fill(peer);
    leave();
    const strong = { consistency: 'strong' } as const;
    const module = await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'), strong);
    expect(module).toMatchObject({ body: 'new', cached: false });
  });

  test('what memory holds is not made anew within the grace period', async () => {
    const peer = await open({ ...alone, graceMs: 60_000 });
    await fill(peer);
    leave();
    await untilStale(peer);
    expect(await peer.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked)).toMatchObject({ body: 'old' });
    expect(await fill(peer, 'b.ts', 'made')).toMatchObject({ body: 'made', cached: false });
    const strong = { consistency: 'strong' } as const;
    expect(await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'), strong)).toMatchObject({
      body: 'new',
    });
  });

  test('only so many are at work at once', async () => {
    const peer = await open(alone);
    leave();
    await untilStale(peer);
    let working = 0;
    let most = 0;
    const produce = async () => {
      working += 1;
      most = Math.max(most, working);
      // Until as many are there as may be, and a while longer, for those that may not.
      await until(() => most >= 16, { what: '16 are at work' });
      await new Promise((resolve) => setTimeout(resolve, 20));
      working -= 1;
      return { body: 'x' };
    };
    const asking = Array.from({ length: 50 }, (_, n) =>
      peer.cache.getOrProduce({ realm, path: `${n}.ts` }, produce),
    );
    expect(await Promise.all(asking)).toHaveLength(50);
    expect(most).toBe(16);
  });

  test.each([['there'], ['away']])(
    'a producer that throws throws, and is not asked twice (database %s)',
    async (where) => {
      const peer = await open(alone);
      if (where === 'away') {
        leave();
        await untilStale(peer);
      }
      let asked = 0;
      const failing = peer.cache.getOrProduce({ realm, path: 'a.ts' }, () => {
        asked += 1;
        // As of another cache, which the producer reads from.
        throw new ModuleCacheError('MC108', 'no source');
      });
      await expect(failing).rejects.toThrow('no source');
      expect(asked).toBe(1);
    },
  );
});

describe('a database that says nothing any more', () => {
  test('is found out long before the deadline, and calls fail at once from then on', async () => {
    const peer = await open({ deadlineMs: 60_000, maxStalenessMs: 30_000, heartbeatMs: 20_000 });
    await fill(peer);
    proxy.silence();
    const began = performance.now();
    await expect(peer.cache.get({ realm, path: 'b.ts' })).rejects.toMatchObject(away);
    expect(performance.now() - began).toBeLessThan(20_000);
    await until(() => peer.of('away').length === 1, { timeoutMs: 4_000, what: 'it knows' });
    const sent = proxy.sent('c.ts');
    await expect(peer.cache.get({ realm, path: 'c.ts' })).rejects.toMatchObject(away);
    expect(proxy.sent('c.ts')).toBe(sent);
  });
});

test('a connection that is lost in a transaction fails its call, and nothing else', async () => {
  const { sql, close } = openInstance(proxy.url, {
    connection: { default_transaction_isolation: 'serializable' },
  });
  cleanUps.push(close);
  const peer = await openPeer({ connection: sql, listenConnection: database.url, ...brief });
  await fill(peer);
  const lock = await database.sql.reserve();
  try {
    await lock`begin`;
    await lock`lock table module_cache._artifacts in access exclusive mode`;
    const reading = peer.cache.get({ realm, path: 'b.ts' }).catch((error: unknown) => error);
    const locked = () => database.sql`
      select from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock' and query like '%module_cache.get(%'`;
    await until(async () => (await locked()).length === 1, { what: 'it waits' });
    proxy.cut();
    expect(await reading).toMatchObject(away);
    // What would be written to a connection that is gone comes after that.
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  } finally {
    await lock`rollback`;
    lock.release();
  }
  await until(
    () =>
      peer.cache.get({ realm, path: 'c.ts' }).then(
        () => true,
        () => false,
      ),
    {
      what: 'it is there',
    },
  );
});

describe('calls that may take long', () => {
  test('an invalidation is not cut off, and other calls that fail do not cut it off', async () => {
    const peer = await open({ connection: `${database.url}?max=2`, callTimeoutMs: 300 });
    const lock = await database.sql.reserve();
    try {
      await lock`begin`;
      await lock`lock table module_cache._invalidations in access exclusive mode`;
      const began = performance.now();
      const invalidating = peer.cache.invalidate(realm, ['a.ts']);
      await until(() => performance.now() - began > 1_000, { what: 'the limit for reads is over' });
      await lock`rollback`;
      expect((await invalidating).modules).toEqual([{ realm, path: 'a.ts' }]);
    } finally {
      lock.release();
    }
  });

  test('a large read is not cut off because a small one was given up', async () => {
    const peer = await open({ connection: `${database.url}?max=2`, callTimeoutMs: 2_000 });
    const lock = await database.sql.reserve();
    try {
      await lock`begin`;
      await lock`lock table module_cache._artifacts in access exclusive mode`;
      const requests = Array.from({ length: 10_000 }, (_, n) => ({ realm, path: `${n}.ts` }));
      const reading = peer.cache.getMany(requests).catch((error: unknown) => error);
      await expect(peer.cache.get({ realm, path: 'a.ts' })).rejects.toMatchObject(away);
      const began = performance.now();
      await until(() => performance.now() - began > 6_000, {
        timeoutMs: 10_000,
        what: 'others have been cut off',
      });
      await lock`rollback`;
      expect(await reading).toMatchObject({ length: 10_000 });
    } finally {
      await lock`rollback`;
      lock.release();
    }
  }, 30_000);

  test.each([['ended by the server'], ['broken by the network']])(
    'an invalidation is not cut off because another connection of the pool was %s',
    async (how) => {
      const sockets: Socket[] = [];
      const socket = ({ host, port }: { host: string[]; port: number[] }) => {
        const opened = connect({ host: host[0] as string, port: port[0] as number });
        sockets.push(opened);
        return opened;
      };
      const peer = await open({
        connection: { ...optionsOf(database.url), max: 2, socket } as ModuleCacheOptions['connection'],
        listenConnection: database.url,
        heartbeatMs: 200,
        maxStalenessMs: 5_000,
      });
      await Promise.all(['a.ts', 'b.ts'].map((path) => peer.cache.get({ realm, path })));
      const lock = await database.sql.reserve();
      try {
        await lock`begin`;
        await lock`lock table module_cache._invalidations in access exclusive mode`;
        const invalidating = peer.cache.invalidate(realm, ['a.ts']).catch((error: unknown) => error);
        const idle = () => database.sql`
          select pid, client_port from pg_stat_activity
          where application_name = ${peer.name} and query like '%module_cache.get%' and state = 'idle'`;
        await until(async () => (await idle()).length === 1, { what: 'the other one waits' });
        for (const { pid, client_port } of await idle()) {
          if (how === 'ended by the server') await database.sql`select pg_terminate_backend(${pid})`;
          else {
            const lost = sockets.find(({ localPort }) => localPort === client_port);
            lost?.destroy(Object.assign(new Error('reset'), { code: 'ECONNRESET' }));
          }
        }
        const began = performance.now();
        await until(() => performance.now() - began > 6_500, {
          timeoutMs: 10_000,
          what: 'others have been cut off',
        });
        await lock`rollback`;
        expect(await invalidating).toMatchObject({ modules: [{ realm, path: 'a.ts' }] });
      } finally {
        await lock`rollback`;
        lock.release();
      }
    },
    30_000,
  );

  test('a read waits for a connection of the application that is busy, as long as the database is there', async () => {
    const { sql, close } = openInstance(database.url, { max: 1 });
    cleanUps.push(close);
    const peer = await openPeer({ connection: sql, callTimeoutMs: 2_000 });
    const busy = sql.begin((tx) => tx`select pg_sleep(3.5)`);
    expect(await peer.cache.get({ realm, path: 'a.ts' })).toBeUndefined();
    expect(peer.of('away')).toEqual([]);
    await busy;
  });
});

test('an application that keeps its instance busy does not make the database count as away', async () => {
  const { sql, close } = openInstance(database.url, { max: 1 });
  cleanUps.push(close);
  const peer = await openPeer({ connection: sql, callTimeoutMs: 800 });
  const busy = sql.begin((tx) => tx`select pg_sleep(2)`);
  await until(
    async () =>
      (await database.sql`select from pg_stat_activity where query like 'select pg_sleep(2)%'`).length > 0,
    { what: 'it is busy' },
  );
  await database.sql`
    select pg_terminate_backend(pid) from pg_stat_activity where application_name = ${peer.name}`;
  await until(() => peer.of('disconnected').length === 1, { what: 'the dedicated connection is lost' });
  expect(await peer.cache.get({ realm, path: 'a.ts' })).toBeUndefined();
  expect(peer.of('away')).toEqual([]);
  await busy;
});

test('it is known without any call, once the dedicated connection is lost', async () => {
  const peer = await open();
  leave();
  await until(() => peer.of('away').length === 1, { what: 'it knows' });
  comeBack();
  await until(() => peer.of('back').length === 1 && peer.cache.stats().connected, { what: 'it is back' });
});

test('a server that has no connection left counts as away, and as back when it has', async () => {
  const name = `few_${newRealm().replace(/\W/g, '_')}`;
  await database.sql.unsafe(
    `create role ${name} login password 'secret' connection limit 2 in role module_cache_operator`,
  );
  cleanUps.push(() => database.sql.unsafe(`drop role ${name}`));
  const url = Object.assign(new URL(database.url), { username: name, password: 'secret' }).href;
  const peer = await openPeer({ connection: `${url}?max=1`, listenConnection: database.url });
  await database.sql`select pg_terminate_backend(pid) from pg_stat_activity where usename = ${name}`;
  const others = [1, 2].map(() => openInstance(url, { max: 1 }));
  await until(
    () =>
      Promise.all(others.map(({ sql }) => sql`select 1`)).then(
        () => true,
        () => false,
      ),
    { what: 'others have taken them' },
  );
  await expect(peer.cache.get({ realm, path: 'a.ts' })).rejects.toMatchObject({
    ...away,
    cause: { code: '53300' },
  });
  await until(() => peer.of('away').length === 1, { what: 'it knows' });
  await Promise.all(others.map(({ close }) => close()));
  await until(() => peer.of('back').length === 1, { what: 'it is back' });
  expect(await peer.cache.get({ realm, path: 'a.ts' })).toBeUndefined();
});

test('a connection that is lost does not make the database count as away', async () => {
  const peer = await open({ connection: database.url });
  await fill(peer);
  await database.sql`
    select pg_terminate_backend(pid) from pg_stat_activity where application_name = ${peer.name}`;
  await until(() => peer.of('caught-up').length === 1, { what: 'it is back' });
  expect(await peer.cache.get({ realm, path: 'b.ts' })).toBeUndefined();
  expect(peer.of('away')).toEqual([]);
});

test.each([
  ['a unique violation', '23505'],
  ['a statement that was cancelled', '57014'],
])('%s is an error of the call, not of the database', async (_, code) => {
  const peer = await open({ connection: database.url });
  await database.sql.unsafe(`alter function module_cache.get rename to really_get`);
  await database.sql.unsafe(`
      create function module_cache.get(a text, b text, c text, d text,
        out status text, out body text, out headers jsonb, out dependency_keys text[], out generation xid8, out token text, out expires_in interval)
      language plpgsql as $$ begin raise exception 'odd' using errcode = '${code}'; end $$`);
  try {
    await expect(peer.cache.get({ realm, path: 'a.ts' })).rejects.toMatchObject({ code });
    expect(peer.of('away')).toEqual([]);
  } finally {
    await database.sql.unsafe('drop function module_cache.get');
    await database.sql.unsafe('alter function module_cache.really_get rename to get');
  }
});

test.each([
  ['graceMs', { graceMs: -1 }],
  ['withoutDatabase', { withoutDatabase: 'perhaps' as never }],
  ['callTimeoutMs', { callTimeoutMs: 0 }],
])('%s that cannot be used is refused', async (name, options) => {
  await expect(open(options)).rejects.toMatchObject({ code: 'MC107', detail: expect.stringContaining(name) });
});
