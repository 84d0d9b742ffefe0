import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { openKysely } from '../../src/database.js';
import { createDatabase } from '../support/database.js';

/** Interface names and their columns, as `src/database.ts` states them. */
function statedColumns(): Map<string, string[]> {
  const text = readFileSync(new URL('../../src/database.ts', import.meta.url), 'utf8');
  const views = [...text.matchAll(/'module_cache\.(\w+)': (\w+);/g)];
  return new Map(
    views.map(([, view, type]) => {
      const body = new RegExp(`interface ${type} \\{(.*?)\\n\\}`, 's').exec(text)?.[1] ?? '';
      return [view as string, [...body.matchAll(/^ {2}(\w+): /gm)].map(([, column]) => column as string)];
    }),
  );
}

describe('the rows that Kysely types', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  beforeAll(async () => {
    database = await createDatabase();
  });
  afterAll(() => database.drop());

  test('are the columns of the views, all of them and no others', async () => {
    const stated = statedColumns();
    const actual = await database.sql`
      select table_name, array_agg(column_name::text) as columns
      from information_schema.columns
      where table_schema = 'module_cache'
        and table_name in (select viewname from pg_views where schemaname = 'module_cache')
      group by table_name`;
    expect(new Map(actual.map((row) => [row.table_name, [...row.columns].sort()]))).toEqual(
      new Map([...stated].map(([view, columns]) => [view, [...columns].sort()])),
    );
  });

  test('have transaction ids and counts as text, because they do not fit a number', async () => {
    const kysely = openKysely(database.sql);
    await database.sql`select module_cache.invalidate('https://k.example/', array['a.ts', '/odd'])`;
    const [row] = await kysely.selectFrom('module_cache.invalidations').selectAll().execute();
    expect(row).toMatchObject({ xid: expect.any(String), ignored: '1', modules: 1, named_paths: ['a.ts'] });
    const [tombstone] = await kysely.selectFrom('module_cache.tombstones').selectAll().execute();
    expect(tombstone).toMatchObject({ canonical_path: 'a.ts', generation: row?.xid });
  });
});
