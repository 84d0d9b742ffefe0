import { rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { type ModuleCache, openModuleCache } from '../../src/index.js';
import { migrate } from '../../src/schema/migrate.js';
import { upgradeScript } from '../../src/schema/script.js';
import { uninstall } from '../../src/schema/uninstall.js';
import { VERSION } from '../../src/versions.js';
import { connect, createDatabase, type TestDatabase } from '../support/database.js';
import { type TestServer, temporaryFolder } from '../support/server.js';
import { until } from '../support/wait.js';
import { firstRelease, startServerWithExtension } from './support/extension.js';
import { migrationsUpTo } from './support/releases.js';

/**
 * A rolling deploy: the schema is upgraded while a fleet of the released client works, then new processes join. In the
 * end everything is taken out again.
 */

// As it was released: the built client of 0.1.0, in one file.
const released: { openModuleCache: typeof openModuleCache } = await import(
  new URL('./releases/client-0.1.0.mjs', import.meta.url).href
);

const REALM = 'https://rolling.example/';
const paths = Array.from({ length: 8 }, (_, n) => `m${n}.ts`);

/** How the first release comes into a database, and how it is upgraded. */
const ways: Readonly<Record<string, { install(): Promise<unknown>; upgrade(): Promise<unknown> }>> = {
  'the migrations': {
    install: () => migrate({ databaseUrl: database.url, migrationsFolder: firstMigrations }),
    upgrade: () => migrate({ databaseUrl: database.url }),
  },
  'the script': {
    install: () => database.sql.begin((tx) => tx.unsafe(firstRelease())),
    upgrade: () => database.sql.begin((tx) => tx.unsafe(upgradeScript('0.1.0'))),
  },
  'the extension': {
    install: () => database.sql`create extension module_cache version '0.1.0'`,
    upgrade: () => database.sql`alter extension module_cache update`,
  },
};

let server: TestServer;
let database: TestDatabase;
let firstMigrations: string;
beforeAll(async () => {
  server = await startServerWithExtension();
  firstMigrations = migrationsUpTo(1, temporaryFolder());
});
afterAll(async () => {
  await server.remove();
  rmSync(firstMigrations, { recursive: true });
});
beforeEach(async () => {
  database = await createDatabase({ template: false, serverUrl: server.url });
  await database.sql`create table sources (path text primary key, version integer not null)`;
  await database.sql`insert into sources select p, 0 from unnest(${paths}::text[]) p`;
});
afterEach(() => database.drop());

test.each(Object.keys(ways))(
  'an upgrade by %s under a running fleet of the old client: no error, nothing stale, memory starts anew once, and no trace of it in the end',
  async (way) => {
    const { sql } = database;
    const before = await objects();
    await ways[way]?.install();
    const options = { connection: database.url, heartbeatMs: 200 };
    const fleet: ModuleCache[] = await Promise.all([1, 2, 3].map(() => released.openModuleCache(options)));
    const events: [name: string, event: unknown][] = [];
    for (const { events: emitter } of fleet) {
      for (const name of ['warning', 'disconnected', 'dropped'] as const)
        emitter.on(name, (event: unknown) => events.push([name, event]));
    }
    const errors: unknown[] = [];
    let stop = false;
    let work = 0;
    const produce = (path: string) => async () => {
      const [row] = await sql`select version from sources where path = ${path}`;
      return { body: String(row?.version), dependencyKeys: [] };
    };
    /** What is read with the token of a write is not older than it. */
    const run = async (cache: ModuleCache, seed: number): Promise<void> => {
      const writer = connect(database.url, { max: 1 });
      for (let n = seed; !stop; n += 1) {
        const path = paths[n % paths.length] as string;
        try {
          await writer`begin`;
          const [row] = await writer`
          update sources set version = version + 1 where path = ${path} returning version`;
          const { token } = await cache.invalidate(REALM, [path], { tx: writer as never });
          await writer`commit`;
          const module = await cache.getOrProduce({ realm: REALM, path }, produce(path), { after: token });
          if (Number(module.body) < row?.version) errors.push(`${path}: ${module.body} < ${row?.version}`);
          work += 1;
        } catch (error) {
          errors.push(error);
        }
      }
      await writer.end();
    };
    const working = fleet.map(run);
    await until(() => work > 50, { what: 'the fleet works' });
    await ways[way]?.upgrade();
    expect(await sql`select module_cache.schema_version() as version`).toEqual([{ version: VERSION }]);
    const upgraded = work;
    await until(() => work > upgraded + 50, { what: 'the fleet goes on' });

    const newcomer = await openModuleCache(options);
    const oldNewcomer = await released.openModuleCache(options);
    working.push(run(newcomer, 3), run(oldNewcomer, 5));
    fleet.push(newcomer, oldNewcomer);
    const joined = work;
    // What the old schema has stored, and what was open beside the upgrade, is void for good.
    const dropped = events.splice(0);
    expect(dropped.filter(([name]) => name !== 'dropped')).toEqual([]);
    await until(() => work > joined + 100, { what: 'old and new work side by side' });
    stop = true;
    await Promise.all(working);
    expect(errors).toEqual([]);
    expect(events).toEqual([]);

    const last = await newcomer.invalidate(REALM, ['marker.ts']);
    const rows = await sql<{ path: string; version: number }[]>`select path, version from sources`;
    for (const { path, version: newest } of rows) {
      for (const cache of fleet) {
        const module = await cache.getOrProduce({ realm: REALM, path }, produce(path), { after: last.token });
        expect(`${path} ${module.body}`).toBe(`${path} ${newest}`);
      }
    }
    await Promise.all(fleet.map((cache) => cache.close()));

    expect((await uninstall({ databaseUrl: database.url })).kept).toEqual([]);
    expect(await objects()).toEqual(before);
  },
);

/** Everything in the database that did not come with it, and all roles. */
async function objects(): Promise<string[]> {
  const rows = await database.sql<{ name: string }[]>`
    select 'schema ' || nspname as name from pg_namespace where nspname !~ '^pg_'
    union all
    select 'relation ' || oid::regclass from pg_class where oid >= 16384 and relnamespace <> 'pg_toast'::regnamespace
    union all
    select 'function ' || oid::regprocedure from pg_proc where oid >= 16384
    union all
    select 'type ' || oid::regtype from pg_type where oid >= 16384
    union all
    select 'trigger ' || tgname from pg_trigger where oid >= 16384
    union all
    select 'extension ' || extname from pg_extension
    union all
    select 'role ' || rolname from pg_roles
    order by 1`;
  return rows.map(({ name }) => name);
}
