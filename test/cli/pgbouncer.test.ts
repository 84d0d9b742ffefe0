import { execFile } from 'node:child_process';
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { migrate } from '../../src/schema/migrate.js';
import { uninstall } from '../../src/schema/uninstall.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type Bouncer, startBouncer } from '../support/pgbouncer.js';
import { cli, startModuleServer } from '../support/serve.js';
import { until } from '../support/wait.js';
import { describeWith } from '../support/with-programs.js';

/** Without what the one who runs the tests may have set for other purposes. */
const env = { ...process.env, DATABASE_URL: '', PGHOST: '', PGDATABASE: '', PGSERVICE: '' };

interface Run {
  code: number;
  stdout: string;
  stderr: string;
}

function run(...args: string[]): Promise<Run> {
  return new Promise((resolve) => {
    execFile(process.execPath, [cli, ...args], { env }, (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : error ? 1 : 0, stdout, stderr }),
    );
  });
}

describeWith('pgbouncer', 'the commands, through PgBouncer in transaction mode,', () => {
  let database: TestDatabase;
  let empty: TestDatabase;
  let bouncer: Bouncer;
  let folder: string;
  let through: string;
  beforeAll(async () => {
    [database, empty] = await Promise.all([createDatabase(), createDatabase({ template: false })]);
    bouncer = await startBouncer(database.url, { poolSize: 3 });
    through = bouncer.url(database.url);
    folder = await mkdtemp(join(tmpdir(), 'module-cache-serve-'));
    await writeFile(join(folder, 'a.ts'), 'export const version: number = 1;');
  });
  afterAll(async () => {
    await bouncer.stop();
    await Promise.all([database.drop(), empty.drop(), rm(folder, { recursive: true })]);
  });

  const oneLine = (message: string) => expect.stringMatching(new RegExp(`^module-cache: .*${message}.*\n$`));

  test('invalidate and gc work as ever, without any parameter', async () => {
    const realm = 'https://a.example/';
    await database.sql`
      select module_cache.put(${realm}, 'a.ts', 'transpile', '', 'a', '{}', array['b'], g.token)
      from module_cache.get(${realm}, 'a.ts') g`;
    const invalidated = await run('invalidate', realm, 'b.ts', '--database-url', through);
    expect(invalidated).toMatchObject({ code: 0, stdout: expect.stringContaining(`${realm}a.ts`) });
    // What transactions of other databases, those of other tests, may still need stays until they have ended.
    await until(
      async () => {
        const options = ['--older-than', '0', '--batch', '1', '--json', '--database-url', through];
        const { code, stdout } = await run('gc', ...options);
        expect(code).toBe(0);
        return JSON.parse(stdout).artifacts === 1;
      },
      { timeoutMs: 30_000, what: 'the dead artifact was collected' },
    );
  });

  describe('migrate', () => {
    const locks = () => database.sql`
      select from pg_locks where locktype = 'advisory'
        and database in (select oid from pg_database where datname in (${database.name}, ${empty.name}))`;

    test('refuses to install with one line, and leaves neither a lock nor anything else', async () => {
      const refused = await run('migrate', '--database-url', bouncer.url(empty.url));
      expect(refused).toEqual({ code: 1, stdout: '', stderr: oneLine('pooler.*URL of Postgres itself') });
      expect(await locks()).toEqual([]);
      expect(
        await empty.sql`select from pg_namespace where nspname in ('module_cache', 'graphile_migrate')`,
      ).toEqual([]);
    });

    test('says so if nothing is to be done, and what can be done in one transaction is done', async () => {
      await migrate({ databaseUrl: empty.url });
      const again = await run('migrate', '--json', '--database-url', bouncer.url(empty.url));
      expect([again.code, JSON.parse(again.stdout)]).toMatchObject([0, { applied: [] }]);
      const { removed } = await uninstall({ databaseUrl: bouncer.url(empty.url) });
      expect(removed).toEqual(
        expect.arrayContaining([
          'schema graphile_migrate',
          expect.stringMatching(/^schema module_cache [0-9]/),
        ]),
      );
      expect(await locks()).toEqual([]);
    });

    test('installs where each client has a session of its own', async () => {
      const sessions = await startBouncer(empty.url, { poolMode: 'session' });
      try {
        const { applied } = await migrate({ databaseUrl: sessions.url(empty.url) });
        expect(applied.length).toBeGreaterThan(0);
      } finally {
        await sessions.stop();
      }
    });
  });

  describe('serve', () => {
    test('is refused with one line that names the option, and leaves nothing', async () => {
      const refused = await run('serve', folder, '--port', '0', '--database-url', through);
      expect([refused.code, refused.stderr]).toEqual([1, oneLine('does not hear.*--listen-url')]);
      const left = await database.sql`
        select from pg_locks where locktype = 'advisory' and database =
          (select oid from pg_database where datname = current_database())`;
      expect(left).toEqual([]);
    });

    test('--listen-url without a database URL is refused', async () => {
      const refused = await run('serve', folder, '--listen-url', database.url);
      expect([refused.code, refused.stderr]).toEqual([1, oneLine('--listen-url needs a database URL')]);
    });

    test('works with a listen URL of its own: edits reach all processes, and Ctrl-C ends it', async () => {
      const server = await startModuleServer(
        [folder, '--database-url', through, '--listen-url', database.url],
        2,
      );
      try {
        const processes = await server.processes();
        for (const serving of processes) expect((await serving.get('/a.ts')).body).toContain('version = 1');
        await appendFile(join(folder, 'a.ts'), '\nexport const edited = true;');
        expect(await server.next('invalidated')).toMatchObject({
          modules: ['a.ts'],
          coherentMs: expect.any(Number),
        });
        for (const serving of processes) expect((await serving.get('/a.ts')).body).toContain('edited = true');
      } finally {
        expect(await server.stop()).toBe(0);
      }
    });
  });
});
