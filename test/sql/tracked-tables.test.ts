import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { connect, createDatabase, disconnect, type TestDatabase } from '../support/database.js';
import { serverMajor } from '../support/server-major.js';
import { until } from '../support/wait.js';
import { REALM, refusal, type Session, session } from './support/session.js';
import { track, untrack, type Watcher, watch } from './support/tracking.js';

/** What track_table attaches and untrack_table takes off again, and what operators see of it. */

const OTHER = 'https://other.example/';
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
  await app.run('drop table if exists files cascade; create table files (path text, realm text, id integer)');
  await news();
});

const triggers = (): Promise<readonly Record<string, unknown>[]> =>
  app.run(`
    select oid, tgrelid::regclass::text, tgname, tgenabled, pg_get_triggerdef(oid) as definition
    from pg_trigger where not tgisinternal and tgname like 'module\\_cache%' order by 2, 3`);
const tracked = (): Promise<readonly Record<string, unknown>[]> =>
  app.run('select * from module_cache.tracked_tables order by source::text');
const row = { source: 'files', realm_url: REALM, path_column: 'path', realm_column: null, tables: '1' };

describe('track_table', () => {
  test('clears the realm, because changes from before are unknown, in one commit with its triggers', async () => {
    await app.begin();
    await track(app);
    expect(await tracked()).toEqual([{ ...row, problem: null }]);
    await app.rollback();
    expect([await tracked(), await news()]).toEqual([[], []]);
    await track(app, { realm: 'HTTPS://APP.example/' });
    expect(await tracked()).toEqual([{ ...row, problem: null }]);
    expect(await news()).toEqual([`clear ${REALM}`]);
  });

  test('clears everything if rows name their realms', async () => {
    await track(app, { realm: null, realmColumn: 'realm' });
    expect(await tracked()).toEqual([{ ...row, realm_url: null, realm_column: 'realm', problem: null }]);
    expect(await news()).toEqual(['clear all']);
    await app.run(`insert into files values ('a.ts', null), ('b.ts', '${OTHER}')`);
    expect(await news()).toEqual([`${OTHER} b.ts`]);
  });

  test('a second time changes nothing, and waits for nobody', async () => {
    await track(app);
    const before = await triggers();
    await news();
    const writer = session(db);
    await writer.begin();
    await writer.run(`insert into files values ('a.ts')`);
    await track(app);
    await writer.commit();
    expect(await triggers()).toEqual(before);
    expect(await news()).toEqual([`${REALM} a.ts`]);
  });

  test('with other arguments replaces them', async () => {
    await track(app);
    await track(app, { realm: OTHER, path: 'realm' });
    expect(await tracked()).toEqual([{ ...row, realm_url: OTHER, path_column: 'realm', problem: null }]);
    await news();
    await app.run(`insert into files values ('a.ts', 'b.ts')`);
    expect(await news()).toEqual([`${OTHER} b.ts`]);
    expect(await triggers()).toHaveLength(5);
  });

  test('from many sessions at once, as a fleet starts, succeeds for each', async () => {
    const fleet = Array.from({ length: 8 }, () => session(db));
    await Promise.all(fleet.map((one) => track(one)));
    await Promise.all(fleet.map((one) => one.close()));
    expect(await tracked()).toEqual([{ ...row, problem: null }]);
    await news();
    await app.run(`insert into files values ('a.ts')`);
    expect(await news()).toEqual([`${REALM} a.ts`]);
  });

  test('shows and mends triggers that were dropped or switched off', async () => {
    await track(app);
    for (const [change, problem] of [
      ['drop trigger module_cache_update on files', 'module_cache_update of files is missing'],
      [
        'alter table files disable trigger user; alter table files enable trigger user',
        'module_cache_delete of files is not as it was',
      ],
    ]) {
      await app.run(change as string);
      expect(await tracked()).toEqual([{ ...row, problem }]);
      await news();
      await track(app);
      expect(await news()).toEqual([`clear ${REALM}`]);
      expect(await tracked()).toEqual([{ ...row, problem: null }]);
    }
  });

  test('follows its table to another name and schema, and goes with it', async () => {
    await app.run('create schema if not exists elsewhere');
    await track(app);
    await news();
    await app.run('alter table files rename to sources; alter table sources set schema elsewhere');
    await app.run(`insert into elsewhere.sources values ('a.ts')`);
    expect(await news()).toEqual([`${REALM} a.ts`]);
    expect(await tracked()).toEqual([{ ...row, source: 'elsewhere.sources', problem: null }]);
    await app.run('drop table elsewhere.sources');
    expect(await tracked()).toEqual([]);
  });

  test('is written down by a dump: its definitions make the same triggers again', async () => {
    await track(app, { realmColumn: 'realm' });
    const before = await triggers();
    const script = before.map(({ definition, tgname, tgenabled }) =>
      [
        `drop trigger ${tgname} on files; ${definition}`,
        `alter table files enable ${tgenabled === 'A' ? 'always' : 'replica'} trigger ${tgname}`,
      ].join('; '),
    );
    await app.run(script.join('; '));
    const after = await triggers();
    expect(after.map(({ definition }) => definition)).toEqual(before.map(({ definition }) => definition));
    await news();
    await track(app, { realmColumn: 'realm' });
    expect(await news()).toEqual([]);
  });

  test('takes a temporary table', async () => {
    await app.run('create temporary table mine (path text)');
    await track(app, { source: 'mine' });
    await news();
    await app.run(`insert into mine values ('a.ts')`);
    expect(await news()).toEqual([`${REALM} a.ts`]);
    expect(await tracked()).toMatchObject([{ source: 'mine', problem: null }]);
    await app.run('drop table mine');
  });
});

