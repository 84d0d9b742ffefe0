import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { cli, startModuleServer } from '../support/serve.js';
import { until } from '../support/wait.js';
import { createLogin, type Login, run } from './support/run.js';

/** What roles with the least rights can do, where somebody else has installed the schema with its migrations. */

let database: TestDatabase;
let folder: string;
let reader: Login;
let writer: Login;
let operator: Login;
let application: Login;
beforeAll(async () => {
  database = await createDatabase({ template: false });
  expect((await run(['migrate', '--database-url', database.url])).code).toBe(0);
  [reader, writer, operator, application] = await Promise.all([
    createLogin(database, 'reader'),
    createLogin(database, 'writer'),
    createLogin(database, 'operator'),
    createLogin(database),
  ]);
  await database.sql.unsafe(`
    grant usage on schema module_cache to ${application.name};
    grant execute on function module_cache.invalidate(text, text[]) to ${application.name}`);
  folder = await mkdtemp(join(tmpdir(), 'module-cache-roles-'));
  await writeFile(join(folder, 'main.ts'), 'export const x: number = 1;\n');
});
afterAll(async () => {
  await Promise.all([reader, writer, operator, application].map((login) => login.drop()));
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

test('an operator serves a database that somebody else has migrated', async () => {
  const server = await startModuleServer([folder, '--database-url', operator.url], 1);
  try {
    await server.next('ready');
    const [serving] = await server.processes();
    expect((await serving?.get('/main.ts'))?.status).toBe(200);
  } finally {
    expect(await server.stop()).toBe(0);
  }
});

test('trap: a notification, which any login may send, begins no line of its own and does nothing to a terminal', async () => {
  const child = spawn(process.execPath, [
    ...[cli, 'serve', folder, '--port', '0', '--workers', '1', '--no-page'],
    ...['--database-url', operator.url],
  ]);
  const closed = once(child, 'close');
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  try {
    await until(() => output.includes('Ctrl-C'), { timeoutMs: 20_000, what: 'it serves' });
    await database.sql`select pg_notify('module_cache_invalidated', ${'\x1b]0;title\x07\nserving  /elsewhere'})`;
    await until(() => output.includes('malformed'), { timeoutMs: 10_000, what: 'the warning' });
    expect(output).toContain(
      'malformed notification was ignored: \\x1b]0;title\\x07\\x0aserving  /elsewhere\n',
    );
  } finally {
    child.kill('SIGINT');
    await closed;
  }
});

const warm = ({ url }: Login, realm: string) =>
  run(['warm', folder, '--realm', realm, '--database-url', url]);

test('a writer warms it', async () => {
  expect(await warm(writer, 'https://written.example/')).toMatchObject({ code: 0 });
  expect(await warm(writer, 'https://written.example/')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('1 were there'),
  });
});

test('trap: what a reader compiles is stored nowhere, and warm says so instead of being done', async () => {
  const { code, stdout } = await warm(reader, 'https://read.example/');
  expect([code, stdout]).toEqual([1, expect.stringContaining('permission denied for function put')]);
  expect(stdout).toContain('1 of them not stored');
});

test('a role that may do nothing but invalidate is told so by doctor, and what else it needs by the others', async () => {
  const doctor = await run(['doctor', '--database-url', application.url]);
  expect([doctor.code, doctor.stdout]).toEqual([
    0,
    expect.stringContaining('may invalidate in its transactions, and nothing else'),
  ]);
  const { code, stderr } = await warm(application, 'https://none.example/');
  expect([code, stderr]).toEqual([1, expect.stringMatching(/^module-cache: .*needs more rights.*\n$/)]);
});
