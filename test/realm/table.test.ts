import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import postgres, { type Sql } from 'postgres';
import { createSourceGuard, type ModuleSource, openTable, type TableOptions } from '../../src/realm/index.js';
import { openInstance } from '../client/support/instance.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { startBouncer } from '../support/pgbouncer.js';
import { describeWith } from '../support/with-programs.js';
import { type Disk, openDisk } from './support/disk.js';

const realm = 'https://table.example/';

describe('modules in a table', () => {
  let database: TestDatabase;
  let sql: Sql;
  beforeAll(async () => {
    database = await createDatabase();
    sql = database.sql;
  });
  afterAll(() => database.drop());
  const open = (table: string, more: Partial<TableOptions> = {}): Promise<ModuleSource> =>
    openTable({ sql, realm, table, ...more });
  async function listed(source: ModuleSource): Promise<string[]> {
    const paths: string[] = [];
    for await (const path of source.list()) paths.push(path);
    return paths;
  }

  test('a module is read with its hash and the time of its last change', async () => {
    await sql`create table dated (path text, source text, updated_at timestamptz)`;
    await sql`insert into dated values ('a.ts', 'é', '2026-01-02T03:04:05.678901Z'), ('b.ts', '', 'infinity')`;
    const source = await open('dated');
    expect(await source.read('a.ts')).toEqual({
      text: 'é',
      hash: '4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c',
      lastModified: new Date('2026-01-02T03:04:05.678Z'),
    });
    expect(await source.read('b.ts')).toEqual({ text: '', hash: expect.any(String) });
    expect(await source.read('none.ts')).toBeUndefined();
    expect(source.isTransactional).toBe(false);
    expect((await open('dated', { tracked: true })).isTransactional).toBe(true);
  });

  test('a time that says nothing is no time of a change', async () => {
    await sql`create table zoneless (path text, source text, updated_at timestamp, modified_at date)`;
    await sql`insert into zoneless values ('a.ts', 'a', now(), now())`;
    expect(await (await open('zoneless')).read('a.ts')).not.toHaveProperty('lastModified');
  });

  test.each([
    ['app.files', 'app.files'],
    ['"Odd ""name"".x"', '"Odd ""name"".x"'],
    ['Mixed', '"Mixed"'],
    ['App.Mixed', '"App"."Mixed"'],
    ['select', '"select"'],
    ["it's; drop table dated", `"it's; drop table dated"`],
  ])('a table may be called %s', async (name, spelled) => {
    await sql`create schema if not exists app`;
    await sql`create schema if not exists "App"`;
    await sql.unsafe(`create table ${spelled} (path text, source text)`);
    await sql.unsafe(`insert into ${spelled} values ('a.ts', $1)`, [name]);
    expect((await (await open(name)).read('a.ts'))?.text).toBe(name);
  });

  test.each(['', 'none', 'a b', 'a.b.c.d', '"', 'pg_class_oid_index', 'x'.repeat(100)])(
    '"%s" is no table',
    async (name) => {
      await expect(open(name)).rejects.toMatchObject({ code: 'MC107', message: 'no such table' });
    },
  );

  test('columns are found by their names, or named; only those that hold text', async () => {
    await sql`create table odd (id int, name varchar(100), "Text; --" text, body jsonb, content text, "where" text)`;
    await sql`insert into odd values (1, 'a.ts', 'named', '{}', 'found', ${realm}), (2, 'b.ts', 'x', '{}', 'x', 'y')`;
    expect((await (await open('odd')).read('a.ts'))?.text).toBe('found');
    const source = await open('odd', { sourceColumn: 'Text; --', realmColumn: 'where' });
    expect((await source.read('a.ts'))?.text).toBe('named');
    expect(await listed(source)).toEqual(['a.ts']);
    expect(await source.resolve('b')).toBeUndefined();
  });

  test.each([
    [{}, 'more than one column of the table could be meant', 'Pass pathColumn, one of: filename, name.'],
    [
      { pathColumn: 'filename' },
      'no column of the table could be meant',
      'Pass sourceColumn, one of: filename, name, other.',
    ],
    [
      { pathColumn: 'none' },
      'the table has no such column of text',
      'Pass pathColumn, one of: filename, name, other.',
    ],
    [
      { pathColumn: 'id' },
      'the table has no such column of text',
      'Pass pathColumn, one of: filename, name, other.',
    ],
    [
      { pathColumn: 'filename', sourceColumn: 'name', realmColumn: 'id' },
      'the table has no such column of text',
      'Pass realmColumn, one of: filename, name, other.',
    ],
  ])('columns that cannot be told are asked for: %j', async (options, message, hint) => {
    await sql`create table if not exists unclear (id int, filename text, name text, other text, source bytea)`;
    await expect(open('unclear', options)).rejects.toMatchObject({ code: 'MC107', message, hint });
  });

  test('beside a path and a source no other column is meant', async () => {
    await sql`create table clear (path text, name text, source text, body text)`;
    await sql`insert into clear values ('a.ts', 'b.ts', 'meant', 'not meant')`;
    expect((await (await open('clear')).read('a.ts'))?.text).toBe('meant');
  });

  test('odd paths, and rows without a source, are no modules', async () => {
    await sql`create table odd_paths (path text, source text)`;
    const odd = [
      '/a.ts',
      '../a.ts',
      'a/../b.ts',
      './a.ts',
      'a?b.ts',
      'a#.ts',
      '',
      'readme.md',
      `${'x'.repeat(2000)}.ts`,
    ];
    for (const path of odd) await sql`insert into odd_paths values (${path}, 'x')`;
    await sql`insert into odd_paths values ('null.ts', null), (null, 'x'), ('good.ts', 'x')`;
    const source = await open('odd_paths');
    expect(await listed(source)).toEqual(['good.ts']);
    for (const path of [...odd, 'null.ts', 'null'])
      expect([await source.resolve(path), await source.read(path), await source.stamp(path)]).toEqual([
        undefined,
        undefined,
        undefined,
      ]);
  });

  test('two sources for one module are an error, not one of them by chance', async () => {
    await sql`create table versions (path text, source text)`;
    await sql`insert into versions values ('a.ts', '1'), ('a.ts', '2')`;
    const source = await open('versions');
    await expect(source.read('a.ts')).rejects.toMatchObject({ code: 'MC107', hint: expect.any(String) });
    await expect(source.stamp('a.ts')).rejects.toMatchObject({ code: 'MC107' });
    expect(await listed(source)).toEqual(['a.ts']);
  });

  test('names that the collation of the column holds for equal are told apart', async () => {
    await sql`create collation if not exists lax (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`;
    await sql`create table lax (path text collate lax, source text)`;
    await sql`insert into lax values ('A.ts', 'upper'), ('a.ts', 'lower')`;
    const source = await open('lax');
    expect((await source.read('a.ts'))?.text).toBe('lower');
    expect(await source.resolve('A')).toBe('A.ts');
    expect(await listed(source)).toEqual(['A.ts', 'a.ts']);
  });

  test('only what is committed is read, and a transaction is refused', async () => {
    await sql`create table committed (path text primary key, source text)`;
    const source = await open('committed');
    await sql.begin(async (tx) => {
      await tx`insert into committed values ('a.ts', 'x')`;
      expect(await source.resolve('a')).toBeUndefined();
      expect(await source.stamp('a.ts')).toBeUndefined();
      const within = openTable({ sql: tx as unknown as Sql, table: 'committed', realm });
      await expect(within).rejects.toMatchObject({
        code: 'MC107',
        hint: expect.stringContaining('committed'),
      });
    });
    const [before, read] = [await source.stamp('a.ts'), await source.read('a.ts')];
    expect(read?.text).toBe('x');
    await sql`update committed set source = 'y'`;
    expect(await source.stamp('a.ts')).not.toBe(before);
  });

  test('a long table is listed in pages', async () => {
    await sql`create table long (path text primary key, source text)`;
    await sql`insert into long select 'module-' || i || '.ts', 'x' from generate_series(1, 5000) i`;
    const paths = await listed(await open('long'));
    expect([paths.length, new Set(paths).size]).toEqual([5000, 5000]);
    expect(paths).toEqual([...paths].sort());
  });

  test('transforms and types of the instance change nothing', async () => {
    await sql`create table file_list (file_path text, source text, updated_at timestamptz)`;
    await sql`insert into file_list values ('a_b.ts', 'text_of it', '2026-01-02T03:04:05Z')`;
    const instance = openInstance(database.url, {
      prepare: false,
      fetch_types: false,
      transform: { ...postgres.camel, undefined: null },
      types: { stamp: { to: 1184, from: [1184], serialize: String, parse: () => 'parsed' } },
    });
    try {
      const source = await openTable({ sql: instance.sql, table: 'file_list', realm });
      expect(await source.resolve('a_b')).toBe('a_b.ts');
      expect(await source.read('a_b.ts')).toMatchObject({
        text: 'text_of it',
        lastModified: new Date('2026-01-02T03:04:05Z'),
      });
      expect(await listed(source)).toEqual(['a_b.ts']);
      expect(await source.stamp('a_b.ts')).toBe((await source.read('a_b.ts'))?.hash);
    } finally {
      await instance.close();
    }
  });
});

