import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import postgres, { type Sql } from 'postgres';
import { settleTracking } from '../../src/cli/tracking.js';
import { startProxy } from '../client/support/proxy.js';
import { createDatabase } from '../support/database.js';
import { findProgram } from '../support/programs.js';
import { type ModuleServer, type ServingProcess, startModuleServer } from '../support/serve.js';
import { until } from '../support/wait.js';

const REALM = 'https://table.example/';
const PROCESSES = 4;
const hasPsql = findProgram('psql') !== undefined;

describe('modules that live in a table, served by four processes', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let server: ModuleServer;
  let processes: ServingProcess[];

  beforeAll(async () => {
    database = await createDatabase();
    await database.sql`create table files (path text primary key, source text not null)`;
    await database.sql`insert into files values
      ('base.ts', 'export const base: number = 1;'),
      ('user.ts', 'import { base } from "./base";\nexport const user = base;')`;
    server = await startModuleServer(
      ['--table', 'public.files', '--realm', REALM, '--database-url', database.url],
      PROCESSES,
    );
    processes = await server.processes();
  });
  afterAll(async () => {
    await server?.stop();
    await database.drop();
  });

  const bodies = (path: string, headers?: Record<string, string>): Promise<string[]> =>
    Promise.all(
      processes.map(async (process) => {
        const { status, body } = await process.get(path, headers);
        return status === 200 ? body : String(status);
      }),
    );
  const allServe = (path: string, text: string): Promise<unknown> =>
    until(async () => (await bodies(path)).every((body) => body.includes(text)), {
      what: `all processes serve ${text}`,
    });

  /** What somebody types into psql: one session, a statement after the other. */
  async function type(...statements: string[]): Promise<void> {
    if (!hasPsql) {
      await database.sql
        .begin((tx) => tx.unsafe(statements.join(';\n')))
        .catch((error) => {
          if (!statements.includes('rollback')) throw error;
        });
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const args = ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', database.url];
      const child = execFile('psql', args, (error, _, stderr) =>
        error === null ? resolve() : reject(new Error(stderr)),
      );
      child.stdin?.end(`${statements.join(';\n')};\n`);
    });
  }

  test('INSERT, UPDATE and DELETE typed into psql change what all processes serve after commit', async () => {
    await allServe('/base.ts', 'base = 1');
    await allServe('/user.ts', './base.ts');
    expect(await bodies('/new.ts')).toEqual(Array(PROCESSES).fill('404'));

    await type("insert into files values ('new.ts', 'export const fresh = 1')");
    await allServe('/new.ts', 'fresh = 1');
    await type("update files set source = 'export const base: number = 2' where path = 'base.ts'");
    await allServe('/base.ts', 'base = 2');
    await type("update files set path = 'moved.ts' where path = 'new.ts'");
    await allServe('/moved.ts', 'fresh = 1');
    await allServe('/new.ts', '404');
    await type("delete from files where path = 'moved.ts'");
    await allServe('/moved.ts', '404');
  });

  test('and nothing after a rollback', async () => {
    await allServe('/base.ts', 'base = ');
    const before = await bodies('/base.ts');
    const heard = server.events.length;
    await type('begin', 'update files set source = \'export const base = "rolled back"\'', 'rollback');
    // A later change that is heard: whatever the rollback had sent would have come before.
    await type("insert into files values ('later.ts', 'export {}')");
    await server.next('invalidated', heard);
    expect(server.events.slice(heard).flatMap(({ modules }) => modules ?? [])).toEqual(['later.ts']);
    const { headers } = await (processes[0] as ServingProcess).get('/base.ts');
    expect(headers['x-module-cache']).toBe('l1');
    expect(await bodies('/base.ts')).toEqual(before);
  });

  test('the importers of a module are outdated with it', async () => {
    await allServe('/user.ts', './base.ts');
    const heard = server.events.length;
    await type("update files set source = 'export const base = 3' where path = 'base.ts'");
    const { modules } = await server.next('invalidated', heard);
    expect([...modules].sort()).toEqual(['base.ts', 'user.ts']);
  });

  test('another table takes the name of this one: its modules are served, and its changes are heard', async () => {
    await database.sql`create table newer (like files including all)`;
    await database.sql`insert into newer values ('base.ts', 'export const base = "of the newer"')`;
    await allServe('/base.ts', 'base = ');
    await type('alter table files rename to former', 'alter table newer rename to files');
    await allServe('/base.ts', 'of the newer');
    await type("update files set source = 'export const base = 7' where path = 'base.ts'");
    await allServe('/base.ts', 'base = 7');
  }, 30_000);

  test('a view, which nothing can track, says so, and a change of it is found all the same', async () => {
    await database.sql`create table texts (name text primary key, source text not null)`;
    await database.sql`insert into texts values ('a.ts', 'export const a = 1;')`;
    await database.sql`create view shown as select name as path, source from texts`;
    const args = ['--table', 'shown', '--realm', 'https://view.example/', '--database-url', database.url];
    const first = await startModuleServer(args, 1);
    try {
      expect((await first.next('warning')).message).toContain('is not tracked');
      const [process] = (await first.processes()) as [ServingProcess];
      expect((await process.get('/a.ts')).body).toContain('a = 1');
      await database.sql`update texts set source = 'export const a = 2;'`;
      await until(async () => (await process.get('/a.ts')).body.includes('a = 2'), {
        timeoutMs: 20_000,
        what: 'the change is found by comparing',
      });
    } finally {
      await first.stop();
    }
    await database.sql`update texts set source = 'export const a = 3;'`;
    const second = await startModuleServer(args, 1);
    try {
      expect((await second.next('ready')).changed).toEqual(['a.ts']);
    } finally {
      await second.stop();
    }
  });
});

