import { afterAll, afterEach, beforeEach, expect, test } from '@jest/globals';
import { sqlFiles } from '../../src/schema/files.js';
import { migrate } from '../../src/schema/migrate.js';
import { migrationsUpTo } from '../schema/support/releases.js';
import { session } from '../sql/support/session.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { startServer, temporaryFolder } from '../support/server.js';
import { until } from '../support/wait.js';
import { closePeers, gate, making, newRealm, notAsked, openPeer } from './support/peers.js';
import { endPeers, startPeer } from './support/process-peer.js';
import { startProxy } from './support/proxy.js';

/** One process of the fleet keeps the tables small, and the others do not notice (DESIGN.md section 3, invariant 6). */

let database: TestDatabase;
let realm: string;
const roles: string[] = [];
const cleanUps: (() => Promise<unknown>)[] = [];
beforeEach(async () => {
  database = await createDatabase();
  realm = newRealm();
});
afterEach(async () => {
  await closePeers();
  await endPeers();
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
  await database.drop();
});
afterAll(async () => {
  const other = await createDatabase();
  for (const role of roles) await other.sql.unsafe(`drop role if exists ${role}`);
  await other.drop();
});

const garbage = { everyMs: 50 };
const often = { connection: '', heartbeatMs: 100, garbage };

/** The names of the peers that hold the collector's lock. */
const collectors = async (): Promise<string[]> => {
  const rows = await database.sql<{ name: string }[]>`
    select a.application_name as name
    from pg_locks l join pg_stat_activity a using (pid)
    where l.locktype = 'advisory' and l.granted and a.datname = current_database()
      and (l.classid::bigint << 32 | l.objid::bigint) = module_cache._collector_key()`;
  return rows.map(({ name }) => name);
};

/** As if all that was recorded so far had been so long ago. */
const age = (interval: string) =>
  database.sql`update module_cache._snapshots set taken_at = taken_at - ${interval}::text::interval`;

const logRows = async (): Promise<number> => {
  const [row] = await database.sql`select count(*)::integer as count from module_cache._invalidations`;
  return row?.count;
};

const reportOf = async (name: string, before = '') => {
  const [row] = await database.sql`
    select needs::text as needs, reported_at::text as at from module_cache._peers where application_name = ${name}`;
  return row?.at === before ? undefined : row;
};

async function invalidateMany(times: number): Promise<void> {
  for (let n = 0; n < times; n += 1) {
    await database.sql`select module_cache.invalidate(${realm}, array[${`x${n}.ts`}])`;
  }
}

/** Resolves once the fleet has had every chance to collect what was made before this call and is ten minutes old. */
async function tenMinutesPass(): Promise<void> {
  const [now] = await database.sql`select pg_current_xact_id()::text as xid`;
  const recorded = async () => {
    const rows = await database.sql`
      select from module_cache._snapshots where oldest_running > ${now?.xid}::text::xid8`;
    return rows.length > 0;
  };
  await until(recorded, { timeoutMs: 30_000, what: 'a snapshot that has seen all of it was recorded' });
  await age('10 minutes');
  const [then] = await database.sql`select clock_timestamp()::text as at`;
  for (let turn = 0; turn < 2; turn += 1) {
    await until(
      async () => {
        const [row] = await database.sql`
          select max(taken_at)::text as at, max(taken_at) > ${then?.at}::text::timestamptz as is_later
          from module_cache._snapshots`;
        if (row?.is_later) (then as { at: string }).at = row.at;
        return row?.is_later === true;
      },
      { what: 'somebody has collected' },
    );
  }
}

test('one process of a fleet collects, and another one takes over when it is killed', async () => {
  const names = ['one', 'two', 'three'].map((name) => `${name} ${realm}`);
  const fleet = await Promise.all(
    names.map(async (name) => ({
      name,
      peer: await startPeer({ ...often, connection: database.url, name }),
    })),
  );
  const first = await until(async () => (await collectors())[0], { what: 'one is elected' });
  expect(names).toContain(first);
  for (let look = 0; look < 20; look += 1) expect(await collectors()).toEqual([first]);
  await invalidateMany(20);
  await tenMinutesPass();
  await until(async () => (await logRows()) < 5, { what: 'garbage is collected' });

  await fleet.find(({ name }) => name === first)?.peer.end();
  // The server has to notice first that the other one is gone.
  const second = await until(async () => (await collectors()).find((name) => name !== first), {
    what: 'another one is elected',
  });
  expect(names).toContain(second);
  await invalidateMany(20);
  await tenMinutesPass();
  await until(async () => (await logRows()) < 5, { what: 'garbage is collected again' });
}, 60_000);

