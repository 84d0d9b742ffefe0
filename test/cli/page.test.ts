import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { watch } from '../page/support/stream.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { cli, type ModuleServer, startModuleServer } from '../support/serve.js';
import { until } from '../support/wait.js';

/** The page of `serve`: where it is, when it is off, and what it asks for. */

const TOKEN = 'a-token-with-enough-letters';
let database: TestDatabase;
let folder: string;
let tokenFile: string;
beforeAll(async () => {
  database = await createDatabase();
  folder = await mkdtemp(join(tmpdir(), 'module-cache-page-'));
  tokenFile = join(folder, 'token');
  await mkdir(join(folder, 'src/-'), { recursive: true });
  await writeFile(join(folder, 'src/main.ts'), 'export const main: number = 1;\n');
  await writeFile(join(folder, 'src/-/x.ts'), 'export const x: number = 2;\n');
  await writeFile(tokenFile, `${TOKEN}\n`);
});
afterAll(async () => {
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

async function withServer(args: string[], work: (server: ModuleServer) => Promise<void>): Promise<void> {
  const server = await startModuleServer([join(folder, 'src'), '--database-url', database.url, ...args], 2);
  try {
    await work(server);
  } finally {
    expect(await server.stop()).toBe(0);
  }
}

const status = (
  url: string,
  headers: Record<string, string> = {},
  path = new URL(url).pathname,
): Promise<number> =>
  new Promise((resolve, reject) => {
    const asked = request(url, { headers, path }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    asked.on('error', reject).end();
  });

test('on a loopback address it is there, shows the processes, and answers to no other name', async () => {
  await withServer([], async (server) => {
    const { page } = (await server.next('ready')) as unknown as { page: string };
    expect(page).toBe(`${server.url}-/`);
    expect(await status(page)).toBe(200);
    expect(await status(page, { host: 'evil.example' })).toBe(403);
    expect(await status(`${server.url}main.ts`, { host: 'evil.example' })).toBe(200);
    // A folder of that name is the page's.
    expect(await status(`${server.url}-/x.ts`)).toBe(404);
    // So is its name without the slash, however the target is written.
    for (const path of ['/-', '/-?x=1', `${server.url}-`, `${server.url}-?x=1`])
      expect([path, await status(server.url, {}, path)]).toEqual([path, 308]);
    expect(await status(server.url, {}, server.url.slice(0, -1))).toBe(404);
    expect((await fetch(`${server.url}-`)).url).toBe(page);
    const stream = await watch(page);
    await stream.find('every process is told', ({ type, fleet }) => {
      return (
        type === 'fleet' &&
        fleet.peers.filter(({ name }: { name: string }) => /worker/.test(name)).length === 2
      );
    });
    // Who still watches keeps nobody from stopping: withServer looks at the exit code.
  });
}, 60_000);

test('--no-page leaves its place to the modules', async () => {
  await withServer(['--no-page'], async (server) => {
    expect(await server.next('ready')).toMatchObject({ page: null });
    expect(await status(`${server.url}-/x.ts`)).toBe(200);
    expect(await status(`${server.url}-/`)).toBe(404);
  });
}, 60_000);

test('beyond loopback there is none without a token, and with one it asks for it', async () => {
  await withServer(['--host', '0.0.0.0'], async (server) => {
    const { url, page } = (await server.next('ready')) as unknown as { url: string; page: string | null };
    expect(page).toBe(null);
    expect(await status(`${url.replace('0.0.0.0', '127.0.0.1')}-/`)).toBe(404);
  });
  await withServer(['--host', '0.0.0.0', '--page-token-file', tokenFile], async (server) => {
    const { page } = (await server.next('ready')) as unknown as { page: string };
    const here = page.replace('0.0.0.0', '127.0.0.1');
    expect(await status(here)).toBe(401);
    expect(await status(here, { authorization: `Bearer ${TOKEN}` })).toBe(200);
    // The cookie of one process is good in the others.
    const login = await fetch(`${here}login`, {
      method: 'POST',
      body: new URLSearchParams({ token: TOKEN }),
      redirect: 'manual',
    });
    const cookie = login.headers.get('set-cookie')?.split(';')[0] as string;
    const answers = await Promise.all(
      Array.from({ length: 6 }, () => status(here, { cookie, connection: 'close' })),
    );
    expect(new Set(answers)).toEqual(new Set([200]));
    expect(JSON.stringify(server.events)).not.toContain(TOKEN);
  });
}, 90_000);

interface Run {
  code: number | null;
  output: string;
}

async function run(args: string[], env: Record<string, string> = {}, until = /Ctrl-C stops/): Promise<Run> {
  const child = spawn(
    process.execPath,
    [
      cli,
      'serve',
      join(folder, 'src'),
      '--port',
      '0',
      '--workers',
      '1',
      '--database-url',
      database.url,
      ...args,
    ],
    { env: { ...process.env, ...env } },
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output += chunk;
      if (until.test(output)) child.kill('SIGINT');
    });
  const [code] = await once(child, 'exit');
  return { code, output };
}

test('the start lines say where it is, or why it is not', async () => {
  expect((await run([])).output).toMatch(/^page {5}http:\/\/127\.0\.0\.1:\d+\/-\/$/m);
  expect((await run(['--no-page'])).output).toMatch(/^page {5}off$/m);
  expect((await run(['--host', '0.0.0.0'])).output).toMatch(/^page {5}off: .*--page-token-file/m);
  const guarded = await run([], { MODULE_CACHE_PAGE_TOKEN: TOKEN });
  expect(guarded.output).toMatch(/^page {5}http.* \(asks for its token\)$/m);
  expect(guarded.output).not.toContain(TOKEN);
}, 90_000);

test.each([
  [['--page', '--host', '0.0.0.0'], {}, 'nothing protects the page'],
  [['--page-token-file', '/nowhere/token'], {}, 'the token of the page cannot be read'],
  [[], { MODULE_CACHE_PAGE_TOKEN: 'short-secret' }, 'the token of the page is too short'],
])(
  'what cannot be protected is said in one line, before anything starts: %j %j',
  async (args, env, message) => {
    const { code, output } = await run(args, env);
    expect(code).toBe(1);
    expect(output).toMatch(new RegExp(`^module-cache: ${message}.*openssl rand`, 'm'));
    expect(output).not.toContain('short-secret');
  },
);

test('the address of the database is in nothing that the page says', async () => {
  const secret = 'the-password-of-nobody';
  const url = Object.assign(new URL(database.url), { username: 'page_reader', password: secret }).href;
  await database.sql.unsafe(`create role page_reader login superuser password '${secret}'`);
  try {
    const server = await startModuleServer([join(folder, 'src'), '--database-url', url], 1);
    try {
      const { page } = (await server.next('ready')) as unknown as { page: string };
      const stream = await watch(page);
      await stream.find('it has begun', ({ type }) => type === 'fleet');
      await database.sql`alter role page_reader nologin`;
      await database.sql`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'page_reader'`;
      await stream.find('it is away', ({ type }) => type === 'trouble');
      await until(() => server.events.some(({ event }) => event === 'warning'), {
        what: 'a warning was printed',
      });
      const said = JSON.stringify([stream.events, server.events]) + (await (await fetch(page)).text());
      expect(said).not.toContain(secret);
      await database.sql`alter role page_reader login`;
    } finally {
      await server.stop();
    }
  } finally {
    await database.sql.unsafe('drop owned by page_reader; drop role page_reader');
  }
}, 60_000);
