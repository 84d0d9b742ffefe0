import { execFile } from 'node:child_process';
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { committedMigrations } from '../../src/schema/files.js';
import { VERSION } from '../../src/versions.js';
import { startProxy } from '../client/support/proxy.js';
import { session } from '../sql/support/session.js';
import { createDatabase } from '../support/database.js';
import { cli, startModuleServer } from '../support/serve.js';
import { until } from '../support/wait.js';

interface Run {
  code: number;
  stdout: string;
  stderr: string;
}

function run(args: string[], env: Record<string, string> = {}): Promise<Run> {
  return new Promise((resolve) => {
    execFile(process.execPath, [cli, ...args], { env: { ...process.env, ...env } }, (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : error ? 1 : 0, stdout, stderr }),
    );
  });
}

const childrenOf = (pid: number): Promise<number[]> =>
  new Promise((resolve) => {
    execFile('pgrep', ['-P', String(pid)], (_, stdout) => resolve(stdout.trim().split('\n').map(Number)));
  });

describe('module-cache', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let empty: Awaited<ReturnType<typeof createDatabase>>;
  beforeAll(async () => {
    [database, empty] = await Promise.all([createDatabase(), createDatabase({ template: false })]);
  });
  afterAll(() => Promise.all([database.drop(), empty.drop()]));

  test('--help names every command, and a wrong one exits with 2 and a hint', async () => {
    const help = await run(['--help']);
    expect(help.code).toBe(0);
    const commands = [
      'serve',
      'warm',
      'migrate',
      'status',
      'uninstall',
      'sql',
      'invalidate',
      'gc',
      'explain',
    ];
    for (const command of [...commands, 'top', 'doctor', 'bench', 'completion']) {
      expect(help.stdout).toContain(`\n  ${command} `);
      const own = await run([command, '--help']);
      expect([own.code, own.stdout]).toEqual([0, expect.stringContaining('0 done, 1 failed, 2 misuse')]);
    }
    const wrong = await run(['serve', '.', '--workers', 'many']);
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('--help')]);
  });

  test('a reader that has seen enough, such as head, is no failure', async () => {
    const shell = (command: string) =>
      new Promise<string>((resolve) => {
        execFile('bash', ['-c', `${command}; echo "\${PIPESTATUS[0]}" >&2`], (_, __, stderr) =>
          resolve(stderr),
        );
      });
    expect(await shell(`${process.execPath} ${cli} sql | head -n 1`)).toBe('0\n');
  });

  test('migrate installs the schema, says so, and has nothing to do the second time', async () => {
    const first = await run(['migrate', '--json', '--database-url', empty.url]);
    expect(JSON.parse(first.stdout)).toMatchObject({
      applied: [expect.any(String), expect.any(String)],
      version: VERSION,
    });
    const second = await run(['migrate', '--json'], { DATABASE_URL: empty.url });
    expect(JSON.parse(second.stdout)).toMatchObject({ applied: [], version: VERSION });
  });

  test('status compares schema and client, before, after an upgrade is due, and after it', async () => {
    const fresh = await createDatabase({ template: false });
    try {
      const status = (...args: string[]) => run(['status', '--database-url', fresh.url, ...args]);
      expect(await status()).toMatchObject({
        code: 1,
        stdout: expect.stringContaining('module-cache migrate'),
      });
      await fresh.sql.begin((tx) => tx.unsafe(committedMigrations()[0]?.text ?? ''));
      const old = await status();
      expect([old.code, old.stdout]).toEqual([1, expect.stringContaining('module-cache sql --from 0.1.0')]);
      expect(old.stdout).toContain('they work together');
      const upgrade = await run(['sql', '--from', '0.1.0']);
      await fresh.sql.begin((tx) => tx.unsafe(upgrade.stdout));
      const { code, stdout } = await status('--json');
      expect([code, JSON.parse(stdout)]).toEqual([
        0,
        expect.objectContaining({ version: VERSION, managedBy: 'script', pending: false, compatible: true }),
      ]);
    } finally {
      await fresh.drop();
    }
  });

  test('where the application has a graphile-migrate history, migrate and status name a way that works', async () => {
    const theirs = await createDatabase({ template: false });
    try {
      await theirs.sql.unsafe(`
        create schema graphile_migrate;
        create table graphile_migrate.migrations (hash text primary key, filename text not null);
        insert into graphile_migrate.migrations values ('sha1:theirs', '000001.sql')`);
      const refused = await run(['migrate', '--database-url', theirs.url]);
      expect([refused.code, refused.stderr]).toEqual([
        1,
        expect.stringMatching(/^module-cache: .*history of its own.*module-cache sql.*create extension.*\n$/),
      ]);
      const { code, stdout } = await run(['status', '--database-url', theirs.url]);
      expect([code, stdout]).toEqual([1, expect.stringContaining('module-cache sql')]);
      expect(stdout).not.toContain('install it with module-cache migrate');
    } finally {
      await theirs.drop();
    }
  });

  test('sql prints a script that installs the schema', async () => {
    const fresh = await createDatabase({ template: false });
    try {
      const { stdout } = await run(['sql']);
      await fresh.sql.unsafe(stdout);
      expect(await fresh.sql`select status from module_cache.get('https://a.example/', 'a.ts')`).toEqual([
        { status: 'miss' },
      ]);
    } finally {
      await fresh.drop();
    }
  });

  test('invalidate prints what it reached; without a path it clears the realm', async () => {
    const [{ token }] =
      (await database.sql`select token from module_cache.get('https://a.example/', 'a.ts')`) as unknown as [
        { token: string },
      ];
    await database.sql`select module_cache.put('https://a.example/', 'a.ts', 'transpile', '', 'a', '{}', array['b'], ${token})`;
    const result = await run(['invalidate', 'https://a.example/', 'b.ts', '--database-url', database.url]);
    expect([result.code, result.stdout]).toEqual([0, expect.stringContaining('https://a.example/a.ts')]);
    const all = await run(['invalidate', 'https://a.example/', '--json', '--database-url', database.url]);
    expect(JSON.parse(all.stdout)).toMatchObject({ realm: 'https://a.example/' });
    await session(database).othersEnded();
    const gc = await run(['gc', '--older-than', '0', '--json', '--database-url', database.url]);
    expect(JSON.parse(gc.stdout)).toMatchObject({ artifacts: 1 });
  });

  test.each([
    ['a realm that is none', ['invalidate', 'https://a.example', 'b.ts'], 'not a realm URL'],
    [
      'a database that is not there',
      ['gc', '--database-url', 'postgres://127.0.0.1:1/none'],
      'cannot be reached',
    ],
    ['a folder that is not there', ['serve', '/none/at/all'], 'not a folder'],
    ...['status', 'migrate', 'gc', 'uninstall', 'doctor', 'warm .'].map((command) => [
      `${command} with a URL that is none`,
      [...command.split(' '), '--database-url', 'postgres://app:sec#ret@127.0.0.1/app'],
      'special characters percent-encoded',
    ]),
    ['a second URL that is none', ['serve', '.', '--listen-url', 'postgres://app:sec#ret@db'], 'is no URL'],
  ])('%s: one clear line, and exit 1', async (_, args, message) => {
    const result = await run(args as string[], { DATABASE_URL: database.url });
    expect([result.code, result.stderr]).toEqual([1, expect.stringContaining(message as string)]);
    expect(result.stderr.trim().split('\n')).toHaveLength(1);
    expect(result.stdout + result.stderr).not.toMatch(/sec#|ret@/);
  });

  test('a database without the schema is named, with the command that installs it', async () => {
    const fresh = await createDatabase({ template: false });
    try {
      const commands = [
        ['gc'],
        ['bench', '--quick'],
        ['top', '--once'],
        ['explain', 'https://a.example/', 'a.ts'],
      ];
      for (const command of commands) {
        const result = await run([...command, '--database-url', fresh.url]);
        expect([command, result.code, result.stderr]).toEqual([
          command,
          1,
          expect.stringMatching(/^module-cache: .*module-cache migrate.*\n$/),
        ]);
      }
    } finally {
      await fresh.drop();
    }
  });

  test('serve: the edit of a file reaches every process, a killed process is replaced, and Ctrl-C leaves nothing behind', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'module-cache-serve-'));
    await writeFile(join(folder, 'base.ts'), 'export const base: number = 1;');
    await writeFile(join(folder, 'user.ts'), "import { base } from './base';\nexport const user = base;");
    const server = await startModuleServer([folder, '--database-url', empty.url], 2);
    try {
      const processes = await server.processes();
      const bodies = (path: string): Promise<string[]> =>
        Promise.all(processes.map(async (serving) => (await serving.get(path)).body));
      await bodies('/base.ts');
      await bodies('/user.ts');

      await appendFile(join(folder, 'base.ts'), '\nexport const edited = true;');
      const change = await server.next('invalidated');
      expect([...change.modules].sort()).toEqual(['base.ts', 'user.ts']);
      expect(change.coherentMs).toEqual(expect.any(Number));
      for (const body of await bodies('/base.ts')) expect(body).toContain('edited = true');

      const workers = await empty.sql`
        select from pg_stat_activity
        where datname = current_database() and application_name like 'module-cache serve, worker %'`;
      expect(workers.length).toBeGreaterThan(0);
      process.kill((await childrenOf(server.pid))[0] as number, 'SIGKILL');
      await until(() => server.events.some(({ message }) => message?.includes('is replaced')), {
        timeoutMs: 10_000,
        what: 'the replacement',
      });
      for (const body of await bodies('/base.ts')) expect(body).toContain('edited = true');

      expect(await server.stop()).toBe(0);
      await until(
        async () =>
          (
            await empty.sql`
              select from pg_stat_activity
              where datname = current_database() and application_name like 'module-cache serve%'`
          ).length === 0,
        { timeoutMs: 10_000, what: 'the end of its connections' },
      );
    } finally {
      await server.stop();
      await rm(folder, { recursive: true });
    }
  });

  test('serve: a process that dies while the database is away is replaced when that is back', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'module-cache-serve-'));
    await writeFile(join(folder, 'a.ts'), 'export const a = 1;');
    const proxy = await startProxy(empty.url);
    try {
      const server = await startModuleServer([folder, '--database-url', proxy.url], 2);
      try {
        const heard = server.events.length;
        const said = (text: string) =>
          until(() => server.events.slice(heard).some(({ message }) => message?.includes(text)), {
            timeoutMs: 20_000,
            what: text,
          });
        proxy.door = 'close';
        proxy.cut();
        process.kill((await childrenOf(server.pid))[0] as number, 'SIGKILL');
        await said('is replaced');
        await said('module-cache: ');
        proxy.door = 'accept';
        for (const serving of await server.processes()) {
          await until(async () => (await serving.get('/a.ts')).body.includes('a = 1'), { what: 'an answer' });
        }
      } finally {
        await server.stop();
      }
    } finally {
      await proxy.close();
      await rm(folder, { recursive: true });
    }
  }, 60_000);
});
