import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type Guard, installScript } from '../support/install-script.js';
import { startServer, type TestServer } from '../support/server.js';
import { until } from '../support/wait.js';
import { trap } from './support/guard.js';
import { REALM, refusal, type Session, session } from './support/session.js';
import { track, untrack, type Watcher, watch } from './support/tracking.js';

/** Rows come into a partition or child by ways that fire no trigger of its parent, and into a replica by none at all. */

const PARTITIONED = `
  create table files (path text not null, tenant integer not null, source text) partition by list (tenant);
  create table files_1 partition of files for values in (1);
  create table files_2 partition of files for values in (2, 3) partition by list (tenant);
  create table files_2a partition of files_2 for values in (2)`;

const TRIGGERS = `select tgname from pg_trigger where tgname like 'module\\_cache%'`;

const EVERY_PARTITION: Guard = {
  file: '127',
  text: '  where w.is_wanted\n',
  without: '  where w.is_wanted and (r.depth = 0 or w.is_copy)\n',
};
const ROWS: Guard = {
  file: '127',
  text: "(select c.relkind = 'p' from pg_class c where c.oid = source)),",
  without: 'false),',
};

const lines = (...paths: string[]): string[] => paths.map((path) => `${REALM} ${path}`);

trap('rows inserted straight into a partition are not missed', EVERY_PARTITION, async (database) => {
  const app = session(database);
  await app.run(PARTITIONED);
  await track(app);
  const watcher = await watch(database);
  await app.run(`insert into files_1 values ('a.ts', 1); insert into files_2a values ('b.ts', 2)`);
  expect(await watcher.news()).toEqual(lines('a.ts', 'b.ts'));
});

trap('rows of a partition that was created after track_table are not missed', ROWS, async (database) => {
  const app = session(database);
  await app.run(PARTITIONED);
  await track(app);
  const watcher = await watch(database);
  await app.run('create table files_3 partition of files_2 for values in (3)');
  await app.run(`insert into files_3 values ('c.ts', 3)`);
  expect(await watcher.news()).toEqual(lines('c.ts'));
});

