import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type ModuleCache, openModuleCache } from '../../src/index.js';
import { migrate } from '../../src/schema/migrate.js';
import { VERSION } from '../../src/versions.js';
import { connect, createDatabase, type TestDatabase } from '../support/database.js';
import { startServer, type TestServer, temporaryFolder } from '../support/server.js';
import { until } from '../support/wait.js';
import { migrationsUpTo } from './support/releases.js';

/** A rolling deploy: the schema is upgraded while a fleet of the released client works, then new processes join. */

// As it was released: the built client of 0.1.0, in one file.
const released: { openModuleCache: typeof openModuleCache } = await import(
  new URL('./releases/client-0.1.0.mjs', import.meta.url).href
);

const REALM = 'https://rolling.example/';
const paths = Array.from({ length: 8 }, (_, n) => `m${n}.ts`);

let server: TestServer;
let database: TestDatabase;
beforeAll(async () => {
  server = await startServer();
  database = await createDatabase({ template: false, serverUrl: server.url });
  await migrate({ databaseUrl: database.url, migrationsFolder: migrationsUpTo(1, temporaryFolder()) });
  await database.sql`create table sources (path text primary key, version integer not null)`;
  await database.sql`insert into sources select p, 0 from unnest(${paths}::text[]) p`;
});
afterAll(async () => {
  await database.drop();
  await server.remove();
});

test('an upgrade under a running fleet of the old client: no error, nothing stale, and memory starts anew once', async () => {
  const { sql } = database;
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
  const { version, applied } = await migrate({ databaseUrl: database.url });
  expect([version, applied.length]).toEqual([VERSION, 1]);
  const upgraded = work;
  await until(() => work > upgraded + 50, { what: 'the fleet goes on' });

  const newcomer = await openModuleCache(options);
  const oldNewcomer = await released.openModuleCache(options);
  working.push(run(newcomer, 3), run(oldNewcomer, 5));
  fleet.push(newcomer, oldNewcomer);
  const joined = work;
  // What the old schema has stored, and what was open beside the upgrade, is void for good.
  const before = events.splice(0);
  expect(before.filter(([name]) => name !== 'dropped')).toEqual([]);
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
});
