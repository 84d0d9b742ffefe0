/*
 * Takes the pictures of docs/images: the page of a fleet that serves the TypeScript sources of rxjs from a real
 * Postgres, in both colour schemes, while modules are edited. Run it after a build: node test/page/screenshots.mjs
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, chmod, cp, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import postgres from 'postgres';
import { startEmbeddedPostgres } from '../../dist/cli/embedded-postgres.js';
import { createTemplate } from '../support/template.mjs';

const REALM = 'https://modules.example/rxjs/';
const WORKERS = 4;
const SIZE = { width: 1440, height: 1000 };
const rxjs = join(dirname(createRequire(import.meta.url).resolve('rxjs/package.json')), 'src');
const images = fileURLToPath(new URL('../../docs/images/', import.meta.url));
const closing = [];

try {
  await main();
} finally {
  for (const close of closing.reverse()) await close();
}

async function main() {
  const data = await mkdtemp(join(tmpdir(), 'module-cache-page-'));
  await chmod(data, 0o755);
  closing.push(() => rm(data, { recursive: true, force: true }));
  const server = await startEmbeddedPostgres({ dataDirectory: join(data, 'postgres') });
  closing.push(() => server.stop('immediate'));
  await createTemplate(server.url, 'page');
  const databaseUrl = Object.assign(new URL(server.url), { pathname: '/page' }).href;
  const sql = postgres(databaseUrl, {
    max: 2,
    onnotice: () => {},
    connection: { application_name: 'deploy' },
  });
  closing.push(() => sql.end({ timeout: 1 }));
  // Whoever takes the pictures keeps the name of the machine.
  await sql.unsafe(`
    create function public.name_host() returns trigger language plpgsql as $$
    begin new.host := 'app-' || 1 + new.process_id % 2; return new; end $$;
    create trigger name_host before insert or update on module_cache._peers
    for each row execute function public.name_host();`);

  const sources = join(data, 'sources');
  await cp(rxjs, sources, { recursive: true });
  const url = await serve(sources, databaseUrl);
  const paths = (await readdir(sources, { recursive: true })).filter((path) => path.endsWith('.ts'));
  await load(url, paths);

  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium' });
  closing.push(() => browser.close());
  const page = await browser.newPage({ viewport: SIZE, colorScheme: 'dark' });
  await page.goto(`${url}-/#${new URLSearchParams({ realm: REALM, module: 'internal/Subject.ts' })}`);
  await page.locator('#graph-size', { hasText: 'modules' }).waitFor();

  const editing = new AbortController();
  const edits = edit(sources, sql, editing.signal);
  const until = performance.now() + Number(process.env.WATCH_MS ?? 75_000);
  while (performance.now() < until) await load(url, paths);
  await mkdir(images, { recursive: true });
  for (const scheme of ['dark', 'light']) {
    await page.emulateMedia({ colorScheme: scheme });
    await load(url, paths);
    await sleep(3_500);
    await sql`select from module_cache.invalidate(${REALM}, ${['internal/util/isFunction.ts']})`;
    await sleep(800);
    await page.screenshot({ path: join(images, `page-${scheme}.png`) });
  }
  editing.abort();
  await edits;
}

async function serve(folder, databaseUrl) {
  const cli = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
  const args = [
    cli,
    'serve',
    folder,
    '--realm',
    REALM,
    '--workers',
    String(WORKERS),
    '--port',
    '0',
    '--json',
  ];
  const child = spawn(process.execPath, [...args, '--database-url', databaseUrl], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(child, 'exit');
  closing.push(async () => {
    child.kill('SIGINT');
    await exit;
  });
  for await (const line of createInterface(child.stdout)) {
    const { event, url } = JSON.parse(line);
    if (event === 'ready') {
      child.stdout.resume();
      return url;
    }
  }
  throw new Error('the server ended');
}

async function load(url, paths) {
  const rest = [...paths];
  const work = async () => {
    for (let path = rest.pop(); path !== undefined; path = rest.pop())
      await (await fetch(new URL(path, url))).arrayBuffer();
  };
  await Promise.all(Array.from({ length: 8 }, work));
  await sleep(300);
}

/** Some by the watcher of the folder, some by SQL. */
async function edit(folder, sql, signal) {
  const edited = [
    'operators/map.ts',
    'scheduler/asap.ts',
    'util/identity.ts',
    'observable/from.ts',
    'Subscriber.ts',
  ];
  for (let turn = 0; !signal.aborted; turn += 1) {
    const path = `internal/${edited[turn % edited.length]}`;
    if (turn % 2 === 0) await appendFile(join(folder, path), `\nexport const edit${turn} = ${turn};\n`);
    else await sql`select from module_cache.invalidate(${REALM}, ${[path]})`;
    await sleep(9_000, undefined, { signal }).catch(() => {});
  }
}
