import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Options, PostgresType } from 'postgres';
import * as calls from '../../src/calls.js';
import type { ModuleCacheOptions } from '../../src/index.js';
import { openPool } from '../../src/pool.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type Bouncer, type BouncerOptions, startBouncer } from '../support/pgbouncer.js';
import { until } from '../support/wait.js';
import { describeWith } from '../support/with-programs.js';
import { openInstance } from './support/instance.js';
import { closePeers, gate, making, newRealm, notAsked, openPeer, type Peer } from './support/peers.js';
import { startProxy, type TcpProxy } from './support/proxy.js';
import { invalidate } from './support/realm.js';

describeWith('pgbouncer', 'through PgBouncer', () => {
  let database: TestDatabase;
  let bouncer: Bouncer;
  let realm: string;
  const cleanUps: (() => Promise<unknown>)[] = [];
  beforeAll(async () => {
    database = await createDatabase();
    await database.sql`create table files (path text primary key, source text not null)`;
    bouncer = await startBouncer(database.url, { poolSize: 2 });
  });
  afterAll(async () => {
    await bouncer.stop();
    await database.drop();
  });
  beforeEach(() => {
    realm = newRealm();
  });
  afterEach(async () => {
    await closePeers();
    for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  });

  const url = (through = bouncer): string => `${through.url(database.url)}?prepare=false`;
  const another = async (options: BouncerOptions): Promise<Bouncer> => {
    const started = await startBouncer(database.url, options);
    cleanUps.push(started.stop);
    return started;
  };
  const proxyTo = async (target: string): Promise<TcpProxy> => {
    const proxy = await startProxy(target);
    cleanUps.push(() => proxy.close());
    return proxy;
  };
  const instance = (target: string, options: Options<Record<string, PostgresType>> = {}) => {
    const opened = openInstance(target, options);
    cleanUps.push(opened.close);
    return opened.sql;
  };
  const open = (options: Partial<ModuleCacheOptions> = {}): Promise<Peer> =>
    openPeer({ connection: url(), listenConnection: database.url, ...options });
  /** Only notifications, or what a call asks for itself, can tell these anything. */
  const seldom = { heartbeatMs: 60_000, maxStalenessMs: 120_000 };
  const peek = ({ cache }: Peer): string | undefined => cache.peek({ realm, path: 'a.ts' })?.body;
  const fill = ({ cache }: Peer, body = 'old') =>
    cache.getOrProduce({ realm, path: 'a.ts' }, making(body, ['dep']));

  describe('with a dedicated connection of its own', () => {
    test('a module is made once for two processes, and both drop it when its dependency changes', async () => {
      const [producing, waiting] = [await open(seldom), await open(seldom)];
      const { produce, begun, finish } = gate();
      const first = producing.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
      await begun();
      const second = waiting.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked);
      await until(() => waiting.of('miss').length === 1, { what: 'the other one waits' });
      finish({ body: 'made', dependencyKeys: ['dep'] });
      expect(await Promise.all([first, second])).toMatchObject([{ body: 'made' }, { body: 'made' }]);
      const { modules } = await waiting.cache.invalidate(realm, ['dep.ts']);
      expect(modules).toContainEqual({ realm, path: 'a.ts' });
      expect(peek(waiting)).toBeUndefined();
      await until(() => peek(producing) === undefined, { what: 'it was heard' });
    });

    test('many callers share two sessions of the server, and every one gets its own answer', async () => {
      const peers = [await open(), await open(), await open()];
      const paths = Array.from({ length: 60 }, (_, n) => `${n}.ts`);
      const answers = await Promise.all(
        paths.flatMap((path) =>
          peers.map(({ cache }) => cache.getOrProduce({ realm, path }, making(`body of ${path}`))),
        ),
      );
      expect(answers.map(({ body }) => body)).toEqual(
        paths.flatMap((path) => peers.map(() => `body of ${path}`)),
      );
      const told = peers.flatMap((peer) => peer.of('produced'));
      expect(told).toHaveLength(paths.length);
      expect(peers.flatMap((peer) => peer.of('warning'))).toEqual([]);
    });

    test.each([['notify'], ['log']] as const)(
      "an invalidation belongs to the caller's transaction (broadcast %s)",
      async (broadcast) => {
        const [writer, reader] = [await open({ broadcast }), await open({ broadcast })];
        const sql = instance(url());
        await fill(writer);
        await fill(reader);
        const rolledBack = sql.begin(async (tx) => {
          await tx`insert into files values (${realm}, 'never')`;
          await writer.cache.invalidate(realm, ['a.ts'], { tx });
          throw new Error('no');
        });
        await expect(rolledBack).rejects.toThrow('no');
        expect(await database.sql`select from module_cache.invalidations where realm_url = ${realm}`).toEqual(
          [],
        );
        const { token } = await sql.begin(async (tx) => {
          await tx`insert into files values (${realm}, 'new')`;
          const done = await writer.cache.invalidate(realm, ['a.ts'], { tx });
          const strong = await reader.cache.get({ realm, path: 'a.ts' }, { consistency: 'strong' });
          expect([strong?.body, peek(writer), peek(reader)]).toEqual(['old', 'old', 'old']);
          return done;
        });
        expect(await reader.cache.get({ realm, path: 'a.ts' }, { after: token })).toBeUndefined();
        await until(() => peek(writer) === undefined, { what: 'the writer has heard of its own' });
      },
    );

    test('a read with the token of an invalidation, and a strong one, do not get what memory has', async () => {
      const [writer, reader] = [
        await open({ broadcast: 'log', ...seldom }),
        await open({ broadcast: 'log', ...seldom }),
      ];
      for (const read of ['after', 'strong'] as const) {
        await fill(reader, `before ${read}`);
        const { token } = await writer.cache.invalidate(realm, ['dep.ts']);
        expect(peek(reader)).toBe(`before ${read}`);
        const how = read === 'after' ? { after: token } : ({ consistency: 'strong' } as const);
        const fresh = await reader.cache.getOrProduce({ realm, path: 'a.ts' }, making('fresh'), how);
        expect(fresh).toMatchObject({ body: 'fresh', source: 'produced' });
        await writer.cache.clearRealm(realm);
        expect(await reader.cache.get({ realm, path: 'a.ts' }, { consistency: 'strong' })).toBeUndefined();
        await reader.cache.clearAll();
      }
    });

    test('a claim is held by the dedicated connection of its process, and by nobody who shares a session', async () => {
      const [holder, other] = [await open(), await open()];
      const { produce, begun, finish } = gate();
      const made = holder.cache.getOrProduce({ realm, path: 'a.ts' }, produce);
      await begun();
      const holders = () => database.sql<{ name: string }[]>`
        select a.application_name as name from pg_locks l join pg_stat_activity a using (pid)
        where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())`;
      expect(await holders()).toEqual([{ name: holder.name }]);
      const waited = other.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked);
      await until(() => other.of('miss').length === 1, { what: 'the other one waits' });
      const sql = instance(url());
      for (let again = 0; again < 5; again += 1) {
        expect(await sql`select module_cache.claim(${realm}, 'a.ts', 'transpile', '') as claimed`).toEqual([
          { claimed: false },
        ]);
      }
      finish({ body: 'made' });
      await Promise.all([made, waited]);
      await until(async () => (await holders()).length === 0, { what: 'the claim has ended' });
    });

    test('a peer without notifications leaves no setting behind: who shares its session still notifies', async () => {
      const single = await another({ poolSize: 1 });
      const quiet = await open({ connection: url(single), broadcast: 'log' });
      const listening = await open({ connection: url(single), ...seldom });
      const sql = instance(url(single));
      const session = async () =>
        (
          await sql`select pg_backend_pid() as pid, current_setting('module_cache.notify', true) as notify`
        )[0];
      const before = await session();
      for (const clear of [
        () => quiet.cache.invalidate(realm, ['a.ts']),
        () => sql.begin((tx) => quiet.cache.invalidate(realm, ['b.ts'], { tx })),
        () => quiet.cache.clearRealm(realm),
        () => quiet.cache.clearAll(),
      ]) {
        await fill(listening);
        await clear();
        const after = await session();
        expect([after?.pid, after?.notify || null]).toEqual([before?.pid, null]);
        expect(peek(listening)).toBe('old');
        await listening.cache.clearRealm(realm);
        await fill(listening);
        const heard = listening.of('invalidated').length;
        await invalidate(sql, realm, 'a.ts');
        await until(() => listening.of('invalidated').length > heard, { what: 'it was notified' });
        expect(peek(listening)).toBeUndefined();
      }
      await expectNothingLeft(single);
    });
  });

  test('a server that is away behind it fails calls and nothing else, and is there again when it is back', async () => {
    const way = await proxyTo(database.url);
    const before = await startBouncer(way.url, { poolSize: 2 });
    cleanUps.push(before.stop);
    const peer = await open({ connection: before.url(database.url) });
    const strong = { consistency: 'strong', deadlineMs: 2_000 } as const;
    const askMany = () =>
      Promise.allSettled(
        // More than the connections that are open, so that PgBouncer lets clients in without having a server.
        Array.from({ length: 30 }, (_, n) => peer.cache.get({ realm, path: `${n}.ts` }, strong)),
      );
    way.door = 'close';
    way.cut();
    await until(async () => (await askMany()).every(({ status }) => status === 'rejected'), {
      timeoutMs: 20_000,
      what: 'every call fails',
    });
    way.door = 'accept';
    await until(async () => (await askMany()).every(({ status }) => status === 'fulfilled'), {
      timeoutMs: 20_000,
      what: 'every call is answered',
    });
    await fill(peer);
    await invalidate(database.sql, realm, 'a.ts');
    await until(() => peek(peer) === undefined, { what: 'it hears' });
  });

  test('trap: a look at the database does not cost whoever asks at the same time the answer', async () => {
    const pool = await openPool(`${url()}&max=1`, 'looking');
    const id = { realm, path: 'a.ts', kind: 'transpile', variant: '' };
    try {
      for (let again = 0; again < 20; again += 1) {
        const [, row] = await Promise.all([pool.look(5_000), pool.run((sql) => calls.get(sql, id), 2_000)]);
        expect(row.status).toBe('miss');
      }
    } finally {
      await pool.close();
    }
  });

  /** What belongs to the one session that all of its clients share. */
  async function expectNothingLeft(single: Bouncer): Promise<void> {
    const sql = instance(url(single), { max: 1 });
    expect(await sql`select pg_listening_channels() as channel`).toEqual([]);
    expect(await sql`select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()`).toEqual(
      [],
    );
    // What PgBouncer itself sets for each client does not count.
    const settings = await sql<{ name: string }[]>`select name from pg_settings where source = 'session'`;
    expect(settings.map(({ name }) => name)).not.toEqual(
      expect.arrayContaining([expect.stringMatching(/^(default_transaction|statement|lock|idle|tcp)_/)]),
    );
  }

  describe('trap: a dedicated connection that shares its session', () => {
    const refused = { code: 'MC101', hint: expect.stringContaining('listenConnection') };

    test.each([
      ['both through it, notify', 'notify', true],
      ['both through it, log', 'log', true],
      ['only the dedicated one through it', 'notify', false],
    ] as const)('is refused, and nothing is left of it (%s)', async (_, broadcast, both) => {
      const single = await another({ poolSize: 1 });
      const proxy = await proxyTo(url(single));
      const connection = both ? proxy.url : database.url;
      await expect(openPeer({ connection, listenConnection: proxy.url, broadcast })).rejects.toMatchObject(
        refused,
      );
      await until(() => proxy.connections === 0, { what: 'all of its connections are closed' });
      await expectNothingLeft(single);
    });

    test('is not taken for one that listens when the pooler has begun to share sessions meanwhile', async () => {
      const changing = await another({ poolMode: 'session' });
      const proxy = await proxyTo(url(changing));
      const peer = await openPeer({ connection: database.url, listenConnection: proxy.url, ...seldom });
      await changing.setPoolMode('transaction');
      const before = proxy.accepted;
      proxy.cut();
      await until(() => proxy.accepted > before + 1, {
        timeoutMs: 30_000,
        what: 'the connection that came first was not good enough',
      });
      expect(peer.cache.stats().connected).toBe(false);
      expect(peer.of('caught-up')).toEqual([]);
      await changing.setPoolMode('session');
      await until(() => peer.cache.stats().connected, { timeoutMs: 30_000, what: 'it is back' });
    }, 90_000);

    test('does not exist where sessions are not shared: a pooler in session mode does for both', async () => {
      const sessions = await another({ poolMode: 'session', poolSize: 20 });
      const peer = await openPeer({ connection: sessions.url(database.url), ...seldom });
      await fill(peer);
      await invalidate(database.sql, realm, 'a.ts');
      await until(() => peek(peer) === undefined, { what: 'it hears' });
    });
  });

  describe('prepared statements, which end up in the sessions of others,', () => {
    const ask = async (peer: Peer): Promise<void> => {
      const paths = Array.from({ length: 100 }, (_, n) => `${n}.ts`);
      const answers = await Promise.all(
        paths.map((path) => peer.cache.getOrProduce({ realm, path }, making(path), { deadlineMs: 20_000 })),
      );
      expect(answers.map(({ body, cached }) => cached && body)).toEqual(paths);
      expect(peer.of('warning')).toEqual([]);
    };

    test('are left out by a pool of its own, without being told', async () => {
      await ask(await open({ connection: bouncer.url(database.url) }));
    });

    test('of an instance are refused at once, with what to pass instead', async () => {
      const sql = instance(bouncer.url(database.url));
      await expect(open({ connection: sql })).rejects.toMatchObject({
        code: 'MC107',
        hint: expect.stringContaining('prepare: false'),
      });
      await ask(await open({ connection: instance(bouncer.url(database.url), { prepare: false }) }));
    });

    test('of an instance are none of our business where sessions are not shared', async () => {
      const sessions = await another({ poolMode: 'session', poolSize: 20 });
      await ask(await open({ connection: instance(sessions.url(database.url)) }));
    });
  });
});
