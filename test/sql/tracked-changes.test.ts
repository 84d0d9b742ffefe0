import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { connect, createDatabase, disconnect, type TestDatabase } from '../support/database.js';
import { ISOLATIONS, observe, REALM, type Session, session } from './support/session.js';
import { track, type Watcher, watch } from './support/tracking.js';

/** What a change of a tracked table invalidates, and that it costs the user's statement nothing but time. */

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
const ignored = async (): Promise<string[]> =>
  (
    await app.run(`
      select ignored from module_cache.invalidations where ignored > 0 and xid >= (select max(xid) from module_cache.invalidations)
      order by realm_url`)
  ).map((row) => row.ignored as string);

/** A fresh tracked table `files`. */
async function createFiles(columns = 'path text primary key, source text', realmColumn?: string) {
  await app.run(`drop table if exists files cascade; create table files (${columns})`);
  await track(app, { realmColumn });
  await news();
}

describe('a statement invalidates', () => {
  beforeEach(async () => {
    await createFiles();
    await app.run(`insert into files values ('a.ts', ''), ('b.ts', ''), ('c.ts', '')`);
    await news();
  });

  test.each([
    ['INSERT', `insert into files values ('x.ts', ''), ('y.ts', '')`, ['x.ts y.ts']],
    ['UPDATE', `update files set source = 'new' where path <> 'c.ts'`, ['a.ts b.ts']],
    ['DELETE', `delete from files where path = 'a.ts'`, ['a.ts']],
    ['a move: both paths', `update files set path = 'z.ts' where path = 'a.ts'`, ['a.ts z.ts']],
    [
      'paths that change places',
      `update files set path = case path when 'a.ts' then 'aa.ts' else 'a.ts' end where path < 'b.ts'`,
      ['a.ts aa.ts'],
    ],
    [
      'an upsert that inserts and updates',
      `insert into files values ('a.ts', ''), ('n.ts', '') on conflict (path) do update set source = 'n'`,
      ['n.ts', 'a.ts'],
    ],
    [
      'an upsert that only inserts',
      `insert into files values ('a.ts', ''), ('n.ts', '') on conflict do nothing`,
      ['n.ts'],
    ],
    [
      'MERGE',
      `merge into files f using (values ('a.ts', 1), ('b.ts', 2), ('n.ts', 3)) n (path, id) on f.path = n.path
       when matched and n.id = 1 then delete
       when matched then update set source = 'm'
       when not matched then insert values (n.path, '')`,
      ['a.ts', 'b.ts', 'n.ts'],
    ],
    [
      'a WITH that writes twice',
      `with gone as (delete from files where path = 'a.ts' returning path)
       insert into files select path || 'x', '' from gone`,
      ['a.ts', 'a.tsx'],
    ],
    ['TRUNCATE: the realm', 'truncate files', ['clear']],
    ['nothing, if there is nothing to change', `update files set source = '' where path = 'no.ts'`, []],
  ])('%s', async (_, statement, expected) => {
    await app.run(statement);
    const lines = expected.map((paths) => (paths === 'clear' ? `clear ${REALM}` : `${REALM} ${paths}`));
    expect((await news()).sort()).toEqual(lines.sort());
  });

  test('COPY', async () => {
    const copy = await app.sql`copy files (path) from stdin`.writable();
    await new Promise((resolve, reject) => {
      copy.on('finish', resolve).on('error', reject);
      copy.end('x.ts\ny.ts\n');
    });
    expect(await news()).toEqual([`${REALM} x.ts y.ts`]);
  });

  test('what a foreign key deletes and renames along', async () => {
    await app.run(`
      create table packages (name text primary key);
      insert into packages values ('one'), ('two');
      alter table files add package text references packages on delete cascade on update cascade;
      update files set package = case path when 'c.ts' then 'two' else 'one' end`);
    await news();
    await app.run(`delete from packages where name = 'one'`);
    expect((await news()).join(' ')).toMatch(/a\.ts.*b\.ts/);
    await app.run(`update packages set name = 'three'`);
    expect(await news()).toEqual([`${REALM} c.ts`]);
  });

  test('as a replica, as restores and bulk loads run', async () => {
    await app.run(`set session_replication_role = replica`);
    await app.run(`insert into files values ('r.ts', '')`);
    await app.run('reset session_replication_role');
    expect(await news()).toEqual([`${REALM} r.ts`]);
  });

  test('as a replica, a long statement without asking each row for its text', async () => {
    const load = async (role: string): Promise<number> => {
      await app.run(`set session_replication_role = ${role}`);
      const rows = Array.from({ length: 10_000 }, (_, i) => `('${role}${i}.ts', '${'x'.repeat(90)}')`);
      const begin = performance.now();
      await app.run(`insert into files values ${rows}`);
      return performance.now() - begin;
    };
    const usual = await load('origin');
    const asReplica = await load('replica');
    await app.run('reset session_replication_role');
    // It took 20 times as long, and more for each row the more rows there were.
    expect(asReplica).toBeLessThan(5 * usual + 500);
    await news();
  });

  test('also the importers, and a slow producer loses', async () => {
    await app.publish('page.ts', 'old', { dependencies: ['imported.ts'] });
    const token = await app.token();
    await app.run(`update files set path = 'imported.ts' where path = 'a.ts'`);
    expect(await news()).toEqual([`${REALM} a.ts imported.ts page.ts`]);
    expect((await app.get('page.ts')).status).toBe('miss');
    expect((await app.put('a.ts', 'old', { token })).reason).toBe('stale');
  });
});