describe('a partitioned table', () => {
  let db: TestDatabase;
  let app: Session;
  let watcher: Watcher;
  beforeAll(async () => {
    db = await createDatabase();
    app = session(db);
    watcher = await watch(db);
  });
  afterAll(() => db.drop());
  const news = (): Promise<string[]> => watcher.news();
  beforeEach(async () => {
    await app.run('drop table if exists files cascade; drop table if exists files_1, loose');
    await app.run(PARTITIONED);
    await track(app);
    await app.run(`insert into files values ('a.ts', 1), ('b.ts', 2)`);
    await news();
  });
  const problem = async (): Promise<unknown> =>
    (await app.run(`select problem from module_cache.tracked_tables where source = 'files'::regclass`))[0]
      ?.problem;

  test.each([
    ['written through itself', `insert into files values ('x.ts', 1), ('y.ts', 2)`, ['x.ts y.ts']],
    ['written through a partition of a partition', `update files_2 set source = ''`, ['b.ts']],
    [
      'written in a partition',
      `update files_1 set path = 'z.ts'; delete from files_2a`,
      ['a.ts z.ts', 'b.ts'],
    ],
    ['whose row moves to another partition', `update files set tenant = 2 where tenant = 1`, ['a.ts']],
    [
      'whose row moves and is renamed',
      `update files set tenant = 2, path = 'm.ts' where tenant = 1`,
      ['a.ts m.ts'],
    ],
  ])('%s invalidates each row once', async (_, statement, expected) => {
    await app.run(statement);
    expect((await news()).sort()).toEqual(lines(...expected).sort());
  });

  // Postgres hands the moved row to no trigger that it fires (sql/125-tracked-changes.sql).
  test.each<[string, (merge: string) => string[]]>([
    ['alone', (merge) => [merge]],
    ['in a function', (merge) => [`do $$ begin ${merge}; end $$`]],
    [
      'in a function in SQL',
      (merge) => [
        `create or replace function moved() returns void language sql as $$ ${merge} $$`,
        'select moved()',
      ],
    ],
    [
      'in a function that was parsed before',
      (merge) => [
        `create or replace function moved() returns void begin atomic ${merge}; end`,
        'select moved()',
      ],
    ],
    ['prepared', (merge) => [`prepare moved as ${merge}`, 'execute moved', 'deallocate moved']],
    ['behind a very long text', (merge) => [`/* ${'x'.repeat(1_000_000)} */ ${merge}`]],
  ])('by a MERGE that moves a row, %s, clears the realm', async (_, statements) => {
    const merge = `
      merge into files f using (values ('a.ts', 2)) n (path, tenant) on f.path = n.path
      when matched then update set tenant = n.tenant, path = 'moved.ts'
      when not matched then do nothing`;
    for (const statement of statements(merge)) await app.run(statement);
    expect(await app.run('select path from files_2')).toContainEqual({ path: 'moved.ts' });
    expect(await news()).toEqual([`clear ${REALM}`]);
  });

  test('by an UPDATE in a function clears nothing', async () => {
    await app.run(
      `create or replace function touched() returns void language sql as $$ update files set source = '' $$`,
    );
    await app.run('select touched()');
    expect(await news()).toEqual(lines('a.ts b.ts'));
  });

  test('misses none of very many rows that a trigger turns down on their way to another partition', async () => {
    await app.run(`
      create or replace function refuse() returns trigger language plpgsql as $$ begin return null; end $$;
      create trigger refuse before insert on files_2a for each row execute function refuse();
      insert into files select 'n' || i || '.ts', 1 from generate_series(1, 100001) i`);
    await news();
    await app.run('update files set tenant = 2 where tenant = 1');
    expect(await app.run('select path from files')).toEqual([{ path: 'b.ts' }]);
    expect(await news()).toEqual([`clear ${REALM}`]);
  });

  test('by TRUNCATE, of one partition as well, clears the realm', async () => {
    await app.run('truncate files_2a');
    expect(await news()).toEqual([`clear ${REALM}`]);
    await app.run('truncate files');
    expect(new Set(await news())).toEqual(new Set([`clear ${REALM}`]));
  });

  test('with a partition that came later works row by row, until track_table is called again', async () => {
    await app.run('create table files_3 partition of files_2 for values in (3)');
    expect(await problem()).toBe('files_3 is tracked row by row');
    await app.run(`insert into files_3 values ('c.ts', 3)`);
    await app.run(`update files_3 set path = 'd.ts'`);
    await app.run(`update files set tenant = 3 where tenant = 1`);
    await app.run('delete from files_3');
    expect(new Set(await news())).toEqual(new Set(lines('c.ts', 'c.ts d.ts', 'a.ts', 'd.ts')));
    await track(app);
    expect([await problem(), await news()]).toEqual([null, [`clear ${REALM}`]]);
    await app.run(`insert into files_3 select 'n' || i || '.ts', 3 from generate_series(1, 3) i`);
    expect(await news()).toEqual(lines('n1.ts n2.ts n3.ts'));
    await track(app);
    expect(await news()).toEqual([]);
  });

  test('with a table that is attached, detached, and attached again stays right', async () => {
    await app.run('create table loose (path text not null, tenant integer not null, source text)');
    await track(app, { source: 'loose' });
    await app.run('alter table files attach partition loose for values in (9)');
    await news();
    for (const table of ['files', 'loose']) await app.run(`insert into ${table} values ('${table}.ts', 9)`);
    expect(new Set(await news())).toEqual(new Set(lines('files.ts', 'loose.ts')));
    await track(app);
    await app.run('alter table files detach partition loose');
    await news();
    await app.run(`insert into loose values ('detached.ts', 9)`);
    expect(await news()).toEqual(lines('detached.ts'));
    expect(await app.run('select source from module_cache.tracked_tables order by source::text')).toEqual([
      { source: 'files' },
      { source: 'loose' },
    ]);
    await app.run('alter table files attach partition loose for values in (9)');
    await app.run(`insert into loose values ('again.ts', 9)`);
    expect(new Set(await news())).toEqual(new Set(lines('again.ts')));
  });

  test('is untracked as a whole, and a partition not without it', async () => {
    expect(await refusal(untrack(app, 'files_2a'))).toMatchObject({ code: 'MC003' });
    expect(await refusal(track(app, { source: 'files_2a' }))).toMatchObject({ code: 'MC003' });
    await untrack(app);
    expect(await app.run(TRIGGERS)).toEqual([]);
  });

  test('whose partitions are tracked and it is not shows what is missed', async () => {
    await untrack(app);
    await app.run('create table loose (path text not null, tenant integer not null, source text)');
    await track(app, { source: 'loose' });
    await app.run('alter table files attach partition loose for values in (9)');
    expect(await app.run('select problem from module_cache.tracked_tables')).toEqual([
      { problem: 'writes through its parent files are missed' },
    ]);
  });
});