test('a process that is stopped keeps what it needs, up to the limit, and is right when it goes on', async () => {
  const name = `slow ${realm}`;
  const slow = await startPeer({ ...often, connection: database.url, garbage: false, name });
  await slow.ask({ realm, path: 'a.ts' }, 'old');
  await until(() => reportOf(name), { what: 'it has reported' });
  process.kill(slow.child.pid, 'SIGSTOP');
  await openPeer({ ...often, connection: database.url });

  await database.sql`select module_cache.invalidate(${realm}, array['a.ts'])`;
  await invalidateMany(20);
  await tenMinutesPass();
  expect(await logRows()).toBe(21);
  await age('1 day');
  await until(async () => (await logRows()) < 5, { what: 'nothing is kept any longer' });

  process.kill(slow.child.pid, 'SIGCONT');
  expect((await slow.ask({ realm, path: 'a.ts' }, 'new')).module).toMatchObject({ body: 'new' });
}, 60_000);

test('a production that takes longer than anything is kept is stored, because its process says that it needs it', async () => {
  const slow = await openPeer({ ...often, connection: database.url, garbage: false });
  const work = gate();
  const producing = slow.cache.getOrProduce({ realm, path: 'a.ts' }, work.produce);
  await work.begun();
  await until(() => reportOf(slow.name), { what: 'it has reported' });
  await invalidateMany(20);
  // A new connection has to be told what is on its way, not only where the cursor is by now.
  const before = await reportOf(slow.name);
  await database.sql`
    select pg_terminate_backend(p.backend_pid, 10000) from module_cache._peers p where p.application_name = ${slow.name}`;
  await until(
    async () => {
      const rows = await database.sql`
        select from module_cache._peers where application_name = ${slow.name} and reported_at > ${before?.at}::text::timestamptz`;
      return rows.length > 0 && slow.cache.stats().fresh;
    },
    { what: 'it has reported again' },
  );
  await openPeer({ ...often, connection: database.url });
  await tenMinutesPass();
  work.finish({ body: 'slow' });
  expect(await producing).toMatchObject({ body: 'slow', cached: true });
  expect(slow.of('produced')).toMatchObject([{ reason: 'stored' }]);
}, 60_000);

test('what a process was asked for before it knows the answer is needed as well', async () => {
  const proxy = await startProxy(database.url);
  cleanUps.push(() => proxy.close());
  const slow = await openPeer({
    ...often,
    connection: proxy.url,
    listenConnection: database.url,
    garbage: false,
  });
  await slow.cache.get({ realm, path: 'warm.ts' });
  proxy.hold('a.ts');
  const work = gate();
  proxy.hold();
  const producing = slow.cache.getOrProduce({ realm, path: 'a.ts' }, work.produce);
  await until(() => proxy.held.length > 0, { what: 'its token is on its way' });
  await invalidateMany(20);
  await until(() => reportOf(slow.name), { what: 'it has reported' });
  await openPeer({ ...often, connection: database.url });
  await tenMinutesPass();
  expect(await logRows()).toBe(20);
  proxy.release();
  await work.begun();
  work.finish({ body: 'a' });
  expect(await producing).toMatchObject({ body: 'a', cached: true });
}, 60_000);

test('a process that catches up lets go of what it needed', async () => {
  const peer = await openPeer({ ...often, connection: database.url });
  const first = await until(() => reportOf(peer.name), { what: 'it has reported' });
  await invalidateMany(20);
  await until(() => reportOf(peer.name, first.at), { timeoutMs: 20_000, what: 'it has reported again' });
  await tenMinutesPass();
  await until(async () => (await logRows()) < 5, { what: 'garbage is collected' });
  expect(peer.of('collected').length).toBeGreaterThan(0);
  expect(peer.of('dropped')).toEqual([]);
  expect(peer.of('warning')).toEqual([]);
}, 60_000);

test('what was invalidated before a process began does not stay for its sake', async () => {
  const holder = await database.sql.reserve();
  await holder`begin`;
  await holder`select pg_current_xact_id()`;
  await invalidateMany(20);
  const peer = await openPeer({ ...often, connection: database.url });
  const first = await until(() => reportOf(peer.name), { what: 'it has reported' });
  await holder`commit`;
  holder.release();
  await until(() => reportOf(peer.name, first.at), { timeoutMs: 20_000, what: 'it has reported again' });
  await tenMinutesPass();
  await until(async () => (await logRows()) < 5, { what: 'garbage is collected' });
}, 60_000);