test('a table that is no longer tracked as a whole, and is not ours to track, is found by comparing', async () => {
  const database = await createDatabase();
  let sql: Sql | undefined;
  const role = `reader_${randomUUID().slice(0, 8)}`;
  try {
    await database.sql`create table files (path text, source text, place text) partition by list (place)`;
    await database.sql`create table files_a partition of files for values in ('a')`;
    await database.sql`select module_cache.track_table('files', ${REALM}, 'path')`;
    await database.sql.unsafe(`alter table files_a disable trigger all`);
    await database.sql.unsafe(`create role ${role}`);
    await database.sql.unsafe(`grant module_cache_operator to ${role}; grant select on files to ${role}`);
    const warnings: string[] = [];
    sql = postgres(database.url, { max: 1, onnotice: () => {}, connection: { role } as object });
    const named = { realm: REALM, place: { table: 'files' }, imports: {}, babel: {} };
    const warn = (message: string): void => void warnings.push(message);
    const { place } = await settleTracking(sql, named, named.place, true, warn);
    expect(warnings).toEqual([expect.stringContaining('found by comparing')]);
    expect(place).toMatchObject({ tracked: false });
  } finally {
    await sql?.end({ timeout: 1 });
    await database.sql.unsafe(`drop owned by ${role}; drop role ${role}`).catch(() => {});
    await database.drop();
  }
});

test('a database that does not answer any more does not keep it from ending', async () => {
  const database = await createDatabase();
  await database.sql`create table files (path text primary key, source text not null)`;
  const proxy = await startProxy(database.url);
  try {
    const server = await startModuleServer(
      ['--table', 'public.files', '--realm', REALM, '--database-url', proxy.url],
      1,
    );
    proxy.silence();
    // As long as it takes until a look has begun, and some more.
    await sleep(11_000);
    const began = performance.now();
    expect(await server.stop()).toBe(0);
    expect(performance.now() - began).toBeLessThan(10_000);
  } finally {
    await proxy.close();
    await database.drop();
  }
});
