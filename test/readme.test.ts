import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { freePort } from './client/support/proxy.js';
import { connect, createDatabase } from './support/database.js';
import { until } from './support/wait.js';

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
const blocks = (language: string): string[] =>
  [...readme.matchAll(new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 'gs'))].map(([, text]) => text as string);

describe('what the README shows', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  beforeAll(async () => {
    database = await createDatabase();
  });
  afterAll(() => database.drop());

  test('the SQL runs as it is written, and the put is stored', async () => {
    const psql = connect(database.url, { max: 1 });
    const results = [];
    for (const block of blocks('sql').slice(0, 2)) results.push(await psql.unsafe(block));
    expect(JSON.stringify(results)).toContain('"reason":"stored"');
  });

  test('the TypeScript runs as it is written, ends by itself, and sees its own edit', async () => {
    const script = new URL('../readme-example.mjs', import.meta.url);
    await writeFile(script, blocks('js')[0] as string);
    try {
      const { stdout } = await promisify(execFile)(process.execPath, [fileURLToPath(script)], {
        env: { ...process.env, DATABASE_URL: database.url, NODE_OPTIONS: '' },
        timeout: 60_000,
      });
      expect(stdout).toContain('produced export const name');
      expect(stdout).toContain('true true');
    } finally {
      await rm(script);
    }
  });

  test('the server of modules runs as it is written, and serves a folder', async () => {
    const script = new URL('../readme-server.mjs', import.meta.url);
    await writeFile(script, blocks('js')[1] as string);
    const port = await freePort();
    const child = spawn(process.execPath, [fileURLToPath(script)], {
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      env: { ...process.env, DATABASE_URL: database.url, NODE_OPTIONS: '', PORT: String(port) },
      stdio: 'inherit',
    });
    try {
      const response = await until(() => fetch(`http://127.0.0.1:${port}/errors`).catch(() => undefined), {
        timeoutMs: 30_000,
        what: 'the server answers',
      });
      expect([response.status, response.headers.get('content-location')]).toEqual([
        200,
        expect.stringContaining('errors.ts'),
      ]);
      expect(await response.text()).toContain('export class ModuleCacheError');
    } finally {
      child.kill('SIGKILL');
      await rm(script);
    }
  });

  test('what an operator types into psql runs as it is written', async () => {
    for (const block of blocks('sql').slice(2)) await database.sql.unsafe(block);
    expect(
      await database.sql`select from module_cache.artifacts where status = 'live' and realm_url = 'https://example.com/app/'`,
    ).toHaveLength(0);
  });
});
