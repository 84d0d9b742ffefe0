import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type Child, startChild } from '../support/process.js';
import { until } from '../support/wait.js';

/** Each example is started as it stands there, and serves a page's module graph under the mount of its framework. */

const examples = new URL('../../examples/servers/', import.meta.url);
const servers = ['node-http', 'hono', 'express', 'fastify'];
let database: TestDatabase;
let folder: string;
beforeAll(async () => {
  database = await createDatabase();
  folder = await mkdtemp(join(tmpdir(), 'module-cache-example-'));
  await mkdir(join(folder, 'lib'));
  await writeFile(join(folder, 'main.ts'), "import { name } from './lib';\nconsole.log(name as string);\n");
  await writeFile(join(folder, 'lib/index.ts'), "export * from './name';\n");
  await writeFile(join(folder, 'lib/name.ts'), `export const name: string = '${'Ada'.repeat(500)}';\n`);
});
afterAll(async () => {
  await database.drop();
  await rm(folder, { recursive: true });
});

test('there is no example that is not run here', async () => {
  const files = await readdir(examples);
  expect(files.sort()).toEqual([...servers, 'modules'].map((name) => `${name}.mjs`).sort());
});

describe.each(servers)('%s', (name) => {
  let child: Child<{ type: string }>;
  let origin: string;
  beforeAll(async () => {
    child = startChild(new URL(`${name}.mjs`, examples), {
      args: [folder],
      env: { DATABASE_URL: database.url, PORT: '0' },
    });
    const what = `the example says where it is: ${child.output}`;
    origin = await until(() => /http:\/\/127\.0\.0\.1:\d+/.exec(child.output)?.[0], {
      timeoutMs: 30_000,
      what,
    });
  });
  afterAll(async () => {
    child.kill('SIGTERM');
    expect(await child.exited).toEqual({ code: 0, signal: null });
  });

  test('its page leads to modules whose imports resolve, and each of them has one URL', async () => {
    const page = await (await fetch(`${origin}/`)).text();
    const seen = new Set<string>();
    const queue = [new URL(/src="(.*?)"/.exec(page)?.[1] as string, origin).href];
    for (let url = queue.shift(); url !== undefined; url = queue.shift()) {
      if (seen.has(url)) continue;
      seen.add(url);
      const response = await fetch(url);
      expect([url, response.status]).toEqual([url, 200]);
      for (const [, specifier] of (await response.text()).matchAll(/from ["'](.*?)["']/g)) {
        queue.push(new URL(specifier as string, url).href);
      }
    }
    const paths = ['main.ts', 'lib/index.ts', 'lib/name.ts'];
    expect([...seen]).toEqual(paths.map((path) => `${origin}/modules/${path}`));
  });

  test('it answers as the handler does: 304, HEAD, compressed, 404, 405, 400', async () => {
    const url = `${origin}/modules/lib/name.ts`;
    const fresh = await fetch(url, { headers: { 'accept-encoding': 'br' } });
    const { headers } = fresh;
    expect([fresh.status, headers.get('content-encoding')]).toEqual([200, 'br']);
    expect(await fresh.text()).toContain('AdaAda');
    const etag = String(headers.get('etag'));
    const known = await fetch(url, { headers: { 'accept-encoding': 'br', 'if-none-match': etag } });
    expect([known.status, known.headers.get('etag'), await known.text()]).toEqual([304, etag, '']);
    const head = await fetch(url, { method: 'HEAD', headers: { 'accept-encoding': 'br' } });
    expect([head.status, head.headers.get('content-length')]).toEqual([200, headers.get('content-length')]);
    expect((await fetch(`${origin}/modules/none.ts`)).status).toBe(404);
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(405);
    expect((await fetch(`${origin}/modules/..%2f..%2fsecret.ts`)).status).toBe(400);
  });
});
