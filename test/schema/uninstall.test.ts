import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { migrate } from '../../src/schema/migrate.js';
import { installScript } from '../../src/schema/script.js';
import { uninstall } from '../../src/schema/uninstall.js';
import { connect, createDatabase, type TestDatabase } from '../support/database.js';
import { startServer, type TestServer } from '../support/server.js';

// A server of its own: roles belong to the whole server.
let server: TestServer;
let database: TestDatabase;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.remove());
beforeEach(async () => {
  database = await createDatabase({ template: false, serverUrl: server.url });
});
afterEach(() => database.drop());

/** Everything in the cluster and this database that is named after us, or came with the migrations. */
async function traces(): Promise<string[]> {
  const rows = await database.sql<{ name: string }[]>`
    select 'schema ' || nspname as name from pg_namespace where nspname in ('module_cache', 'graphile_migrate')
    union all
    select 'role ' || rolname from pg_roles where rolname like 'module\\_cache%'
    union all
    select 'extension ' || extname from pg_extension where extname = 'module_cache'
    union all
    select 'event trigger ' || evtname from pg_event_trigger
    order by 1`;
  return rows.map(({ name }) => name);
}

const roles = ['role module_cache_operator', 'role module_cache_reader', 'role module_cache_writer'];

describe('uninstall', () => {
  test('leaves nothing behind of what migrate brought, and a second one finds nothing', async () => {
    await migrate({ databaseUrl: database.url });
    expect(await traces()).toEqual([...roles, 'schema graphile_migrate', 'schema module_cache']);
    const result = await uninstall({ databaseUrl: database.url });
    expect(result.kept).toEqual([]);
    expect(result.removed).toEqual([
      expect.stringMatching(/^schema module_cache \d+\.\d+\.\d+$/),
      'schema graphile_migrate',
      ...roles,
    ]);
    expect(await traces()).toEqual([]);
    expect(await uninstall({ databaseUrl: database.url })).toEqual({ removed: [], kept: [] });
    // And it can come back.
    expect((await migrate({ databaseUrl: database.url })).applied.length).toBeGreaterThan(0);
    await uninstall({ databaseUrl: database.url });
  });

  test('as a dry run says the same and changes nothing', async () => {
    await migrate({ databaseUrl: database.url });
    const before = await traces();
    const dry = await uninstall({ databaseUrl: database.url, dryRun: true });
    expect(await traces()).toEqual(before);
    expect(await uninstall({ databaseUrl: database.url })).toEqual(dry);
  });

  test("keeps a role that has members, and one that another database needs, and the application's history", async () => {
    const { sql, url } = database;
    await sql.unsafe(`
      create schema graphile_migrate;
      create table graphile_migrate.migrations (
        hash text primary key, previous_hash text references graphile_migrate.migrations, filename text not null,
        date timestamptz not null default now());
      insert into graphile_migrate.migrations (hash, filename) values ('sha1:theirs', '000001.sql')`);
    await sql.begin((tx) => tx.unsafe(installScript()));
    const other = await createDatabase({ template: false, serverUrl: server.url });
    await other.sql.begin((tx) => tx.unsafe(installScript()));
    await sql`revoke all on all functions in schema module_cache from module_cache_reader`;
    await other.sql.unsafe(
      `drop owned by module_cache_reader; create role app; grant module_cache_reader to app`,
    );
    const { removed, kept } = await uninstall({ databaseUrl: url });
    expect(removed).toEqual([expect.stringMatching(/^schema module_cache/)]);
    expect(kept).toEqual([
      { what: 'schema graphile_migrate', because: expect.stringContaining('not ours') },
      { what: 'role module_cache_operator', because: expect.stringContaining('another database') },
      { what: 'role module_cache_reader', because: 'its members are app' },
      { what: 'role module_cache_writer', because: expect.stringContaining('another database') },
    ]);
    expect(await other.sql`select status from module_cache.get('https://a.example/', 'a.ts')`).toHaveLength(
      1,
    );
    await sql.unsafe(
      'revoke module_cache_reader from app; drop role app; drop schema graphile_migrate cascade',
    );
    await uninstall({ databaseUrl: other.url });
    await other.drop();
    expect(await traces()).toEqual([]);
  });

  test('refuses while something outside depends on the schema, names it, and removes nothing', async () => {
    const { sql, url } = database;
    await migrate({ databaseUrl: url });
    const before = await traces();
    await sql.unsafe(`
      create view live_modules as select canonical_path from module_cache.artifacts where status = 'live';
      create table mine (version text default module_cache.schema_version(), module module_cache.module)`);
    await expect(uninstall({ databaseUrl: url })).rejects.toMatchObject({
      code: 'MC004',
      detail: expect.stringMatching(/live_modules.*mine|mine.*live_modules/),
    });
    expect(await traces()).toEqual(before);
    await sql.unsafe('drop view live_modules; drop table mine');
    await uninstall({ databaseUrl: url });
  });

  test('takes the triggers off tracked tables first and names them, also in a dry run', async () => {
    const { sql, url } = database;
    await migrate({ databaseUrl: url });
    await sql.unsafe(`
      create schema app;
      create table app."Odd name" (path text);
      create table files (path text) partition by hash (path);
      create table files_0 partition of files for values with (modulus 1, remainder 0);
      select module_cache.track_table('app."Odd name"', 'https://a.example/', 'path');
      select module_cache.track_table('files', 'https://a.example/', 'path')`);
    const triggers = () => sql`select tgname from pg_trigger where not tgisinternal`;
    const before = await triggers();
    const dry = await uninstall({ databaseUrl: url, dryRun: true });
    expect(dry.removed.slice(0, 3)).toEqual([
      'triggers of table app."Odd name"',
      'triggers of table files',
      expect.stringMatching(/^schema module_cache/),
    ]);
    expect(await triggers()).toEqual(before);
    expect(await uninstall({ databaseUrl: url })).toEqual(dry);
    expect(await triggers()).toEqual([]);
    await sql`insert into files values ('still/writable.ts')`;
  });

  test('refuses when a tracked table belongs to somebody else, names it, and removes nothing', async () => {
    const { sql, url, name } = database;
    await sql.unsafe(
      `create role tenant login createrole password 'tenant'; alter database ${name} owner to tenant`,
    );
    const asTenant = Object.assign(new URL(url), { username: 'tenant', password: 'tenant' }).href;
    await migrate({ databaseUrl: asTenant });
    await sql.unsafe(`
      create table files (path text);
      select module_cache.track_table('files', 'https://a.example/', 'path')`);
    await expect(uninstall({ databaseUrl: asTenant })).rejects.toMatchObject({
      code: 'MC004',
      detail: expect.stringContaining('public.files'),
    });
    expect(await sql`select source::text from module_cache.tracked_tables`).toEqual([{ source: 'files' }]);
    await sql`select module_cache.untrack_table('files')`;
    expect((await uninstall({ databaseUrl: asTenant })).kept).toEqual([]);
    await sql.unsafe('reassign owned by tenant to current_user; drop owned by tenant; drop role tenant');
  });

  test('refuses a schema that is not ours', async () => {
    await database.sql`create schema module_cache`;
    await expect(uninstall({ databaseUrl: database.url })).rejects.toMatchObject({ code: 'MC004' });
    expect(await traces()).toEqual(['schema module_cache']);
  });

  test('does not wait for ever for a transaction that has invalidated, and changes nothing', async () => {
    await migrate({ databaseUrl: database.url });
    const busy = connect(database.url, { max: 1 });
    await busy`begin`;
    await busy`select module_cache.invalidate('https://a.example/', array['a.ts'])`;
    await expect(uninstall({ databaseUrl: database.url })).rejects.toMatchObject({
      code: 'MC004',
      message: 'the schema is in use',
    });
    await busy`commit`;
    expect(await database.sql`select scope from module_cache.invalidations`).toEqual([{ scope: 'module' }]);
    await uninstall({ databaseUrl: database.url });
  });

  test('by the owner of the database, who is no superuser, takes out what migrate put in', async () => {
    const { sql, url, name } = database;
    await sql.unsafe(
      `create role tenant login createrole password 'tenant'; alter database ${name} owner to tenant`,
    );
    const asTenant = Object.assign(new URL(url), { username: 'tenant', password: 'tenant' }).href;
    await migrate({ databaseUrl: asTenant });
    expect((await uninstall({ databaseUrl: asTenant })).kept).toEqual([]);
    expect(await traces()).toEqual([]);
    await sql.unsafe('reassign owned by tenant to current_user; drop owned by tenant; drop role tenant');
  });
});
