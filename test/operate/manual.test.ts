import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { testWith } from '../support/with-programs.js';

/** What \d+ says of the views, and how they look at a prompt of 80 columns. */

const COLUMNS = 80;
let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

test('\\d+ explains every column of every view', async () => {
  const unexplained = await database.sql`
    select a.attrelid::regclass || '.' || a.attname as name
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid
    where c.relnamespace = 'module_cache'::regnamespace and c.relkind = 'v' and a.attnum > 0
      and col_description(a.attrelid, a.attnum) is null`;
  expect(unexplained.map(({ name }) => name)).toEqual([]);
});

testWith('psql', 'whole rows of every view fit into the columns of a terminal', async () => {
  const long = `${'a-long-folder/'.repeat(8)}module.ts`;
  await database.sql`
    select p.reason from module_cache.get('https://app.example/', ${long}) g, lateral module_cache.put(
      'https://app.example/', ${long}, 'transpile', 'v', ${'export {};'.repeat(20)}, '{"etag": "1"}',
      array[${long}], g.token) p`;
  await database.sql`select module_cache.invalidate('https://app.example/', array[${long}])`;
  await database.sql`select module_cache.claim('https://app.example/', ${long}, 'transpile', 'v')`;
  await database.sql`create table sources (path text, source text)`;
  await database.sql`select module_cache.track_table('sources', 'https://app.example/', 'path')`;
  // Peers are looked at with a fleet, in docs/operating.md.
  const views = ['artifacts', 'tombstones', 'invalidations', 'claims', 'tracked_tables', 'stats'];
  // As docs/operating.md tells to set it.
  const looks = ['pager=off', 'expanded=auto', 'format=wrapped', `columns=${COLUMNS}`].flatMap((look) => [
    '-P',
    look,
  ]);
  for (const view of views) {
    const rows = execFileSync(
      'psql',
      ['-X', '-q', ...looks, '-c', `select * from module_cache.${view}`, database.url],
      { encoding: 'utf8' },
    );
    const widest = Math.max(...rows.split('\n').map((line) => line.length));
    expect([view, widest <= COLUMNS]).toEqual([view, true]);
  }
});
