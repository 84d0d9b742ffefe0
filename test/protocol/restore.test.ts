import { expect, test } from '@jest/globals';
import { trap } from '../sql/support/guard.js';
import { pair, type Session, session } from '../sql/support/session.js';
import { createDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import {
  EPOCH_OF_AN_ARTIFACT,
  EPOCH_TRY_LOCK,
  OWN_XMIN,
  SWEEP_FROM_THE_FUTURE,
  SWEEP_ONLY_WHILE_CURRENT,
  SYSTEM_IDENTIFIER,
  WRITTEN_BY,
} from './support/guards.js';

/**
 * Rows that were not grown here (DESIGN.md section 3, traps of restore, clone and savepoint). A restore is simulated by
 * copying the rows of all tables out, and in again in another transaction, as pg_dump and pg_restore do.
 */

const TABLES = [
  ...['_epochs', '_generations', '_floors', '_invalidations', '_artifacts', '_peers', '_snapshots'],
  ...['_claims', '_activity', '_private_realms'],
];

async function dump(cache: Session): Promise<void> {
  const tables = await cache.run(`
    select relname from pg_class where relnamespace = 'module_cache'::regnamespace and relkind = 'r'`);
  expect(tables.map(({ relname }) => relname).sort()).toEqual([...TABLES].sort());
  await cache.run('create schema dump');
  for (const table of TABLES) await cache.run(`create table dump.${table} as table module_cache.${table}`);
}

/** As a restore begins: the tables are there and empty. */
async function emptyTables(cache: Session): Promise<void> {
  for (const table of TABLES) await cache.run(`truncate module_cache.${table}`);
}

async function copyRows(cache: Session): Promise<void> {
  await cache.begin();
  for (const table of TABLES) {
    // As a dump does, without what is computed.
    const [row] = await cache.run(`
      select string_agg(quote_ident(attname), ', ' order by attnum) as columns from pg_attribute
      where attrelid = 'module_cache.${table}'::regclass and attnum > 0 and not attisdropped and attgenerated = ''`);
    await cache.run(
      `insert into module_cache.${table} (${row?.columns}) overriding system value select ${row?.columns} from dump.${table}`,
    );
  }
  await cache.commit();
}

/** The dump is of a cluster that is further on, so that its transaction ids belong to the future here. */
async function shiftTransactionIds(cache: Session, by: number): Promise<void> {
  const later = (column: string) => `${column} = (${column}::text::bigint + ${by})::text::xid8`;
  await cache.run(`update dump._generations set ${later('xid')}`);
  await cache.run(`update dump._invalidations set ${later('xid')}`);
  await cache.run(`
    update dump._artifacts
    set ${later('put_xid')}, snapshot = (
      select format('%s:%s:', pg_snapshot_xmin(snapshot)::text::bigint + ${by},
        pg_snapshot_xmax(snapshot)::text::bigint + ${by})::pg_snapshot)`);
  await cache.run('update dump._epochs set system_identifier = system_identifier + 1');
}

for (const [where, shift] of [
  ['the same cluster', 0],
  ['another cluster, whose transaction ids are behind', 1_000_000],
] as const) {
  trap(`a dump restored into ${where} brings back no artifact, token or cursor`, WRITTEN_BY, async (db) => {
    const cache = session(db);
    await cache.publish('a.ts', 'of the dump');
    const before = { token: await cache.token(), cursor: (await cache.changesSince(null)).cursor };
    await dump(cache);
    if (shift > 0) await shiftTransactionIds(cache, shift);
    await emptyTables(cache);
    await copyRows(cache);
    expect(await cache.get('a.ts')).toMatchObject({ status: 'miss', token: null });
    expect(await cache.changesSince(before.cursor)).toMatchObject({ complete: false });
    expect((await cache.put('a.ts', 'old', { token: before.token })).reason).toBe('epoch');
    expect((await cache.get('a.ts')).status).toBe('miss');
    // The new life works, and what the dump left is swept.
    await cache.publish('a.ts', 'new');
    await cache.publish('b.ts', 'new', { dependencies: ['a.ts'] });
    await cache.invalidate(['a.ts']);
    expect((await cache.get('b.ts')).status).toBe('miss');
    await cache.publish('b.ts', 'newer');
    await cache.collectAll();
    expect((await cache.get('b.ts')).body).toBe('newer');
    const [{ left }] = (await cache.run(`
      select count(*) as left from dump._epochs d
      where exists (select from module_cache._artifacts a where a.epoch = d.epoch)
        or exists (select from module_cache._generations g where g.epoch = d.epoch)
        or exists (select from module_cache._invalidations i where i.epoch = d.epoch)`)) as [
      { left: string },
    ];
    expect(left).toBe('0');
  });
}

trap(
  'a dump restored into a young cluster, where its epoch row meets its old xmin by accident, is foreign',
  SYSTEM_IDENTIFIER,
  async (db) => {
    const cache = session(db);
    await cache.publish('a.ts', 'of the dump');
    await cache.begin();
    await cache.run(`
      update module_cache._epochs
      set system_identifier = system_identifier + 1, server_started_at = server_started_at - interval '1 day'`);
    await cache.run('update module_cache._epochs set written_by = xmin');
    await cache.commit();
    expect(await cache.get('a.ts')).toMatchObject({ status: 'miss', token: null });
    expect((await cache.changesSince(null)).complete).toBe(false);
    expect((await cache.get('a.ts')).status).toBe('miss');
  },
);

trap(
  'a restore beside a live peer that replaces the epoch between tables and rows changes nothing for the peer',
  EPOCH_OF_AN_ARTIFACT,
  async (db) => {
    const [restore, peer] = pair(db);
    await restore.publish('a.ts', 'of the dump');
    await restore.invalidate(['z.ts']);
    await dump(restore);
    await shiftTransactionIds(restore, 1_000_000);
    await emptyTables(restore);
    const { cursor } = await peer.changesSince(null);
    await peer.publish('b.ts', 'of the peer', { dependencies: ['c.ts'] });
    await copyRows(restore);

    expect((await peer.get('a.ts')).status).toBe('miss');
    expect((await peer.get('b.ts')).body).toBe('of the peer');
    expect(await peer.changesSince(cursor)).toMatchObject({ complete: true, changes: [] });
    await peer.publish('a.ts', 'of the peer');
    await peer.invalidate(['c.ts']);
    expect((await peer.get('b.ts')).status).toBe('miss');
    expect((await peer.changesSince(cursor)).changes).toMatchObject([{ k: 'module' }]);
    await peer.collect();
    await peer.collect();
    expect((await peer.get('a.ts')).body).toBe('of the peer');
    const next = await peer.changesSince(null);
    expect(await peer.changesSince(next.cursor)).toMatchObject({ complete: true, changes: [] });
  },
);

trap(
  'a generation without an epoch that a restore brought from the future goes with the garbage',
  SWEEP_FROM_THE_FUTURE,
  async (db) => {
    const cache = session(db);
    await cache.run(`
      insert into module_cache._generations (key, xid, epoch, realm_url, canonical_path)
      values (module_cache._module_hash('https://app.example/', 'a.ts'), '99999999999', null, 'https://app.example/', 'a.ts')`);
    await cache.run(`
      insert into module_cache._invalidations (xid, epoch, scope, realm_url, canonical_paths)
      values ('99999999999', null, 'module', 'https://app.example/', '{a.ts}')`);
    expect((await cache.put('a.ts', 'a', { token: await cache.token() })).reason).toBe('stale');
    await cache.collect();
    await cache.publish('a.ts', 'a');
    expect((await cache.get('a.ts')).status).toBe('hit');
  },
);

trap('an epoch that begins inside a savepoint is recognised', OWN_XMIN, async (db) => {
  const cache = session(db);
  await cache.run('delete from module_cache._epochs');
  await cache.begin();
  await cache.run('select pg_current_xact_id()');
  await cache.run('savepoint inner_one');
  await cache.run('create temporary table written (id integer)');
  expect((await cache.changesSince(null)).cursor).not.toBeNull();
  await cache.run('release savepoint inner_one');
  await cache.commit();
  await cache.publish('a.ts', 'a');
  expect((await cache.get('a.ts')).status).toBe('hit');
});

trap('an epoch that begins inside an exception block is recognised', OWN_XMIN, async (db) => {
  const cache = session(db);
  await cache.run('delete from module_cache._epochs');
  await cache.run(`
    do $$
    begin
      perform pg_current_xact_id();
      perform module_cache.changes_since(null);
    exception when division_by_zero then
    end;
    $$`);
  expect(await cache.token()).toMatch(/^[0-9a-f]{32}-/);
});

test('an epoch that begins inside a savepoint which is rolled back never was', async () => {
  const db = await createDatabase();
  try {
    const cache = session(db);
    await cache.run('delete from module_cache._epochs');
    await cache.begin();
    await cache.run('savepoint inner_one');
    const { cursor } = await cache.changesSince(null);
    await cache.run('rollback to savepoint inner_one');
    await cache.commit();
    expect((await cache.get('a.ts')).token).toBeNull();
    const next = await cache.changesSince(cursor);
    expect(next.complete).toBe(false);
    expect(next.cursor?.split('/')[0]).not.toBe(cursor?.split('/')[0]);
  } finally {
    await db.drop();
  }
});

trap('nobody waits for a transaction that has begun an epoch and stays open', EPOCH_TRY_LOCK, async (db) => {
  const long = session(db);
  const other = session(db, { statement_timeout: '1s' });
  const token = await other.token();
  await other.run('delete from module_cache._epochs');
  await long.begin();
  await long.changesSince(null);
  expect(await other.changesSince(null)).toEqual({ cursor: null, complete: false, changes: [] });
  expect((await other.put('a.ts', 'a', { token })).reason).toBe('epoch');
  expect(await other.get('a.ts')).toMatchObject({ status: 'miss', token: null });
  expect(await other.invalidate(['a.ts'])).toHaveLength(1);
  await long.commit();
  await other.publish('a.ts', 'a');
});

test.each(['repeatable read', 'serializable'] as const)(
  'a %s transaction, whose snapshot cannot tell what is there now, begins no epoch',
  async (isolation) => {
    const db = await createDatabase();
    try {
      const cache = session(db);
      await cache.run('delete from module_cache._epochs');
      await cache.begin(isolation);
      expect((await cache.changesSince(null)).cursor).toBeNull();
      expect((await cache.put('a.ts', 'a', { token: null })).reason).toBe('epoch');
      await cache.commit();
      expect((await cache.get('a.ts')).token).toBeNull();
    } finally {
      await db.drop();
    }
  },
);

trap(
  'garbage collection that began in one epoch keeps its hands off the next',
  SWEEP_ONLY_WHILE_CURRENT,
  async (db) => {
    const [holder, collector] = pair(db);
    const cache = session(db);
    await holder.begin();
    await holder.run('lock table module_cache._snapshots in exclusive mode');
    const pid = await collector.pid();
    const collected = collector.collect();
    collected.catch(() => {});
    await until(
      async () => {
        const [row] = await cache.run(`select wait_event_type from pg_stat_activity where pid = ${pid}`);
        return row?.wait_event_type === 'Lock';
      },
      { what: 'garbage collection has begun' },
    );
    await cache.run('delete from module_cache._epochs');
    await cache.changesSince(null);
    const token = await cache.token();
    await cache.invalidate(['a.ts']);
    await holder.commit();
    await collected;
    expect((await cache.put('a.ts', 'old', { token })).reason).toBe('stale');
  },
);

test('a clone made with create database … template is warm, and lives its own life from there', async () => {
  const original = await createDatabase();
  const before = session(original);
  await before.publish('a.ts', 'a', { dependencies: ['b.ts'] });
  const { token } = await before.get('a.ts');
  await before.sql.end();
  const name = original.name;
  const url = original.url;
  await original.sql.end();
  const admin = await createDatabase({ template: false });
  const clone = { url: Object.assign(new URL(url), { pathname: `/${name}_clone` }).href };
  try {
    await admin.sql.unsafe(`create database ${name}_clone template ${name}`);
    const [one, other] = [session({ url }), session(clone)];
    expect((await other.get('a.ts')).body).toBe('a');
    await one.invalidate(['b.ts']);
    expect((await one.get('a.ts')).status).toBe('miss');
    expect((await other.get('a.ts')).status).toBe('hit');
    await other.invalidate(['a.ts']);
    expect((await other.put('a.ts', 'old', { token })).reason).toBe('stale');
    await other.publish('a.ts', 'of the clone');
    expect((await other.get('a.ts')).body).toBe('of the clone');
    await Promise.all([one.close(), other.close()]);
  } finally {
    await admin.sql.unsafe(`drop database if exists ${name}_clone with (force)`);
    await admin.drop();
    await original.drop();
  }
});