describe('an observer', () => {
  beforeEach(() => createFiles());

  test('sees and hears nothing before the commit, and both in one', async () => {
    const observer = await observe(db);
    await app.begin();
    await app.run(`insert into files values ('a.ts', '')`);
    expect([await news(), await observer.heard()]).toEqual([[], []]);
    await app.commit();
    expect(await news()).toEqual([`${REALM} a.ts`]);
    expect(await observer.heard()).toHaveLength(1);
  });

  test('sees nothing of what was rolled back, of a savepoint either', async () => {
    await app.begin();
    await app.run(`insert into files values ('a.ts', '')`);
    await app.rollback();
    expect(await news()).toEqual([]);
    await app.begin();
    await app.run(`insert into files values ('kept.ts', '')`);
    await app.run(`savepoint s; insert into files values ('undone.ts', ''); truncate files; rollback to s`);
    await app.commit();
    expect(await news()).toEqual([`${REALM} kept.ts`]);
  });

  test('hears nothing with notify off, and reads it in the log', async () => {
    const observer = await observe(db);
    await app.run(`set module_cache.notify = off; insert into files values ('a.ts', '')`);
    await app.run('reset module_cache.notify');
    expect(await observer.heard()).toEqual([]);
    expect(await news()).toEqual([`${REALM} a.ts`]);
  });

  test('sees a prepared transaction once it commits', async () => {
    const name = `'${db.name}'`;
    await app.begin();
    await app.run(`set local module_cache.notify = off; insert into files values ('a.ts', '')`);
    await app.run(`prepare transaction ${name}`);
    expect(await news()).toEqual([]);
    await app.run(`commit prepared ${name}`);
    expect(await news()).toEqual([`${REALM} a.ts`]);
  });
});

describe('rows that can name no module are ignored and counted', () => {
  const odd = [null, '', '/a.ts', '../a.ts', 'a//../b.ts', 'a.ts?v=1', 'a.ts#x', 'x'.repeat(3000)];

  test('while the others count, however the rows are written', async () => {
    await createFiles('path text, source text');
    await app.sql`insert into files ${app.sql([...odd, 'good.ts'].map((path) => ({ path })))}`;
    expect(await ignored()).toEqual([`${odd.length}`]);
    expect(await news()).toEqual([`${REALM} good.ts`]);
    await app.run(`update files set source = 'new'`);
    expect(await ignored()).toEqual([`${odd.length}`]);
    expect(await news()).toEqual([`${REALM} good.ts`]);
    await app.run(`delete from files where path is distinct from 'good.ts'`);
    expect(await ignored()).toEqual([`${odd.length}`]);
    expect(await news()).toEqual([]);
  });

  test('and a very long value does no harm', async () => {
    await createFiles('path text, source text');
    await app.run(`insert into files select repeat('long/', 2000000) from generate_series(1, 20)`);
    expect(await ignored()).toEqual(['20']);
    expect(await app.run('select count(*)::integer as count from files')).toEqual([{ count: 20 }]);
  });

  test('and a path that becomes one, or was one, is told', async () => {
    await createFiles();
    await app.run(`insert into files values ('/odd', '')`);
    await app.run(`update files set path = 'good.ts'`);
    await app.run(`update files set path = '/odd'`);
    expect(await news()).toEqual([`${REALM} good.ts`, `${REALM} good.ts`]);
  });
});

