import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core';
import { type ModuleCache, openModuleCache } from '../../src/cache.js';
import { CHROMIUM, launchChromium } from '../support/chromium.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { describeWith } from '../support/with-programs.js';
import { type PageServer, servePage } from './support/page-server.js';

/** The page in a real browser, of real peers. */

const MARKUP = '<img src=x onerror="globalThis.injected = 1">';
const TOKEN = 'a-token-with-enough-letters';

describeWith(CHROMIUM, 'the page', (file) => {
  let database: TestDatabase;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let server: PageServer;
  let cache: ModuleCache;
  let realm: string;
  /** What must not happen on any page: errors, violations of the policy, requests to other hosts. */
  let complaints: string[];
  let numbers = 0;

  beforeAll(async () => {
    browser = await launchChromium(file);
  });
  afterAll(() => browser?.close());
  beforeEach(async () => {
    // The page shows everything that there is.
    database = await createDatabase();
    numbers += 1;
    realm = `https://browser-${numbers}.example/`;
    cache = await openModuleCache({ connection: database.url, name: `peer of ${MARKUP}` });
    server = await servePage({ connection: database.url, loopback: true });
    complaints = [];
  });
  afterEach(async () => {
    await context?.close();
    await server.close();
    await cache.close();
    await database.drop();
  });

  async function open(options: BrowserContextOptions = {}, url = server.url): Promise<void> {
    context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    await context.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
        console.error(`policy: ${violatedDirective} ${blockedURI}`);
      });
    });
    page = await context.newPage();
    page.on('pageerror', ({ message }) => complaints.push(message));
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text());
    });
    page.on('request', (request) => {
      if (new URL(request.url()).origin !== new URL(server.url).origin) complaints.push(request.url());
    });
    await page.goto(url);
  }

  const produce = (path: string, dependencyKeys: string[] = []) =>
    cache.getOrProduce({ realm, path }, async () => ({ body: 'export {}', dependencyKeys }));
  const section = (id: string) => page.locator(`#${id}`);
  const isLive = () => section('connection').filter({ hasText: 'Live' }).waitFor();

  test('shows the fleet, what is stored, and an invalidation as it happens', async () => {
    await produce('a.ts');
    await produce('b.ts', ['a']);
    await open();
    await isLive();
    await section('fleet').getByRole('row', { name: 'peer of' }).getByText('listening').waitFor();
    expect(await section('fleet').getByRole('columnheader').allInnerTexts()).toEqual(
      expect.arrayContaining(['Name', 'Status', 'Lag', 'Hit rate', 'Entries', 'Version', 'Host']),
    );
    await section('stats').getByRole('row', { name: realm }).waitFor();
    await section('graph-size').filter({ hasText: '2 modules, 1 import' }).waitFor();

    const began = Date.now();
    await database.sql`select from module_cache.invalidate(${realm}, array['a.ts'])`;
    const row = section('invalidations').getByRole('row', { name: 'a.ts' });
    await row.waitFor();
    expect(Date.now() - began).toBeLessThan(10_000);
    expect(await row.getByRole('cell').allInnerTexts()).toEqual([
      expect.stringMatching(/^\d\d:\d\d:\d\d$/),
      ...['module', 'a.ts', '2', expect.stringContaining('postgres'), '127.0.0.1'],
    ]);
    // Told once in a while, and not at each.
    await section('announcement').filter({ hasText: 'a.ts by' }).waitFor();
    expect(await section('announcement').getAttribute('aria-live')).toBe('polite');
    await page.locator('summary').click();
    await section('modules-table').getByRole('row', { name: 'b.ts invalidated 1 0' }).waitFor();
    expect(complaints).toEqual([]);
  });

  test('with one sample of the hit rates their axis is a minute', async () => {
    await open();
    await page.evaluate(() => {
      const times: string[] = [];
      Object.assign(globalThis, { times });
      const fillText = CanvasRenderingContext2D.prototype.fillText;
      CanvasRenderingContext2D.prototype.fillText = function (...args) {
        if (this.canvas.closest('#rates') !== null && /^\d+:\d+:\d+$/.test(args[0])) times.push(args[0]);
        return Reflect.apply(fillText, this, args);
      };
    });
    await isLive();
    // The first sample comes after 5 s.
    await page.waitForTimeout(6_500);
    const ages = await page.evaluate(() => {
      const now = new Date();
      const secondOf = (hours: number, minutes: number, seconds: number): number =>
        (hours * 60 + minutes) * 60 + seconds;
      return (globalThis as unknown as { times: string[] }).times.map((time) => {
        const [hours, minutes, seconds] = time.split(':').map(Number) as [number, number, number];
        const age =
          secondOf(now.getHours(), now.getMinutes(), now.getSeconds()) - secondOf(hours, minutes, seconds);
        return (age + 86_400) % 86_400;
      });
    });
    expect(ages.length).toBeGreaterThan(2);
    expect(Math.max(...ages)).toBeLessThan(120);
  });

  test('a wave runs through what an invalidation reached, and fades', async () => {
    await produce('m0.ts');
    for (let index = 1; index < 6; index += 1) await produce(`m${index}.ts`, [`m${index - 1}`]);
    await open();
    await section('graph-size').filter({ hasText: '6 modules' }).waitFor();
    const litPixels = (): Promise<number> =>
      page.evaluate(() => {
        const canvas = document.querySelector('.waves') as HTMLCanvasElement;
        const { width, height } = canvas;
        const { data } = (canvas.getContext('2d') as CanvasRenderingContext2D).getImageData(
          0,
          0,
          width,
          height,
        );
        let lit = 0;
        for (let at = 3; at < data.length; at += 4) if (data[at] !== 0) lit += 1;
        return lit;
      });
    expect(await litPixels()).toBe(0);
    await database.sql`select from module_cache.invalidate(${realm}, array['m0.ts'])`;
    await until(async () => (await litPixels()) > 20, { what: 'the wave is there' });
    await until(async () => (await litPixels()) === 0, { what: 'the wave has gone' });
  });

  test('from the search to why a module is a miss, and on to its dependency, by the keyboard alone', async () => {
    await produce('lib/root.ts');
    await produce('lib/user.ts', ['lib/root']);
    await cache.invalidate(realm, ['lib/root.ts']);
    await open();
    await page.locator('#realm option', { hasText: realm }).waitFor({ state: 'attached' });
    await page.keyboard.press('/');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('search-text');
    await page.keyboard.type('lib');
    await page.getByRole('option').nth(1).waitFor();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowDown');
    expect(await page.locator('[aria-selected=true]').textContent()).toBe('lib/user.ts');
    expect(await section('search-text').getAttribute('aria-activedescendant')).toBe('found-1');
    await page.keyboard.press('Enter');
    await section('module')
      .getByText(/miss: invalidated .* through lib\/root/)
      .waitFor();
    const focused = () => page.evaluate(() => document.activeElement?.textContent);
    await until(async () => (await focused()) === 'lib/user.ts', { what: 'the explanation has the focus' });
    // To the first link in it.
    await page.keyboard.press('Tab');
    expect(await focused()).toBe('lib/root');
    const ring = await page.evaluate(() => getComputedStyle(document.activeElement as Element).outlineStyle);
    expect(ring).toBe('solid');
    await page.keyboard.press('Enter');
    await section('module').getByRole('link', { name: 'lib/user.ts' }).waitFor();
    expect(await section('module-heading').textContent()).toBe('lib/root');
    // Each is an address, so the way back is the browser's.
    await page.goBack();
    await section('module-heading').filter({ hasText: 'lib/user.ts' }).waitFor();
    expect(complaints).toEqual([]);
  });

  test('what is long can be skipped by the keyboard, and what is shown stays so', async () => {
    await produce('a.ts');
    await cache.invalidate(realm, ['a.ts']);
    await open({}, `${server.url}#${new URLSearchParams({ realm, module: 'a.ts' })}`);
    await isLive();
    await section('invalidations').getByRole('link', { name: 'a.ts' }).waitFor();
    const address = page.url();
    const focused = () => page.evaluate(() => document.activeElement?.id);
    await page.keyboard.press('Tab');
    expect((await page.locator(':focus').boundingBox())?.width).toBeGreaterThan(50);
    await page.keyboard.press('Enter');
    expect(await focused()).toBe('main');
    await page.getByRole('link', { name: 'Past the invalidations' }).focus();
    await page.keyboard.press('Enter');
    expect(await focused()).toBe('production-heading');
    expect([page.url(), await section('module-heading').textContent()]).toEqual([address, 'a.ts']);
  });

  test('more invalidations than are told are not counted as if they were all', async () => {
    await open();
    await isLive();
    await database.sql`select module_cache.invalidate(${realm}, array[n || '.ts']) from generate_series(1, 250) n`;
    await section('invalidations-rate')
      .filter({ hasText: /^more than \d+(\.\d)? a second$/ })
      .waitFor();
  });

  test('what is in the database is text: names, paths and reasons that look like markup do nothing', async () => {
    const path = `${MARKUP}.ts`;
    await produce(path);
    await produce('user.ts', [path]);
    await database.sql.begin(async (tx) => {
      await tx`select set_config('application_name', ${MARKUP}, true)`;
      await tx`select from module_cache.invalidate(${realm}, ${[path]})`;
    });
    await open();
    await isLive();
    await section('fleet').getByText(`peer of ${MARKUP}`).waitFor();
    await section('invalidations').getByText(`${MARKUP} (`).waitFor();
    await section('search-text').fill('img');
    await page.getByRole('option', { name: path }).click();
    await section('module').getByText(`from ${MARKUP}`).waitFor();
    expect(await section('module-heading').textContent()).toBe(path);
    await page.locator('summary').click();
    await section('modules-table').getByText(path).waitFor();
    expect(
      await page.evaluate(() => [document.querySelectorAll('img').length, 'injected' in globalThis]),
    ).toEqual([0, false]);
    expect(complaints).toEqual([]);
  });

  test('the token is asked for once, and is neither in the address nor in what scripts can read', async () => {
    const guarded = await servePage({ connection: database.url, token: TOKEN });
    try {
      complaints = [];
      await open({}, guarded.url);
      complaints = [];
      await page.getByLabel('Token').fill('another-token-altogether');
      await page.keyboard.press('Enter');
      await page.getByRole('alert').filter({ hasText: 'not the token' }).waitFor();
      await page.getByLabel('Token').fill(TOKEN);
      await page.keyboard.press('Enter');
      await isLive();
      expect(page.url()).toBe(guarded.url);
      expect(await page.evaluate(() => document.cookie)).toBe('');
      const [cookie] = await context.cookies();
      expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Strict', path: '/-' });
      await page.reload();
      await isLive();
      // Another site gets nothing of it.
      const other = await context.newPage();
      await other.goto(server.url);
      const answer = await other.evaluate(
        (url) =>
          fetch(url, { credentials: 'include' }).then(
            () => 'read',
            () => 'refused',
          ),
        guarded.url,
      );
      expect(answer).toBe('refused');
    } finally {
      await context.close();
      await guarded.close();
    }
  });

  test('comes back by itself when the server does', async () => {
    await open();
    await isLive();
    const port = new URL(server.url).port;
    await server.close();
    await section('connection').filter({ hasText: 'Connecting' }).waitFor();
    server = await servePage({ connection: database.url, loopback: true }, Number(port));
    await isLive();
  });

  test('a click on a node explains its module, and the wheel scrolls the page', async () => {
    await produce('only.ts');
    await open();
    await section('graph-size').filter({ hasText: '1 module' }).waitFor();
    const box = (await section('graph').boundingBox()) as {
      x: number;
      y: number;
      width: number;
      height: number;
    };
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await until(
      async () => {
        await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
        return (await section('module-heading').textContent()) === 'only.ts';
      },
      { what: 'it is explained' },
    );
    await section('module')
      .getByText(/^hit: stored/)
      .waitFor();
    await page.mouse.wheel(0, 200);
    await until(() => page.evaluate(() => scrollY > 0), { what: 'the page has moved' });
    expect(complaints).toEqual([]);
  });

  test('fits a small screen, without anything beside it', async () => {
    await produce('a/long/path/to/a/module/with/a/long/name.ts');
    await cache.invalidate(realm, ['a/long/path/to/a/module/with/a/long/name.ts']);
    await open({ viewport: { width: 360, height: 740 } });
    await section('invalidations').getByRole('row', { name: 'module' }).last().waitFor();
    await section('fleet').getByRole('row', { name: 'peer of' }).waitFor();
    const width = () => page.evaluate(() => document.documentElement.scrollWidth);
    expect(await width()).toBe(360);
    await page.evaluate(
      ([realm, module]) => {
        location.hash = String(new URLSearchParams({ realm, module } as Record<string, string>));
      },
      [realm, 'a/long/path/to/a/module/with/a/long/name.ts'],
    );
    await section('module').getByText('miss:').waitFor();
    expect(await width()).toBe(360);
  });

  test('has landmarks, headings, labels and table headers, and texts that can be read in both schemes', async () => {
    await produce('a.ts');
    await cache.invalidate(realm, ['a.ts']);
    for (const colorScheme of ['light', 'dark'] as const) {
      await open({ colorScheme });
      await isLive();
      await section('invalidations').getByRole('row', { name: 'a.ts' }).waitFor();
      for (const role of ['banner', 'main', 'search', 'contentinfo'] as const)
        expect([role, await page.getByRole(role).count()]).toEqual([role, 1]);
      for (const name of [
        'Fleet',
        'Hit rates',
        'Imports',
        'Module',
        'Invalidations',
        'In production',
        'Realms and kinds',
      ])
        expect([name, await page.getByRole('region', { name, exact: true }).count()]).toEqual([name, 1]);
      const unnamed = await page.evaluate(() =>
        [...document.querySelectorAll('input, select, button, th, [role=img]')]
          .filter((element) => {
            const { labels } = element as HTMLInputElement;
            return !(element.textContent?.trim() || element.getAttribute('aria-label') || labels?.length);
          })
          .map((element) => element.outerHTML),
      );
      expect(unnamed).toEqual([]);
      expect(await page.evaluate(contrasts)).toEqual([]);
      await context.close();
    }
  });

  test('reduced motion: what is reached lights up at once, and stays as bright until it is out', async () => {
    await produce('m0.ts');
    await produce('m1.ts', ['m0']);
    await produce('m2.ts', ['m1']);
    await open({ reducedMotion: 'reduce' });
    await section('graph-size').filter({ hasText: '3 modules' }).waitFor();
    await page.evaluate(() => {
      const seen = new Set<number>();
      Object.assign(globalThis, { seen });
      const fill = CanvasRenderingContext2D.prototype.fill;
      CanvasRenderingContext2D.prototype.fill = function (...args: unknown[]) {
        if (this.canvas.className === 'waves') seen.add(this.globalAlpha);
        return Reflect.apply(fill, this, args);
      };
    });
    await database.sql`select from module_cache.invalidate(${realm}, array['m0.ts'])`;
    const seen = () => page.evaluate(() => [...(globalThis as unknown as { seen: Set<number> }).seen]);
    await until(async () => (await seen()).length > 0, { what: 'it is lit' });
    await page.waitForTimeout(1_500);
    expect(await seen()).toEqual([1]);
  });
});

/** Texts whose contrast to what is behind them is below 4.5 (WCAG 2.2, 1.4.3). Runs in the browser. */
function contrasts(): string[] {
  const parse = (colour: string): number[] => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = (colour: string): number => {
    const [red, green, blue] = parse(colour)
      .slice(0, 3)
      .map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)) as [
      number,
      number,
      number,
    ];
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element: Element | null): string => {
    for (let at = element; at !== null; at = at.parentElement) {
      const { backgroundColor } = getComputedStyle(at);
      if ((parse(backgroundColor)[3] ?? 1) === 1) return backgroundColor;
    }
    return 'rgb(255, 255, 255)';
  };
  const poor: string[] = [];
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent?.trim());
    if (!text || element.tagName === 'OPTION' || element.tagName === 'NOSCRIPT') continue;
    const [one, other] = [luminance(getComputedStyle(element).color), luminance(behind(element))] as const;
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) poor.push(`${element.textContent}: ${contrast.toFixed(1)}`);
  }
  return poor;
}