describe('untrack_table', () => {
  test('leaves nothing behind, and does nothing the second time', async () => {
    await track(app);
    await untrack(app);
    expect([await triggers(), await tracked()]).toEqual([[], []]);
    await news();
    await app.run(`insert into files values ('a.ts')`);
    expect(await news()).toEqual([]);
    await untrack(app);
    await untrack(app, 'pg_class');
  });

  test('from two sessions at once succeeds for each', async () => {
    await track(app);
    const other = session(db);
    await app.begin();
    await untrack(app);
    const done = untrack(other);
    done.catch(() => {});
    await until(
      async () => (await db.sql`select from pg_locks where not granted and database is not null`).length > 0,
      { what: 'the other one waits' },
    );
    await app.commit();
    await done;
    await other.close();
    expect(await triggers()).toEqual([]);
  });

  test('rolled back leaves all as it was', async () => {
    await track(app);
    const before = await triggers();
    await app.begin();
    await untrack(app);
    await app.rollback();
    expect(await triggers()).toEqual(before);
  });
});

describe('misuse is an error with a hint, and changes nothing', () => {
  beforeAll(() =>
    app.run(`
      create view looks as select 'a.ts'::text as path;
      create materialized view kept as select 'a.ts'::text as path;
      create foreign data wrapper nowhere;
      create server nowhere foreign data wrapper nowhere;
      create foreign table remote (path text) server nowhere;
      create table parent (path text);
      create table child () inherits (parent);
      create table odd (path text, number integer, list text[], json jsonb, pair module_cache.module);
      create table mixed (path text) partition by list (path);
      create foreign table mixed_remote partition of mixed default server nowhere;
      create index odd_path on odd (path)`),
  );
  test.each<[string, Parameters<typeof track>[1], string]>([
    ['no realm URL', { realm: 'app.example' }, 'MC001'],
    ['a realm with a password', { realm: 'https://user:secret@app.example/' }, 'MC001'],
    ['a view', { source: 'looks' }, 'MC003'],
    ['a materialized view', { source: 'kept' }, 'MC003'],
    ['a foreign table', { source: 'remote' }, 'MC003'],
    ['a foreign partition', { source: 'mixed' }, 'MC003'],
    ['an index', { source: 'odd_path' }, 'MC003'],
    ['a system catalog', { source: 'pg_class', path: 'relname' }, 'MC003'],
    [
      'a table of information_schema',
      { source: 'information_schema.sql_parts', path: 'feature_id' },
      'MC003',
    ],
    ['a table of the cache', { source: 'module_cache._artifacts', path: 'canonical_path' }, 'MC003'],
    ['a child without its parent', { source: 'child' }, 'MC003'],
    ['no such column', { path: 'Path' }, 'MC003'],
    ['a system column', { path: 'tableoid' }, 'MC003'],
    ['no such realm column', { realmColumn: 'realms' }, 'MC003'],
    ['a number', { source: 'odd', path: 'number' }, 'MC003'],
    ['an array', { source: 'odd', path: 'list' }, 'MC003'],
    ['jsonb', { source: 'odd', path: 'json' }, 'MC003'],
    ['a composite', { source: 'odd', path: 'pair' }, 'MC003'],
    ['neither realm nor column', { realm: null }, 'MC003'],
  ])('%s', async (_, options, code) => {
    const before = await triggers();
    const error = await refusal(track(app, options));
    expect(error).toMatchObject({ code, hint: expect.stringMatching(/\.$/) });
    expect(`${error.message} ${error.detail}`).not.toContain('secret');
    expect([await triggers(), await news()]).toEqual([before, []]);
  });

  test('null for the table or the path column', async () => {
    for (const call of [
      `track_table(null, '${REALM}', 'path')`,
      `track_table('files', '${REALM}', null)`,
      `track_table(0, '${REALM}', 'path')`,
      'untrack_table(null)',
    ]) {
      expect(await refusal(app.run(`select module_cache.${call}`))).toMatchObject({
        code: 'MC003',
        hint: expect.any(String),
      });
    }
  });

  (serverMajor >= 18 ? test : test.skip)('a virtual column, which holds nothing in a trigger', async () => {
    await app.run(`
      alter table files add made text generated always as (path || 'x') virtual,
        add stored text generated always as (path || 's') stored`);
    expect(await refusal(track(app, { path: 'made' }))).toMatchObject({ code: 'MC003' });
    await track(app, { path: 'stored' });
    await news();
    await app.run(`insert into files values ('a.ts')`);
    expect(await news()).toEqual([`${REALM} a.tss`]);
  });
});