describe('a guard of modules in a table', () => {
  let disk: Disk;
  beforeAll(async () => {
    disk = await openDisk();
    await disk.begin();
  });
  afterAll(async () => {
    await disk.end();
    await disk.close();
  });

  test('an edit that nobody has told of is found', async () => {
    const { cache, database } = disk;
    await database.sql`create table files (path text primary key, source text)`;
    await database.sql`insert into files values ('a.ts', '1')`;
    const source = await openTable({ sql: database.sql, table: 'files', realm: disk.realm });
    await disk.store(source, 'a.ts');
    const guard = createSourceGuard({ cache, realm: disk.realm, source, recheckMs: 0 });
    const module = cache.peek({ realm: disk.realm, path: 'a.ts' });
    if (module === undefined) throw new Error('it is not stored');
    expect(await guard.isCurrent('a.ts', module)).toBe(true);
    await database.sql`update files set source = '2'`;
    expect(await guard.isCurrent('a.ts', module)).toBe(false);
    expect(cache.peek({ realm: disk.realm, path: 'a.ts' })).toBeUndefined();
  });
});

describeWith('pgbouncer', 'modules in a table, through PgBouncer', () => {
  test('are read by an instance that prepares nothing', async () => {
    const database = await createDatabase();
    const bouncer = await startBouncer(database.url, { poolSize: 2 });
    const instance = postgres(bouncer.url(database.url), { prepare: false, fetch_types: false, max: 4 });
    try {
      await database.sql`create table files (path text primary key, source text)`;
      await database.sql`insert into files select 'module-' || i || '.ts', 'x' || i from generate_series(1, 100) i`;
      const source = await openTable({ sql: instance, table: 'files', realm });
      const numbers = Array.from({ length: 100 }, (_, index) => index + 1);
      const texts = await Promise.all(numbers.map(async (n) => (await source.read(`module-${n}.ts`))?.text));
      expect(texts).toEqual(numbers.map((n) => `x${n}`));
      expect(await source.resolve('module-7')).toBe('module-7.ts');
    } finally {
      await instance.end({ timeout: 1 });
      await bouncer.stop();
      await database.drop();
    }
  });
});