test('children of a table by inheritance are tracked with it', async () => {
  const db = await createDatabase();
  try {
    const app = session(db);
    await app.run('create table files (path text); create table more (extra text) inherits (files)');
    await track(app);
    const watcher = await watch(db);
    await app.run(`insert into more values ('a.ts'); update files set path = 'b.ts'; delete from only more`);
    expect(await watcher.news()).toEqual(lines('a.ts', 'a.ts b.ts', 'b.ts'));
    await app.run('create table later () inherits (files)');
    expect(await app.run('select problem from module_cache.tracked_tables')).toEqual([
      { problem: 'module_cache_delete of later is missing' },
    ]);
    await untrack(app);
    expect(await app.run(TRIGGERS)).toEqual([]);
  } finally {
    await db.drop();
  }
});

describe('a table that a subscription writes', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startServer({ settings: { wal_level: 'logical', max_wal_senders: 4 } });
  });
  afterAll(() => server.remove());

  test('invalidates what is applied, although that fires no statement trigger', async () => {
    const [publisher, subscriber] = [
      await createDatabase({ template: false, serverUrl: server.url }),
      await createDatabase({ template: false, serverUrl: server.url }),
    ];
    await subscriber.sql.begin((tx) => tx.unsafe(installScript()));
    const app = session(subscriber);
    const source = session(publisher);
    await source.run('create table files (path text primary key); create publication p for table files');
    await source.run(`select pg_create_logical_replication_slot('files', 'pgoutput')`);
    await app.run('create table files (path text primary key)');
    await track(app);
    const watcher = await watch(subscriber);
    const { username, password, hostname, port } = new URL(publisher.url);
    await app.run(`
      create subscription s
      connection 'host=${hostname} port=${port} user=${username} password=${password} dbname=${publisher.name}'
      publication p with (create_slot = false, slot_name = 'files', copy_data = false)`);
    const seen: string[] = [];
    const arrived = (line: string) =>
      until(
        async () => {
          seen.push(...(await watcher.news()));
          return seen.includes(line);
        },
        { timeoutMs: 30_000, what: `${line} was invalidated` },
      );
    await source.run(`insert into files values ('a.ts'), ('b.ts')`);
    await arrived(`${REALM} b.ts`);
    await source.run(
      `update files set path = 'c.ts' where path = 'b.ts'; delete from files where path = 'a.ts'`,
    );
    await arrived(`${REALM} b.ts c.ts`);
    await arrived(`${REALM} a.ts`);
    await source.run('truncate files');
    await arrived(`clear ${REALM}`);
    await app.run('alter subscription s disable');
    await app.run('alter subscription s set (slot_name = none)');
    await app.run('drop subscription s');
  });
});
