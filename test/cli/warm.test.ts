import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { createDatabase } from '../support/database.js';
import { cli, startModuleServer } from '../support/serve.js';
import { until } from '../support/wait.js';

const MODULES = 120;

interface Warmed {
  code: number | null;
  stdout: string;
  stderr: string;
  last: Record<string, unknown>;
}

describe('module-cache warm', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let folder: string;
  beforeEach(async () => {
    database = await createDatabase();
    folder = await mkdtemp(join(tmpdir(), 'module-cache-warm-'));
    for (let i = 0; i < MODULES; i += 1) {
      const body = Array.from({ length: 200 }, (_, line) => `export const v${line}: number = ${line};`).join(
        '\n',
      );
      await writeFile(join(folder, `m${i}.ts`), `import './m${(i + 1) % MODULES}';\n${body}\n`);
    }
  });
  afterEach(async () => {
    await database.drop();
    await rm(folder, { recursive: true });
  });

  function warm(...args: string[]): { done: Promise<Warmed>; child: ReturnType<typeof spawn> } {
    const child = spawn(process.execPath, [cli, 'warm', folder, '--database-url', database.url, ...args]);
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    const done = once(child, 'close').then(([code]) => {
      const lines = stdout.trim().split('\n');
      const last = args.includes('--json') ? JSON.parse(lines.at(-1) ?? '{}') : {};
      return { code, stdout, stderr, last };
    });
    return { done, child };
  }
  const stored = async (): Promise<number> => {
    const [row] =
      await database.sql`select count(*)::integer as n from module_cache.artifacts where status <> 'dead'`;
    return row?.n;
  };

  test('what it stores is what a fleet serves, and the second time there is nothing to do', async () => {
    const first = await warm('--json').done;
    expect([first.code, first.last]).toEqual([
      0,
      expect.objectContaining({
        event: 'warmed',
        total: MODULES,
        produced: MODULES,
        present: 0,
        failures: [],
      }),
    ]);
    expect((await warm('--json').done).last).toMatchObject({ produced: 0, present: MODULES });

    const server = await startModuleServer([folder, '--database-url', database.url], 2);
    try {
      for (const process of await server.processes()) {
        expect((await process.get('/m0.ts')).headers['x-module-cache']).toBe('l2');
      }
    } finally {
      await server.stop();
    }
  });

  test('Ctrl-C keeps what is done, and the next run goes on there', async () => {
    const { child, done } = warm('--threads', '1');
    await until(async () => (await stored()) >= 5, {
      timeoutMs: 30_000,
      what: 'the first modules are stored',
    });
    child.kill('SIGINT');
    const { code, stdout } = await done;
    expect([code, stdout]).toEqual([130, expect.stringContaining('interrupted: ')]);
    const kept = await stored();
    expect(kept).toBeLessThan(MODULES);
    const { last } = await warm('--json').done;
    expect(last).toMatchObject({ total: MODULES, produced: MODULES - kept, present: kept });
    const left =
      await database.sql`select from pg_stat_activity where datname = current_database() and application_name = 'module-cache warm'`;
    expect(left).toHaveLength(0);
  });

  test('beside a fleet that serves, and beside another one, each module is compiled once', async () => {
    const server = await startModuleServer([folder, '--database-url', database.url], 2);
    try {
      const processes = await server.processes();
      const [one, other, ...answers] = await Promise.all([
        warm('--json').done,
        warm('--json').done,
        ...processes.map(async (process) => {
          let produced = 0;
          for (let i = MODULES - 1; i >= 0; i -= 1) {
            const { status, headers } = await process.get(`/m${i}.ts`);
            expect(status).toBe(200);
            if (headers['x-module-cache'] === 'produced') produced += 1;
          }
          return produced;
        }),
      ]);
      const compiled = [one, other].map(({ last }) => last.produced as number).concat(answers as number[]);
      expect(compiled.reduce((sum, n) => sum + n, 0)).toBe(MODULES);
    } finally {
      await server.stop();
    }
  });

  test('a change that nobody invalidated is compiled anew, and what does not compile is named', async () => {
    expect((await warm('--json').done).last).toMatchObject({ produced: MODULES });
    await writeFile(join(folder, 'm5.ts'), 'export const = 1;');
    const { code, stdout } = await warm().done;
    // With the module itself its importers, as far as they had not been looked at yet.
    expect(stdout).toMatch(/does not compile: m5\.ts:1:14: /);
    expect(code).toBe(0);
    expect((await warm('--json', '--strict').done).code).toBe(1);
  });

  test('a folder that is not there, and a folder beside a table, are refused in one line', async () => {
    for (const args of [['/none/at/all'], [folder, '--table', 'files'], []]) {
      const child = spawn(process.execPath, [cli, 'warm', ...args, '--database-url', database.url]);
      let stderr = '';
      child.stderr.on('data', (chunk) => {
        stderr += chunk;
      });
      const [code] = await once(child, 'close');
      expect([code, stderr.trim().split('\n').length]).toEqual([1, 1]);
      expect(stderr).toMatch(/not a folder|neither a folder nor a table/);
    }
  });
});