describe('who may track', () => {
  const logins = { writer: `writer_t_${process.pid}`, reader: `reader_t_${process.pid}` };
  const as = (login: string): string =>
    Object.assign(new URL(db.url), { username: login, password: 'secret' }).href;
  beforeAll(async () => {
    for (const [role, login] of Object.entries(logins)) {
      await app.run(`
        create role ${login} login password 'secret' in role module_cache_${role};
        create schema authorization ${login}`);
    }
  });
  afterAll(async () => {
    for (const login of Object.values(logins)) {
      await disconnect(as(login));
      await app.run(`drop owned by ${login} cascade; drop role ${login}`);
    }
  });

  test('is a writer, with tables of its own', async () => {
    const writer = session({ url: as(logins.writer) });
    await writer.run('create table mine (path text, realm text)');
    await track(writer, { source: 'mine' });
    await track(writer, { source: 'mine', realmColumn: 'realm' });
    await news();
    await writer.run(`insert into mine values ('a.ts', null)`);
    expect(await news()).toEqual([`${REALM} a.ts`]);
    const error = await refusal(track(writer, { source: 'public.files' }));
    expect(error).toMatchObject({ code: 'MC003', message: 'not the owner of the table' });
    await track(app);
    expect(await refusal(untrack(writer, 'public.files'))).toMatchObject({ code: 'MC003' });
    await untrack(writer, 'mine');
    expect(await refusal(writer.run('select * from module_cache.tracked_tables'))).toMatchObject({
      code: '42501',
    });
  });

  test('is no reader', async () => {
    const reader = session({ url: as(logins.reader) });
    await reader.run('create table mine (path text)');
    expect(await refusal(track(reader, { source: 'mine' }))).toMatchObject({ code: '42501' });
    const byHand = `create trigger t after truncate on mine execute function module_cache._tracked_change('', 'path', '')`;
    expect(await refusal(reader.run(byHand))).toMatchObject({ code: '42501' });
  });

  test('is nobody whose table has a partition of somebody else', async () => {
    const writer = session({ url: as(logins.writer) });
    await writer.run(`
      create table parts (path text) partition by hash (path);
      create table parts_0 partition of parts for values with (modulus 1, remainder 0)`);
    await app.run(`alter table ${logins.writer}.parts_0 owner to current_user`);
    expect(await refusal(track(writer, { source: 'parts' }))).toMatchObject({
      code: 'MC003',
      detail: expect.stringContaining('parts_0'),
    });
  });
});

test('the view is read by an operator who has no other right, as psql shows it', async () => {
  const login = `operator_t_${process.pid}`;
  await track(app);
  await app.run(`create role ${login} login password 'secret' in role module_cache_operator`);
  const url = Object.assign(new URL(db.url), { username: login, password: 'secret' }).href;
  const sql = connect(url, { max: 1 });
  expect(await sql`select * from module_cache.tracked_tables`).toEqual([{ ...row, problem: null }]);
  await disconnect(url);
  await app.run(`drop role ${login}`);
});
