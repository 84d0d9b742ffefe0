import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createDatabase } from '../support/database.js';

describe('the schema', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  beforeAll(async () => {
    database = await createDatabase();
  });
  afterAll(() => database.drop());

  test('explains every function, table, view and type to who types \\df+ or \\d+', async () => {
    const silent = await database.sql`
      select proname::text as name from pg_proc
      where pronamespace = 'module_cache'::regnamespace and obj_description(oid, 'pg_proc') is null
      union all
      select relname::text from pg_class
      where relnamespace = 'module_cache'::regnamespace and relkind in ('r', 'v', 'c')
        and coalesce(
          obj_description(oid, 'pg_class'), (select obj_description(t.oid, 'pg_type') from pg_type t where t.typrelid = pg_class.oid)
        ) is null`;
    expect(silent).toEqual([]);
  });

  test('grants nothing to public', async () => {
    const open = await database.sql`
      select proname::text as name from pg_proc
      where pronamespace = 'module_cache'::regnamespace and has_function_privilege('public', oid, 'execute')
      union all
      select relname::text from pg_class
      where relnamespace = 'module_cache'::regnamespace and relkind in ('r', 'v')
        and has_table_privilege('public', oid, 'select, insert, update, delete')`;
    expect(open).toEqual([]);
  });

  test('cannot be led astray by the search_path of who calls it', async () => {
    const loose = await database.sql`
      select proname::text as name from pg_proc p join pg_language l on l.oid = p.prolang
      where pronamespace = 'module_cache'::regnamespace
        and not case l.lanname
          when 'sql' then p.prosqlbody is not null
          else coalesce('search_path=pg_catalog, module_cache, pg_temp' = any (p.proconfig), false)
        end`;
    expect(loose).toEqual([]);
  });

  test('keeps everything that a crash must empty in unlogged tables', async () => {
    const logged = await database.sql`
      select relname from pg_class
      where relnamespace = 'module_cache'::regnamespace and relkind in ('r', 'i', 'S') and relpersistence <> 'u'
        and relname !~ '^_private_realms'`;
    expect(logged).toEqual([]);
  });
});
