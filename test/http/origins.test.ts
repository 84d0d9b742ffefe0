import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { Browser, Page } from 'playwright-core';
import { type Cors, createModuleHandler, createNodeListener } from '../../src/http/index.js';
import { CHROMIUM, launchChromium } from '../support/chromium.js';
import { describeWith } from '../support/with-programs.js';
import { servedRealm } from './support/served-realm.js';

/** A real browser, on a page of another origin than the modules. */

const modules = servedRealm();

describeWith(CHROMIUM, 'a page of another origin', (executable) => {
  let browser: Browser;
  let page: Page;
  let pages: Server;
  const servers: Server[] = [];

  async function listen(server: Server): Promise<string> {
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
  const serve = async (cors: Cors): Promise<string> =>
    listen(createServer(createNodeListener(createModuleHandler({ ...(await modules.setup()), cors }))));

  let origin: string;
  beforeAll(async () => {
    pages = createServer((_, response) => {
      response
        .setHeader('content-type', 'text/html')
        .end('<!doctype html>\n<link rel="icon" href="data:,">\n');
    });
    origin = await listen(pages);
    browser = await launchChromium(executable);
    page = await browser.newPage();
  });
  afterAll(async () => {
    await browser?.close();
    for (const server of servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  });
  beforeEach(async () => {
    await modules.write('main.ts', "export { a } from './a';");
    await modules.write('a.ts', 'export const a: number = 1;');
    await page.goto(origin);
  });

  const load = (url: string): Promise<unknown> =>
    page.evaluate(`import('${url}').then(({ a }) => a, () => 'refused')`);

  test.each<[string, () => Cors, unknown]>([
    ['is refused unless it is allowed to', () => false, 'refused'],
    ['loads modules and what they import if all may', () => true, 1],
    ['loads them if it is named', () => ['https://other.example', origin], 1],
    ['is refused if others are', () => ['https://other.example'], 'refused'],
  ])('%s', async (_, cors, expected) => {
    expect(await load(`${await serve(cors())}/main.ts`)).toBe(expected);
  });

  test('passes on the token that it read, for which the browser asks first', async () => {
    const url = `${await serve(true)}/main.ts`;
    const [status, token, from] = (await page.evaluate(`(async () => {
      const first = await fetch('${url}');
      const token = first.headers.get('x-module-cache-token');
      const next = await fetch('${url}', { headers: { 'x-module-cache-after': token } });
      return [next.status, token, next.headers.get('x-module-cache')];
    })()`)) as [number, string, string];
    expect([status, token]).toEqual([200, expect.stringMatching(/./)]);
    // From the database if the notification of the writes arrives only now.
    expect(['l1', 'l2']).toContain(from);
  });
});
