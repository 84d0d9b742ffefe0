import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type Session, session } from './support/session.js';

/** The manual that \df+ and \d+ show, and the conventions that keep the functions safe. */

let db: TestDatabase;
let cache: Session;
beforeAll(async () => {
  db = await createDatabase();
  cache = session(db);
});
afterAll(() => db.drop());

const names = async (query: string): Promise<unknown[]> => (await cache.run(query)).map(({ name }) => name);

test('every function, table, view and type says what it is', async () => {
  expect(
    await names(`
      select p.oid::regprocedure::text as name from pg_proc p
      where p.pronamespace = 'module_cache'::regnamespace and obj_description(p.oid, 'pg_proc') is null
      union all
      select c.oid::regclass::text from pg_class c
      where c.relnamespace = 'module_cache'::regnamespace and c.relkind in ('r', 'v', 'c')
        and obj_description(c.oid, 'pg_class') is null and obj_description(c.reltype, 'pg_type') is null`),
  ).toEqual([]);
});

test('every public function has the signature that others call', async () => {
  const functions = await cache.run(`
    select p.proname || '(' || pg_get_function_arguments(p.oid) || ')' as signature
    from pg_proc p
    where p.pronamespace = 'module_cache'::regnamespace and p.proname !~ '^_'
    order by 1`);
  expect(functions.map(({ signature }) => signature)).toEqual(
    expect.arrayContaining([
      'changes_since(INOUT cursor text, OUT complete boolean, OUT changes jsonb)',
      'claim(realm_url text, canonical_path text, kind text, variant text)',
      'clear_all()',
      'clear_realm(realm_url text)',
      'coherence_token()',
      "collect_garbage(older_than interval DEFAULT '01:00:00'::interval, batch integer DEFAULT 10000, OUT artifacts bigint, OUT renewed bigint, OUT generations bigint, OUT invalidations bigint, OUT complete boolean)",
      "get(realm_url text, canonical_path text, kind text DEFAULT 'transpile'::text, variant text DEFAULT ''::text, OUT status text, OUT body text, OUT headers jsonb, OUT dependency_keys text[], OUT generation xid8, OUT token text, OUT expires_in interval)",
      'invalidate(realm_url text, canonical_paths text[])',
      'is_current(realm_url text, canonical_path text, kind text, variant text, token text)',
      'oldest_client()',
      'put(realm_url text, canonical_path text, kind text, variant text, body text, headers jsonb, dependency_keys text[], token text, expires_in interval DEFAULT NULL::interval, is_error boolean DEFAULT false, OUT stored boolean, OUT reason text)',
      'release(realm_url text, canonical_path text, kind text, variant text)',
      'schema_version()',
      'track_table(source regclass, realm_url text, path_column name, realm_column name DEFAULT NULL::name)',
      'untrack_table(source regclass)',
    ]),
  );
});

test('no function can be led astray by a search_path', async () => {
  expect(
    await names(`
      select p.oid::regprocedure::text as name from pg_proc p
      where p.pronamespace = 'module_cache'::regnamespace
        and p.prosqlbody is null
        and not 'search_path=pg_catalog, module_cache, pg_temp' = any (coalesce(p.proconfig, '{}'))`),
  ).toEqual([]);
});

test('get and is_current are stable, what writes is volatile and unsafe in parallel', async () => {
  const rows = await cache.run(`
    select proname, provolatile, proparallel from pg_proc
    where pronamespace = 'module_cache'::regnamespace and proname !~ '^_' order by 1`);
  const labels = Object.fromEntries(rows.map((row) => [row.proname, `${row.provolatile}${row.proparallel}`]));
  expect(labels).toMatchObject({
    get: 'su',
    is_current: 'su',
    put: 'vu',
    invalidate: 'vu',
    clear_realm: 'vu',
    clear_all: 'vu',
    changes_since: 'vu',
    claim: 'vu',
    release: 'vu',
    collect_garbage: 'vu',
    coherence_token: 'vu',
    track_table: 'vu',
    untrack_table: 'vu',
  });
});

test('an operator finds the view that she can delete from', async () => {
  const rows = await cache.run(`
    select table_name, is_insertable_into from information_schema.views where table_schema = 'module_cache' order by 1`);
  expect(rows.map(({ table_name }) => table_name)).toEqual(
    expect.arrayContaining(['artifacts', 'invalidations', 'tombstones', 'tracked_tables']),
  );
  const [row] = await cache.run(
    `select pg_relation_is_updatable('module_cache.artifacts'::regclass, false) & 16 as delete`,
  );
  expect(row).toEqual({ delete: 16 });
});
