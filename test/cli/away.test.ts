import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { startProxy, type TcpProxy } from '../client/support/proxy.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type ModuleServer, startModuleServer } from '../support/serve.js';
import { until } from '../support/wait.js';

let database: TestDatabase;
let proxy: TcpProxy;
let folder: string;
let server: ModuleServer | undefined;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  proxy = await startProxy(database.url);
  folder = mkdtempSync(join(tmpdir(), 'module-cache-away-'));
});
afterEach(async () => {
  await server?.stop();
  await proxy.close();
  rmSync(folder, { recursive: true, force: true });
});

test('serve goes on without the database as --grace and --produce-alone say', async () => {
  writeFileSync(join(folder, 'known.ts'), 'export const a: number = 1;');
  server = await startModuleServer(
    [folder, '--database-url', proxy.url, '--grace', '600', '--produce-alone'],
    1,
  );
  const [worker] = await server.processes();
  const get = (path: string) => worker?.get(path) ?? Promise.reject(new Error('there is no worker'));
  expect((await get('/known.ts')).status).toBe(200);
  proxy.door = 'close';
  proxy.cut();
  const stale = await until(
    async () => {
      const answer = await get('/known.ts');
      expect(answer.status).toBe(200);
      return answer.headers['x-module-cache-stale'] === undefined ? undefined : answer;
    },
    { timeoutMs: 30_000, what: 'memory is past its time' },
  );
  expect(stale).toMatchObject({ headers: { 'x-module-cache': 'l1', 'cache-control': 'no-store' } });
  writeFileSync(join(folder, 'new.ts'), 'export const b: number = 2;');
  const made = await get('/new.ts');
  expect(made).toMatchObject({ status: 200, headers: { 'x-module-cache': 'produced' } });
  expect(made.body).toContain('b = 2');
  writeFileSync(join(folder, 'known.ts'), 'export const a: number = 3;');
  await until(async () => (await get('/known.ts')).body.includes('a = 3'), {
    timeoutMs: 20_000,
    what: 'an edit is seen without the database',
  });
  proxy.door = 'accept';
  await until(async () => (await get('/new.ts')).headers['x-module-cache'] === 'l1', {
    timeoutMs: 20_000,
    what: 'it is kept again',
  });
}, 120_000);
