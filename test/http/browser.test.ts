import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Browser, Page } from 'playwright-core';
import { CHROMIUM, launchChromium } from '../support/chromium.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type ModuleServer, startModuleServer } from '../support/serve.js';
import { until } from '../support/wait.js';
import { describeWith } from '../support/with-programs.js';
import { type Answer, openPage } from './support/browser-page.js';

/** A real browser loads the module graph of a page from four processes, and again after an edit. */

/** Each module says its name when it is evaluated. */
const says = (name: string): string => `((globalThis as any).evaluated ??= []).push('${name}');\n`;
const files = {
  'main.ts': `${says('main')}import './a';\nimport './lib';\nimport { b } from './b';\nawait import('./größe');\n(globalThis as any).done = b;\n`,
  'a.ts': `${says('a')}import './shared';\n`,
  'b.ts': `${says('b')}import { shared } from './shared.js';\nexport const b: string = shared;\n`,
  'lib/index.ts': `${says('lib')}import '../shared.ts';\nimport './part';\n`,
  'lib/part.tsx': `${says('part')}import '../shared';\n`,
  'größe.ts': says('größe'),
  'shared.ts': `${says('shared')}export const shared = 'first';\n`,
};

describeWith(CHROMIUM, 'a page', (executable) => {
  let database: TestDatabase;
  let folder: string;
  let server: ModuleServer;
  let origin: string;
  let browser: Browser;
  let page: Page;
  let answers: () => Answer[];

  const write = async (path: string, text: string): Promise<void> => {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  };
  const told = (path: string): Promise<unknown> =>
    until(() => server.events.find(({ changed }) => changed?.includes(path)), {
      timeoutMs: 30_000,
      what: `the change of ${path} was noticed`,
    });

  /** Loads the page anew; resolves to what the network said, by path. */
  async function load(): Promise<Record<string, number>> {
    // Any page of the server will do for a document.
    await page.goto(`${origin}no-such-page`);
    answers();
    await page.addScriptTag({ url: '/main.ts', type: 'module' });
    await page.waitForFunction('globalThis.done !== undefined', undefined, { timeout: 10_000 });
    const got = answers().filter(({ url }) => url.startsWith(origin) && /\.tsx?$/.test(url));
    const paths = got.map(({ url }) => decodeURIComponent(new URL(url).pathname.slice(1)));
    expect(paths.length).toBe(new Set(paths).size);
    return Object.fromEntries(got.map(({ status }, index) => [paths[index], status]));
  }
  const evaluated = async (): Promise<string[]> =>
    ((await page.evaluate('globalThis.evaluated')) as string[]).sort();
  const done = (): Promise<unknown> => page.evaluate('globalThis.done');

  beforeAll(async () => {
    database = await createDatabase();
    folder = await mkdtemp(join(tmpdir(), 'module-cache-browser-'));
    for (const [path, text] of Object.entries(files)) await write(path, text);
    server = await startModuleServer([folder, '--database-url', database.url]);
    origin = server.url;
    browser = await launchChromium(executable);
    ({ page, answers } = await openPage(await browser.newContext()));
  });
  afterAll(async () => {
    await browser?.close();
    await server?.stop();
    await database?.drop();
    await rm(folder, { recursive: true, force: true });
  });

  test('loads each module under one URL, whatever names it, and evaluates it once', async () => {
    const got = await load();
    expect(got).toEqual(Object.fromEntries(Object.keys(files).map((path) => [path, 200])));
    expect(await evaluated()).toEqual(['a', 'b', 'größe', 'lib', 'main', 'part', 'shared']);
    expect(await done()).toBe('first');
  });

  test('gets 304 for everything when nothing has changed', async () => {
    const got = await load();
    expect(got).toEqual(Object.fromEntries(Object.keys(files).map((path) => [path, 304])));
  });

  test('gets 200 for what was edited alone: importers are compiled again, but their bytes are the same', async () => {
    await write('shared.ts', `${says('shared')}export const shared = 'second';\n`);
    await told('shared.ts');
    const got = await load();
    const expected = Object.keys(files).map((path) => [path, path === 'shared.ts' ? 200 : 304]);
    expect(got).toEqual(Object.fromEntries(expected));
    expect(await done()).toBe('second');
    expect(await evaluated()).toEqual(['a', 'b', 'größe', 'lib', 'main', 'part', 'shared']);
  });

  test('gets 200 for an importer whose specifier leads elsewhere after a move', async () => {
    await mkdir(join(folder, 'b'));
    await write('b/index.ts', (files['b.ts'] as string).replace('./shared.js', '../shared.js'));
    await rename(join(folder, 'b.ts'), join(folder, 'b.old'));
    await told('b.ts');
    await told('b/index.ts');
    const { 'main.ts': main, 'b/index.ts': moved, ...rest } = await load();
    expect([main, moved]).toEqual([200, 200]);
    expect(new Set(Object.values(rest))).toEqual(new Set([304]));
    expect(await done()).toBe('second');
  });
});
