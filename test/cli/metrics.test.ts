import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { onWarning } from '../../src/cli/serve-warnings.js';
import { createEmitter } from '../../src/events.js';
import { parseMetrics } from '../observe/support/metrics.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { cli, type ModuleServer, startModuleServer } from '../support/serve.js';
import { until } from '../support/wait.js';

let database: TestDatabase;
let folder: string;
beforeAll(async () => {
  database = await createDatabase();
  folder = await mkdtemp(join(tmpdir(), 'module-cache-test-'));
  await writeFile(join(folder, 'a.ts'), 'export const a: number = 1;');
});
afterAll(async () => {
  await database.drop();
  await rm(folder, { recursive: true });
});

const start = (...args: string[]): Promise<ModuleServer> =>
  startModuleServer([folder, '--database-url', database.url, ...args], 2);

const scrape = async (server: ModuleServer, path = '/-/metrics') => {
  const response = await fetch(new URL(path, server.url));
  expect([response.status, response.headers.get('content-type')]).toEqual([
    200,
    expect.stringContaining('text/plain; version=0.0.4'),
  ]);
  return parseMetrics(await response.text());
};
const hits = (figures: Awaited<ReturnType<typeof scrape>>): number =>
  figures
    .all('module_cache_hits_total')
    .filter(({ labels }) => labels.source === 'l1')
    .reduce((sum, { value }) => sum + value, 0);

const childrenOf = (pid: number): Promise<number[]> =>
  new Promise((resolve) => {
    execFile('pgrep', ['-P', String(pid)], (_, stdout) => resolve(stdout.trim().split('\n').map(Number)));
  });

test('a scrape of any worker says what all did, and nothing that counts up falls when one is replaced', async () => {
  const server = await start('--metrics');
  try {
    const processes = await server.processes();
    // The first answer fills the memory of each.
    for (const { get } of processes) await get('/a.ts');
    const before = hits(await scrape(server));
    for (const { get } of processes) for (let i = 0; i < 3; i += 1) await get('/a.ts');
    // New connections are dealt to the workers in turn.
    for (let i = 0; i < 4; i += 1) {
      const figures = await scrape(server);
      expect(hits(figures)).toBe(before + 6);
      expect(figures.get('module_cache_processes')).toBe(2);
      expect(figures.get('module_cache_connected')).toBe(1);
      expect(figures.get('module_cache_l1_entries')).toBe(2);
    }
    const [first] = await childrenOf(server.pid);
    process.kill(first as number, 'SIGKILL');
    await until(
      async () => (await scrape(server).catch(() => undefined))?.get('module_cache_processes') === 2,
      {
        timeoutMs: 30_000,
        what: 'the worker is replaced',
      },
    );
    const after = await scrape(server);
    expect(hits(after)).toBeGreaterThanOrEqual(before + 6);
    expect(after.get('module_cache_processes')).toBe(2);
  } finally {
    expect(await server.stop()).toBe(0);
  }
});

test('garbage is collected by a process whose metrics tell of it, not by the one that watches', async () => {
  // The time until the first collection is the only one that is made by chance and so long.
  const soon =
    'const wait = setTimeout; globalThis.setTimeout = (f, ms, ...more) => ' +
    'wait(f, ms > 3e4 && ms < 6e4 && ms % 1 > 0 ? ms / 100 : ms, ...more);';
  const server = await startModuleServer([folder, '--database-url', database.url, '--metrics'], 2, {
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(soon)}`,
  });
  try {
    const [collector] = await until(
      async () => {
        const rows = await database.sql`
          select a.application_name as name
          from pg_locks l join pg_stat_activity a using (pid)
          where l.locktype = 'advisory' and l.granted and a.datname = current_database()
            and (l.classid::bigint << 32 | l.objid::bigint) = module_cache._collector_key()`;
        return rows.length > 0 && rows;
      },
      { timeoutMs: 20_000, what: 'one is elected' },
    );
    expect(collector?.name).toMatch(/^module-cache serve, worker \d$/);
  } finally {
    expect(await server.stop()).toBe(0);
  }
});

test('an answer that was older than it may be is a warning, which says what it was', () => {
  const events = createEmitter();
  const told: string[] = [];
  onWarning(events, (message) => told.push(message));
  const id = { realm: 'https://a.example/', path: 'b.ts', kind: 'transpile', variant: '' };
  events.emit('rechecked', { id, withinMs: 5_000, isBound: true, outcome: 'consistent' });
  events.emit('rechecked', { id, withinMs: 1_000, isBound: false, outcome: 'inconsistent' });
  events.emit('rechecked', { id, withinMs: 5_000, isBound: true, outcome: 'inconsistent' });
  expect(told).toEqual([
    'an answer from memory was older than 5000 ms: b.ts (transpile) of https://a.example/',
  ]);
});

test('it is only read, says nothing of the database, and leaves every other path to the modules', async () => {
  await writeFile(join(folder, 'metrics.ts'), 'export const of = "a module";');
  const server = await start('--metrics');
  try {
    const response = await fetch(new URL('/-/metrics', server.url));
    const text = await response.text();
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(text).not.toContain(new URL(database.url).pathname.slice(1));
    expect(text).not.toContain('example');
    for (const method of ['POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS']) {
      const refused = await fetch(new URL('/-/metrics', server.url), { method });
      expect([method, refused.status, refused.headers.get('allow')]).toEqual([method, 405, 'GET']);
    }
    expect(await (await fetch(new URL('/metrics', server.url))).text()).toContain('a module');
    expect((await fetch(new URL('/-/metrics/more', server.url))).status).toBe(404);
  } finally {
    expect(await server.stop()).toBe(0);
  }
});

test('a request target in absolute form leads to the metrics, the page and the modules as well', async () => {
  const server = await start('--metrics');
  const ask = (path: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const asked = request(server.url, { path: new URL(path, server.url).href }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk) => {
          text += chunk;
        });
        response.on('end', () => resolve(text)).on('error', reject);
      });
      asked.on('error', reject).end();
    });
  try {
    expect(await ask('/-/metrics')).toContain('module_cache_hits_total');
    expect(await ask('/-/')).toContain('<title>Module cache</title>');
    expect(await ask('/a.ts')).toContain('export const a = 1');
  } finally {
    expect(await server.stop()).toBe(0);
  }
});

test('it is off unless asked for, and where it is asked for', async () => {
  const plain = await start();
  expect((await fetch(new URL('/-/metrics', plain.url))).status).toBe(404);
  await plain.stop();
  const own = await start('--metrics', '/internal/figures');
  try {
    expect((await scrape(own, '/internal/figures')).get('module_cache_processes')).toBe(2);
    expect((await fetch(new URL('/-/metrics', own.url))).status).toBe(404);
  } finally {
    await own.stop();
  }
});

test.each(['metrics', '/', '//a/b', '/a?b', '/a/../b', '//['])('%s is refused as a path', async (path) => {
  const { code, stderr } = await new Promise<{ code: unknown; stderr: string }>((resolve) => {
    const args = [cli, 'serve', folder, '--database-url', database.url, '--metrics', path];
    execFile(process.execPath, args, (error, _, stderr) => resolve({ code: error?.code, stderr }));
  });
  expect([code, stderr]).toEqual([1, expect.stringContaining('the metrics cannot be there')]);
});
