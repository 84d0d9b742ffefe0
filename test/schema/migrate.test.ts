import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { describeSchema } from '../../src/schema/describe.js';
import { committedMigrations } from '../../src/schema/files.js';
import { type MigrateResult, migrate } from '../../src/schema/migrate.js';
import { installScript } from '../../src/schema/script.js';
import { connect, createDatabase, type TestDatabase } from '../support/database.js';
import { startChild } from '../support/process.js';
import { startServer, type TestServer, temporaryFolder } from '../support/server.js';
import { until } from '../support/wait.js';
import { migrationsUpTo } from './support/releases.js';

type Message =
  | { type: 'ready' }
  | { type: 'migrated'; result: MigrateResult }
  | { type: 'failed'; code: string; message: string; detail: string };

// A server of its own: roles belong to the whole server, and here they are held back, and connections are used up.
let server: TestServer;
let database: TestDatabase;
const created: TestDatabase[] = [];
const folders: string[] = [];
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.remove());
afterEach(async () => {
  await Promise.all(created.splice(0).map((each) => each.drop()));
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

async function emptyDatabase(): Promise<TestDatabase> {
  database = await createDatabase({ template: false, serverUrl: server.url });
  created.push(database);
  return database;
}

const migrateInChild = (url: string) =>
  startChild<Message>(new URL('../support/children/migrate.mjs', import.meta.url), { args: [url] });

const schemas = async ({ sql }: TestDatabase): Promise<string[]> => {
  const rows = await sql<{ name: string }[]>`
    select nspname as name from pg_namespace where nspname in ('module_cache', 'graphile_migrate', 'half_way') order by 1`;
  return rows.map(({ name }) => name);
};

const names = committedMigrations().map(({ name }) => name);

describe('the files', () => {
  test('the install script leaves the transaction to whoever runs it', async () => {
    const { sql } = await emptyDatabase();
    const undo = new Error('undo');
    const undone = sql.begin(async (tx) => {
      await tx.unsafe(installScript());
      throw undo;
    });
    await expect(undone).rejects.toBe(undo);
    expect(await schemas(database)).toEqual([]);
  });
});

describe('a fleet that starts', () => {
  test('20 processes migrate at once: all succeed, one did it', async () => {
    const { url } = await emptyDatabase();
    const children = Array.from({ length: 20 }, () => migrateInChild(url));
    await Promise.all(children.map((child) => child.next('ready', 60_000)));
    for (const child of children) child.send({});
    const results = await Promise.all(children.map((child) => child.next('migrated', 60_000)));
    expect(results.flatMap(({ result }) => result.applied)).toEqual(names);
    expect(new Set(results.map(({ result }) => result.version)).size).toBe(1);
    expect((await Promise.all(children.map((child) => child.exited))).every(({ code }) => code === 0)).toBe(
      true,
    );
  }, 120_000);

  test('nothing is left of an install that was killed half-way, and the next one waits for its end', async () => {
    const { url } = await emptyDatabase();
    // The last file creates the roles. A role that is created but not committed elsewhere holds it there.
    const blocker = connect(server.url, { max: 1 });
    await blocker`drop role if exists module_cache_reader`;
    await blocker`begin`;
    await blocker`create role module_cache_reader`;
    const child = migrateInChild(url);
    await child.next('ready');
    child.send({});
    await until(() => isBlocked(url), { what: 'the install waits for the role' });
    await child.kill();

    const next = migrate({ databaseUrl: url });
    await until(() => isWaiting(url), { what: 'the next one has connected' });
    expect(await schemas(database)).toEqual([]);
    await blocker`rollback`;
    await blocker.end();
    expect((await next).version).toMatch(/^\d+\.\d+\.\d+$/);
    expect(await schemas(database)).toEqual(['graphile_migrate', 'module_cache']);
  });

  const isBlocked = async (url: string): Promise<boolean> => {
    const sql = connect(url, { max: 1 });
    const rows = await sql`select from pg_locks where not granted and locktype = 'transactionid'`;
    await sql.end();
    return rows.length > 0;
  };
  const isWaiting = async (url: string): Promise<boolean> => {
    const sql = connect(url, { max: 1 });
    const rows =
      await sql`select from pg_stat_activity where datname = current_database() and application_name = 'module-cache migrate'`;
    await sql.end();
    return rows.length > 1;
  };
});

describe('a database that is not empty', () => {
  test('a second run does nothing, and says so', async () => {
    const { url } = await emptyDatabase();
    expect(await migrate({ databaseUrl: url })).toMatchObject({ applied: names, managedBy: 'migrations' });
    const log: string[] = [];
    expect(await migrate({ databaseUrl: url, onLog: (line) => log.push(line) })).toMatchObject({
      applied: [],
      managedBy: 'migrations',
    });
    expect(log).toEqual(['the schema module_cache is up to date']);
  });

  test("an application's own graphile-migrate history is left alone", async () => {
    const { url, sql } = await emptyDatabase();
    await foreignHistory();
    await expect(migrate({ databaseUrl: url })).rejects.toMatchObject({
      code: 'MC004',
      hint: expect.stringContaining('module-cache sql'),
    });
    expect(await schemas(database)).toEqual(['graphile_migrate']);
    expect(await sql`select hash from graphile_migrate.migrations`).toEqual([{ hash: 'sha1:theirs' }]);
  });

  test('beside such a history, a schema from the install script is left alone, too', async () => {
    const { url, sql } = await emptyDatabase();
    await foreignHistory();
    await sql.begin((tx) => tx.unsafe(installScript()));
    expect(await migrate({ databaseUrl: url })).toMatchObject({ applied: [], managedBy: 'script' });
    expect(await sql`select hash from graphile_migrate.migrations`).toEqual([{ hash: 'sha1:theirs' }]);
  });

  test('a schema of that name that is not ours is not touched', async () => {
    const { url, sql } = await emptyDatabase();
    await sql`create schema module_cache`;
    await expect(migrate({ databaseUrl: url })).rejects.toMatchObject({ code: 'MC004' });
    expect(await schemas(database)).toEqual(['module_cache']);
  });

  test('after the schema was dropped it can be installed again', async () => {
    const { url, sql } = await emptyDatabase();
    await migrate({ databaseUrl: url });
    await sql`drop schema module_cache cascade`;
    expect(await migrate({ databaseUrl: url })).toMatchObject({ applied: names });
    expect(await schemas(database)).toEqual(['graphile_migrate', 'module_cache']);
  });

  test('an older client leaves a newer schema as it is', async () => {
    const { url, sql } = await emptyDatabase();
    await migrate({ databaseUrl: url });
    await sql`
      insert into graphile_migrate.migrations (hash, previous_hash, filename)
      select 'sha1:newer', hash, '999999.sql' from graphile_migrate.migrations order by filename desc limit 1`;
    expect(await migrate({ databaseUrl: url })).toMatchObject({ applied: [], managedBy: 'migrations' });
  });

  test('a migration that fails leaves the database as it was, and its message arrives', async () => {
    const { url } = await emptyDatabase();
    const migrationsFolder = migrationsThenFailure(0);
    await expect(migrate({ databaseUrl: url, migrationsFolder })).rejects.toMatchObject(divisionByZero);
    expect(await schemas(database)).toEqual([]);
  });

  test('a later migration that fails takes the earlier ones with it', async () => {
    const { url } = await emptyDatabase();
    const migrationsFolder = migrationsThenFailure(1);
    await expect(migrate({ databaseUrl: url, migrationsFolder })).rejects.toMatchObject(divisionByZero);
    expect(await schemas(database)).toEqual([]);
  });

  test('an upgrade that fails leaves the schema and what it holds, and the next one does it', async () => {
    const { url, sql } = await emptyDatabase();
    const older = migrationsUpTo(1, temporaryFolder());
    folders.push(older);
    await migrate({ databaseUrl: url, migrationsFolder: older });
    await sql`select module_cache.invalidate('https://a.example/', array['a.ts'])`;
    const before = await describeSchema(sql);
    const migrationsFolder = migrationsThenFailure(names.length);
    await expect(migrate({ databaseUrl: url, migrationsFolder })).rejects.toMatchObject(divisionByZero);
    expect(await describeSchema(sql)).toBe(before);
    expect(await sql`select canonical_path from module_cache.tombstones`).toHaveLength(1);
    expect((await migrate({ databaseUrl: url })).applied).toEqual(names.slice(1));
  });

  test('installing again that fails leaves the history of the schema that was dropped', async () => {
    const { url, sql } = await emptyDatabase();
    await migrate({ databaseUrl: url });
    await sql`drop schema module_cache cascade`;
    await sql`create function fail() returns event_trigger language plpgsql as 'begin raise ''no''; end'`;
    await sql`create event trigger fail on ddl_command_start when tag in ('CREATE VIEW') execute function fail()`;
    await expect(migrate({ databaseUrl: url })).rejects.toMatchObject({ code: 'MC004', detail: 'no' });
    expect(await sql`select from graphile_migrate.migrations`).toHaveLength(names.length);
    await sql`drop event trigger fail`;
  });

  const divisionByZero = { code: 'MC004', detail: 'division by zero' };

  /** The first of our migrations, and one that fails in its second statement. */
  function migrationsThenFailure(count: number): string {
    const folder = migrationsUpTo(count, temporaryFolder());
    folders.push(folder);
    const previous = committedMigrations(folder).at(-1)?.hash ?? '-';
    const text = 'create schema half_way;\nselect 1 / 0;\n';
    writeFileSync(
      join(folder, 'committed', '900000.sql'),
      `--! Previous: ${previous}\n--! Hash: sha1:x\n--! AllowInvalidHash\n\n${text}`,
    );
    return folder;
  }

  test('the owner of a database can install without being superuser, as on hosted servers', async () => {
    const { url, sql, name } = await emptyDatabase();
    await sql.unsafe(`create role tenant login password 'tenant'; alter database ${name} owner to tenant`);
    const asTenant = Object.assign(new URL(url), { username: 'tenant', password: 'tenant' }).href;
    try {
      expect(await migrate({ databaseUrl: asTenant })).toMatchObject({ applied: names });
    } finally {
      await sql.unsafe(`reassign owned by tenant to current_user; drop owned by tenant; drop role tenant`);
    }
  });

  test('where roles cannot be created everything else is there, and what is left out is named', async () => {
    const { url, sql, name } = await emptyDatabase();
    await dropRoles();
    await sql.unsafe(`create role tenant login password 'tenant'; alter database ${name} owner to tenant`);
    const asTenant = Object.assign(new URL(url), { username: 'tenant', password: 'tenant' }).href;
    const all = ['module_cache_reader', 'module_cache_writer', 'module_cache_operator'];
    const again = await migrate({ databaseUrl: asTenant });
    expect(again).toMatchObject({ applied: names, missingRoles: all });
    const tenant = connect(asTenant, { max: 1 });
    expect(await tenant`select status from module_cache.get('https://a.example/', 'a.ts')`).toHaveLength(1);
    expect(await tenant`select * from module_cache.grant_roles()`).toHaveLength(3);
    await sql`create role module_cache_reader`;
    expect(await tenant`select r from module_cache.grant_roles() r`).toEqual(
      all.slice(1).map((r) => ({ r })),
    );
    const [row] = await sql`
      select has_function_privilege('module_cache_reader', 'module_cache.get(text, text, text, text)', 'execute') as may`;
    expect(row).toEqual({ may: true });
    await tenant.end();
    await sql.unsafe('reassign owned by tenant to current_user; drop owned by tenant; drop role tenant');
  });

  test('the script leaves the same out, with a notice for each role', async () => {
    const { url, sql, name } = await emptyDatabase();
    await dropRoles();
    await sql.unsafe(`create role tenant login password 'tenant'; alter database ${name} owner to tenant`);
    const notices: string[] = [];
    const tenant = connect(Object.assign(new URL(url), { username: 'tenant', password: 'tenant' }).href, {
      max: 1,
      onnotice: ({ message, hint }) => notices.push(`${message} ${hint}`),
    });
    const leftOut = async (): Promise<number> => {
      notices.length = 0;
      await tenant.begin((tx) => tx.unsafe(installScript()));
      await tenant`drop schema module_cache cascade`;
      return notices.filter((notice) => /role module_cache_\w+ was not created.*grant_roles/.test(notice))
        .length;
    };
    expect(await leftOut()).toBe(3);
    // Of one that is there, whoever made it, nothing is said.
    await sql`create role module_cache_reader`;
    expect(await leftOut()).toBe(2);
    await tenant.end();
    await sql.unsafe('reassign owned by tenant to current_user; drop owned by tenant; drop role tenant');
  });

  async function dropRoles(): Promise<void> {
    const { sql } = database;
    const roles = await sql<
      { name: string }[]
    >`select rolname as name from pg_roles where rolname like 'module\\_cache\\_%'`;
    for (const { name } of roles) await sql.unsafe(`drop role ${name}`);
  }

  test('a role that may not create schemas is told what to ask for', async () => {
    const { url, sql, name } = await emptyDatabase();
    await sql.unsafe(
      `create role visitor login password 'visitor'; grant connect on database ${name} to visitor`,
    );
    const asVisitor = Object.assign(new URL(url), { username: 'visitor', password: 'visitor' }).href;
    await expect(migrate({ databaseUrl: asVisitor })).rejects.toMatchObject({
      code: 'MC004',
      hint: expect.stringContaining('module-cache sql'),
    });
    await sql`drop owned by visitor`;
    await sql`drop role visitor`;
  });

  test('the PG* variables do where there is no URL', async () => {
    const { url } = await emptyDatabase();
    const { hostname, port, username, password, pathname } = new URL(url);
    const before = { ...process.env };
    Object.assign(process.env, {
      PGHOST: hostname,
      PGPORT: port,
      PGUSER: username,
      PGDATABASE: pathname.slice(1),
    });
    process.env.PGPASSWORD = password;
    try {
      expect(await migrate()).toMatchObject({ applied: names });
    } finally {
      for (const variable of ['PGHOST', 'PGPORT', 'PGUSER', 'PGDATABASE', 'PGPASSWORD']) {
        if (before[variable] === undefined) delete process.env[variable];
        else process.env[variable] = before[variable];
      }
    }
  });

  async function foreignHistory(): Promise<void> {
    await database.sql.unsafe(`
      create schema graphile_migrate;
      create table graphile_migrate.migrations (
        hash text primary key,
        previous_hash text references graphile_migrate.migrations,
        filename text not null,
        date timestamptz not null default now()
      );
      insert into graphile_migrate.migrations (hash, filename) values ('sha1:theirs', '000001.sql')`);
  }
});