describe('with a realm column', () => {
  beforeEach(() => createFiles('path text, realm text', 'realm'));

  test('each row counts in its own realm, null stands for that of the table, and others are ignored', async () => {
    await app.run(`
      insert into files (path, realm) values
        ('a.ts', '${OTHER}'), ('b.ts', 'HTTPS://Other.Example/'), ('c.ts', null), ('../d.ts', '${OTHER}'),
        ('e.ts', 'no realm'), ('f.ts', ''), ('g.ts', 'https://user:secret@x.example/')`);
    expect((await news()).sort()).toEqual([`${REALM} c.ts`, `${OTHER} a.ts b.ts`]);
    expect(await ignored()).toEqual(['1', '3']);
  });

  test('rows without any realm are counted where no peer is disturbed', async () => {
    const observer = await observe(db);
    await app.run(`insert into files values ('a.ts', 'no realm')`);
    expect(await ignored()).toEqual(['1']);
    expect([await news(), await observer.heard()]).toEqual([[], []]);
    expect((await app.get('a.ts')).status).toBe('miss');
  });

  test('a move from one realm to another counts in both', async () => {
    await app.run(`insert into files values ('a.ts', null)`);
    await news();
    await app.run(`update files set realm = '${OTHER}'`);
    expect((await news()).sort()).toEqual([`${REALM} a.ts`, `${OTHER} a.ts`]);
  });

  test('TRUNCATE clears everything', async () => {
    await app.run('truncate files');
    expect(await news()).toEqual(['clear all']);
  });

  test('10,000 realms in one statement commit, and a peer gets a handful of notifications', async () => {
    const observer = await observe(db);
    await app.run(`
      insert into files select 'a.ts', 'https://r' || i || '.example/' from generate_series(1, 10000) i`);
    const heard = await observer.heard();
    expect(heard.length).toBeLessThan(10);
    expect(heard.at(-1)).toMatch(/^\{"k":"log"/);
    expect(new Set(await news()).size).toBe(10_000);
    await app.run(`insert into files values ('after.ts', null)`);
    expect((await observer.heard()).length).toBe(heard.length + 1);
    await news();
  });
});

describe('a column that is not there any more', () => {
  const warnings: string[] = [];
  let noisy: Session;
  beforeAll(() => {
    const sql = connect(db.url, { max: 1, onnotice: ({ message }) => warnings.push(message ?? '') });
    noisy = { ...app, run: (text) => sql.unsafe(text) };
  });
  beforeEach(async () => {
    await createFiles('path text, realm text, source text');
    warnings.length = 0;
  });

  test.each(['rename path to way', 'drop path', 'alter path type integer using 1'])(
    '(%s) clears the realm with a warning, and the write succeeds',
    async (change) => {
      await app.run(`insert into files (path) values ('a.ts')`);
      await app.run(`alter table files ${change}`);
      await news();
      await noisy.run(`insert into files (source) values ('b')`);
      await noisy.run(`update files set source = 'c'`);
      await noisy.run('delete from files');
      expect(await news()).toEqual(Array(3).fill(`clear ${REALM}`));
      expect(warnings).toEqual(Array(3).fill(expect.stringContaining('column is gone')));
      expect(await app.run('select problem from module_cache.tracked_tables')).toEqual([
        { problem: 'column path is gone' },
      ]);
    },
  );

  test('clears everything if it named realms', async () => {
    await track(app, { realmColumn: 'realm' });
    await app.run('alter table files rename realm to owner');
    await news();
    await noisy.run(`insert into files (path) values ('a.ts')`);
    expect(await news()).toEqual(['clear all']);
    expect(warnings).toHaveLength(1);
    await track(app, { realmColumn: 'owner' });
    await news();
    await app.run(`insert into files (path) values ('a.ts')`);
    expect(await news()).toEqual([`${REALM} a.ts`]);
  });
});

describe('the writer', () => {
  test('needs no right on the schema', async () => {
    const login = `app_${process.pid}`;
    await createFiles();
    await app.run(
      `create role ${login} login password 'secret'; grant select, insert, update, delete, truncate on files to ${login}`,
    );
    const url = Object.assign(new URL(db.url), { username: login, password: 'secret' }).href;
    try {
      const user = session({ url });
      await user.run(`insert into files values ('a.ts', '')`);
      await user.run(`update files set path = 'b.ts'`);
      await user.run('delete from files');
      await user.run('truncate files');
      await expect(user.run('select module_cache.clear_all()')).rejects.toMatchObject({ code: '42501' });
      expect(await news()).toHaveLength(4);
      expect(
        await app.run(`select distinct role_name from module_cache.invalidations limit 9`),
      ).toContainEqual({
        role_name: login,
      });
    } finally {
      await disconnect(url);
      await app.run(`drop owned by ${login}; drop role ${login}`);
    }
  });

  // Each its own table: two transactions that read one page of an index may well conflict without any cache.
  test.each(ISOLATIONS)('of two tables of one realm at %s never has to try again', async (isolation) => {
    await createFiles();
    await app.run('create table if not exists others (path text, source text)');
    await track(app, { source: 'others' });
    await news();
    const writers = [session(db), session(db)] as const;
    for (let round = 0; round < 5; round += 1) {
      for (const writer of writers) await writer.begin(isolation);
      for (const [i, table] of ['files', 'others'].entries()) {
        await writers[i]?.run(`
          insert into ${table} values ('shared${round}.ts', ''), ('/odd${round}.ts', '');
          update ${table} set source = 'new';
          delete from ${table}`);
      }
      for (const writer of writers) await writer.commit();
    }
    await Promise.all(writers.map((writer) => writer.close()));
    expect(await news()).toHaveLength(30);
    await app.run('drop table others');
  });

  test('with a table of its own search_path and names that need quotes is understood', async () => {
    await app.run(`
      create schema "Odd ""schema""";
      create table "Odd ""schema"""."T'able\\" ("select" integer, "Pa""th'\\ ü $1 %s" text, "réalm" text)`);
    const source = `"Odd ""schema"""."T'able\\"`;
    await track(app, { source, path: `Pa"th'\\ ü $1 %s`, realmColumn: 'réalm' });
    expect(
      await app.run(
        'select source, path_column, realm_column, problem from module_cache.tracked_tables where problem is null',
      ),
    ).toContainEqual({
      source,
      path_column: `Pa"th'\\ ü $1 %s`,
      realm_column: 'réalm',
      problem: null,
    });
    await news();
    await app.run(`insert into ${source} values (1, 'a.ts', '${OTHER}')`);
    expect(await news()).toEqual([`${OTHER} a.ts`]);
    await app.run(`drop table ${source}`);
  });

  test('keeps apart paths that only a collation thinks are the same', async () => {
    await app.run(
      `create collation anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
    );
    await createFiles('path text collate anycase');
    await app.run(`insert into files values ('a.ts'), ('A.ts')`);
    expect(await news()).toEqual([`${REALM} A.ts a.ts`]);
  });
});

describe('paths of type', () => {
  beforeAll(() =>
    app.run(`
      create extension citext;
      create domain short as varchar(20) check (value <> 'b.ts');
      create domain padded as char(20);
      create type listed as enum ('a.ts', 'b.ts')`),
  );
  test.each(['varchar(20)', 'char(20)', 'name', 'citext', 'short', 'padded', 'listed'])(
    '%s',
    async (type) => {
      await createFiles(`path ${type}, realm ${type === 'name' ? 'name' : 'text'}`, 'realm');
      await app.run(`insert into files values ('a.ts')`);
      expect(await news()).toEqual([`${REALM} a.ts`]);
    },
  );
});

test("a cast that belongs to a table's owner does not run with the rights of the schema's owner", async () => {
  await app.run(`
    create type trap as enum ('a.ts');
    create table caught (role name);
    create function spring(trap) returns text language sql
      as $$ insert into caught values (current_user) returning 'a.ts' $$;
    create cast (trap as text) with function spring(trap) as implicit`);
  await createFiles('path trap');
  await app.run(`insert into files values ('a.ts'::trap)`);
  expect(await news()).toEqual([`${REALM} a.ts`]);
  expect(await app.run('select * from caught')).toEqual([]);
});

describe('a bulk update', () => {
  const update = async (rows: number): Promise<number> => {
    const begin = performance.now();
    await app.run(`update files set source = 'x' where id <= ${rows}`);
    return performance.now() - begin;
  };
  const median = async (rows: number): Promise<number> => {
    const times = [await update(rows), await update(rows), await update(rows)];
    return times.sort((a, b) => a - b)[1] as number;
  };
  beforeAll(async () => {
    await createFiles('id integer primary key, path text, source text');
    await app.run(
      `insert into files select i, 'some/folder/file-' || i || '.ts' from generate_series(1, 100000) i`,
    );
  });

  test('of 100,000 rows commits, with one row in the log', async () => {
    const { cursor } = await app.changesSince(null);
    const observer = await observe(db);
    await app.publish('some/folder/file-77777.ts', 'old');
    await update(100_000);
    expect(
      await app.run(`
        select scope, realm_url, modules from module_cache.invalidations
        where xid = (select max(xid) from module_cache.invalidations)`),
    ).toEqual([{ scope: 'module', realm_url: REALM, modules: 100_000 }]);
    expect((await observer.heard()).map((payload) => JSON.parse(payload).k)).toEqual(['log']);
    expect((await app.get('some/folder/file-77777.ts')).status).toBe('miss');
    // More than a peer takes note of one by one.
    expect((await app.changesSince(cursor)).complete).toBe(false);
  }, 60_000);

  test('takes time in proportion to its rows', async () => {
    await update(20_000);
    expect((await median(20_000)) / (await median(10_000))).toBeLessThan(4);
  }, 60_000);

  test('of more rows than peers take note of clears the realm', async () => {
    watcher = await watch(db);
    await app.run(`insert into files select i, 'more/' || i from generate_series(100001, 200001) i`);
    expect(await news()).toEqual([`clear ${REALM}`]);
  }, 60_000);
});