test('a process that was away for a moment reports anew at once', async () => {
  const peer = await openPeer({ ...often, connection: database.url });
  await until(() => reportOf(peer.name), { what: 'it has reported' });
  // A busy machine may take its time once or twice. Otherwise the next report would be due after more than this.
  for (let attempt = 1, took = Number.POSITIVE_INFINITY; took > 2_400; attempt += 1) {
    expect(attempt).toBeLessThan(6);
    const [before] = await database.sql<{ at: string }[]>`
      select max(reported_at)::text as at from module_cache._peers`;
    await database.sql`select pg_terminate_backend(backend_pid, 10000) from module_cache._peers`;
    const next = () => database.sql<{ ms: number }[]>`
      select (extract(epoch from reported_at - ${before?.at as string}::text::timestamptz) * 1000)::float8 as ms
      from module_cache._peers where reported_at > ${before?.at as string}::text::timestamptz`;
    took = (await until(async () => (await next())[0], { what: 'it has reported again' })).ms;
  }
}, 60_000);

test('a closed process collects no more, and what it needed is nobody’s', async () => {
  const peer = await openPeer({ ...often, connection: database.url });
  await until(async () => (await collectors()).includes(peer.name), { what: 'it is elected' });
  await until(() => reportOf(peer.name), { what: 'it has reported' });
  await peer.cache.close();
  await until(async () => (await collectors()).length === 0, { what: 'nobody is elected' });
  expect(await database.sql`select module_cache._peer_sessions()`).toEqual([]);
  const [row] = await database.sql`select count(*)::integer as count from module_cache._snapshots`;
  await invalidateMany(20);
  expect(await database.sql`select count(*)::integer as count from module_cache._snapshots`).toEqual([row]);
});

async function urlOf(role: 'reader' | 'writer'): Promise<string> {
  const login = `garbage_${role}_${process.pid}`;
  if (!roles.includes(login)) {
    roles.push(login);
    await database.sql.unsafe(`create role ${login} login password 'secret'`);
    await database.sql.unsafe(`grant module_cache_${role} to ${login}`);
  }
  return Object.assign(new URL(database.url), { username: login, password: 'secret' }).href;
}

test('a process that may only write collects', async () => {
  const peer = await openPeer({ ...often, connection: await urlOf('writer') });
  await until(async () => (await collectors()).includes(peer.name), { what: 'it is elected' });
  await invalidateMany(20);
  await until(() => reportOf(peer.name), { what: 'it has reported' });
  await database.sql`update module_cache._peers set needs = '9223372036854775807'`;
  await tenMinutesPass();
  await until(async () => (await logRows()) < 5, { what: 'garbage is collected' });
  expect(peer.of('warning')).toEqual([]);
}, 60_000);

test('a process that may only read reports, and does not try to collect', async () => {
  const peer = await openPeer({ ...often, connection: await urlOf('reader') });
  await until(() => reportOf(peer.name), { what: 'it has reported' });
  expect(await collectors()).toEqual([]);
  expect(peer.of('warning')).toEqual([]);
});

test('garbage: false leaves it to others', async () => {
  const peer = await openPeer({ ...often, connection: database.url, garbage: false });
  await until(() => reportOf(peer.name), { what: 'it has reported' });
  expect(await collectors()).toEqual([]);
});

test('with an older schema a process works as before, and collects once that is upgraded', async () => {
  const old = await createDatabase({ template: false });
  cleanUps.push(() => old.drop());
  await migrate({ databaseUrl: old.url, migrationsFolder: migrationsUpTo(1, temporaryFolder()) });
  const proxy = await startProxy(old.url);
  cleanUps.push(() => proxy.close());
  const peer = await openPeer({ ...often, connection: proxy.url });
  await until(() => proxy.sent('_collect_for_fleet') >= 5, { what: 'it has asked for it' });
  await until(() => proxy.sent('_report_peer') >= 1, { what: 'it has asked for it' });
  expect(await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('a'))).toMatchObject({ cached: true });
  expect(peer.of('warning')).toEqual([]);
  await migrate({ databaseUrl: old.url });
  await until(async () => (await old.sql`select from module_cache._snapshots`).length > 0, {
    what: 'it collects',
  });
  expect(peer.of('warning')).toEqual([]);
  // What the older one has stored is void.
  await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('b'));
  expect(await peer.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked)).toMatchObject({ body: 'b' });
  await peer.cache.close();
}, 60_000);

test('after a crash of the server the fleet reports and collects in the new life', async () => {
  const server = await startServer();
  const own = await createDatabase({ template: false, serverUrl: server.url });
  cleanUps.push(async () => {
    await own.drop();
    await server.remove();
  });
  await own.sql.begin(async (tx) => {
    for (const { text } of sqlFiles()) await tx.unsafe(text);
  });
  const peers = await Promise.all([1, 2].map(() => openPeer({ ...often, connection: own.url })));
  const reported = async () => {
    const rows = await own.sql`
      select p.application_name
      from module_cache._peers p join module_cache._epoch() e using (epoch)
      where p.backend_pid in (select module_cache._peer_sessions())`.catch(() => []);
    return rows.length === 2;
  };
  await until(reported, { what: 'both have reported' });
  await server.restart('immediate');
  await until(reported, { timeoutMs: 30_000, what: 'both have reported again' });
  await until(
    async () =>
      (await own.sql`select from module_cache._snapshots join module_cache._epoch() using (epoch)`).length >
      0,
    { timeoutMs: 30_000, what: 'one of them collects' },
  );
  await Promise.all(peers.map(({ cache }) => cache.close()));
}, 90_000);

test.each([
  [{ everyMs: 0 }, 'everyMs'],
  [{ everyMs: Number.POSITIVE_INFINITY }, 'everyMs'],
  [{ keepMs: 59_999 }, 'keepMs'],
  [{ keepMs: 7_200_000, keepAtMostMs: 3_600_000 }, 'keepAtMostMs'],
  [{ keepAtMostMs: 60_000 }, 'keepAtMostMs'],
  [{ keepMs: 'long' as unknown as number }, 'keepMs'],
])('garbage: %j is refused', async (odd, name) => {
  await expect(openPeer({ connection: database.url, garbage: odd })).rejects.toMatchObject({
    code: 'MC107',
    detail: expect.stringContaining(name),
  });
});

test('a batch reads about as much as it collects, so that a process which has much to do gets it done', async () => {
  const { sql } = database;
  await sql`select module_cache.changes_since(null)`;
  await sql`
    insert into module_cache._artifacts
    select ${realm}, n || '.ts', 'transpile', '', '', '{}', '{}', false, null, e.epoch, pg_current_snapshot(),
      '3', n, 1, '{}', now(), null
    from generate_series(1, 1000) n, module_cache._epoch() e`;
  for (let n = 0; n < 20; n += 1) {
    await sql`
      select from module_cache.invalidate(${realm}, array(select ${n}::text || '/' || m from generate_series(1, 1000) m))`;
  }
  await session(database).othersEnded();
  await sql`select module_cache._collect_for_fleet('1 minute', '1 hour', 100)`;
  await age('10 minutes');
  // Counts from before may stand in it.
  const rowsRead = async (tx: typeof sql): Promise<number> => {
    const [row] = await tx`
      select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::integer as rows
      from pg_stat_xact_all_tables where relname in ('_generations', '_invalidations')`;
    return row?.rows;
  };
  let batches = 0;
  for (let done = false; !done; batches += 1) {
    await sql.begin(async (tx) => {
      const before = await rowsRead(tx as never);
      const [row] = await tx`select * from module_cache._collect_for_fleet('1 minute', '1 hour', 1000)`;
      if (!row?.complete) expect((await rowsRead(tx as never)) - before).toBeLessThan(5_000);
      done = row?.complete;
    });
  }
  expect(batches).toBeLessThan(30);
  expect(await logRows()).toBe(1);
});

test('a table of the collector that is locked for long costs no process its dedicated connection', async () => {
  const { sql } = database;
  const peer = await openPeer({ ...often, connection: database.url });
  await until(async () => (await collectors())[0], { what: 'one is elected' });
  const locker = await sql.reserve();
  await locker`begin`;
  await locker`lock table module_cache._snapshots in access exclusive mode`;
  await sql.begin(async (tx) => {
    await tx`set local statement_timeout to '3s'`;
    await expect(
      tx.savepoint((s) => s`select module_cache._elect_collector('1 minute')`),
    ).rejects.toMatchObject({
      code: '55P03',
    });
  });
  await locker`rollback`;
  locker.release();
  expect(peer.of('disconnected')).toEqual([]);
});
