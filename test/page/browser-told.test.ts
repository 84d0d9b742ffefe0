import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { Browser, BrowserContext, Page, Route } from 'playwright-core';
import type {
  ClaimRow,
  InvalidationRow,
  Message,
  PeerRow,
  RealmGraph,
  StatsRow,
} from '../../src/page/messages.js';
import { CHROMIUM, launchChromium } from '../support/chromium.js';
import { until } from '../support/wait.js';
import { describeWith } from '../support/with-programs.js';
import { type PageServer, servePage } from './support/page-server.js';

/** The page in a real browser, and a server that says what the test wants, when it wants. */

const REALM = 'https://one.example/';
const OTHER = 'https://other.example/';
const TOKEN = 'a-token-with-enough-letters';
const NOWHERE = 'postgres://127.0.0.1:9/none';

describeWith(CHROMIUM, 'the page', (file) => {
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let server: PageServer;
  let complaints: string[];

  beforeAll(async () => {
    browser = await launchChromium(file);
  });
  afterAll(() => browser?.close());
  beforeEach(async () => {
    server = await servePage({ connection: NOWHERE, loopback: true });
    context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
    page = await context.newPage();
    complaints = [];
    page.on('pageerror', ({ message }) => complaints.push(message));
  });
  afterEach(async () => {
    await context.close();
    await server.close();
  });

  /** Opens the page with a stream that `tell` speaks through. */
  async function open(hash: Record<string, string> = {}): Promise<void> {
    await page.addInitScript(() => {
      class Told {
        static readonly CLOSED = 2;
        readonly readyState = 1;
        onmessage: (event: { data: string }) => void = () => {};
        constructor() {
          Object.assign(globalThis, {
            tell: (message: unknown) => this.onmessage({ data: JSON.stringify(message) }),
          });
        }
        close(): void {}
      }
      Object.assign(globalThis, { EventSource: Told });
    });
    await page.goto(`${server.url}#${new URLSearchParams(hash)}`);
    await page.waitForFunction(() => 'tell' in globalThis);
  }

  const tell = (message: Message): Promise<void> =>
    page.evaluate(
      (message) => (globalThis as unknown as { tell: (message: unknown) => void }).tell(message),
      message as unknown,
    );
  const snapshot = (more: Partial<Extract<Message, { type: 'snapshot' }>> = {}): Message => ({
    ...{ type: 'snapshot', fleet: null, stats: null, samples: [], invalidations: [], trouble: null },
    ...more,
  });
  const statsOf = (...realms: string[]): StatsRow[] =>
    realms.map((realm) => ({
      ...{ realm, kind: 'transpile', artifacts: 1, bytes: 1, l1Hits: 1, l2Hits: 1, misses: 1 },
      ...{ productions: 1, productionMs: 1, coalesced: 0, rejected: 0, failures: 0, invalidations: 0 },
    }));
  let numbers = 0;
  function invalidationOf(more: Partial<InvalidationRow> = {}): InvalidationRow {
    numbers += 1;
    return {
      ...{ id: String(numbers), at: new Date().toISOString(), xid: '1', scope: 'module', realm: REALM },
      ...{ named: ['a.ts'], namedCount: 1, modules: 1, reached: ['a.ts'], role: 'app' },
      ...{ applicationName: '', address: null },
      ...more,
    };
  }
  const happened = (...invalidations: InvalidationRow[]): Promise<void> =>
    tell({ type: 'invalidations', invalidations, missed: false });

  const graphOf = (realm: string, paths: string[], edges: number[] = []): RealmGraph => ({
    ...{ realm, paths, edges, isTruncated: false },
    statuses: paths.map(() => 'live' as const),
  });
  /** Answers a question of the page, as often as it is asked. */
  const answer = (
    name: string,
    work: (query: Record<string, string>, route: Route) => unknown,
  ): Promise<unknown> =>
    page.route(`**/${name}?*`, async (route) => {
      const json = await work(Object.fromEntries(new URL(route.request().url()).searchParams), route);
      if (json !== undefined) await route.fulfill({ json }).catch(() => {});
    });
  const explanation = {
    ...{ kind: 'transpile', variant: '', status: 'hit', dependencies: ['lib'], dependents: [] },
    ...{ dependentCount: 0, createdAt: new Date(0).toISOString(), expiresAt: null, bytes: 1 },
  };
  const section = (id: string) => page.locator(`#${id}`);
  const says = (id: string, text: string | RegExp) => section(id).filter({ hasText: text }).waitFor();
  const focused = () => page.evaluate(() => document.activeElement?.id);

  function gate(): { opened: Promise<void>; open: () => void } {
    let open = (): void => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    return { opened, open };
  }

  test('a graph of another realm goes at once, and one that cannot be had is asked for again', async () => {
    const { opened, open: fail } = gate();
    let isBroken = true;
    await answer('graph', async ({ realm }, route) => {
      if (realm === REALM) return graphOf(REALM, ['a.ts', 'b.ts'], [0, 1]);
      await opened;
      if (!isBroken) return graphOf(OTHER, ['c.ts']);
      isBroken = false;
      await route.fulfill({
        status: 503,
        contentType: 'text/plain',
        body: 'The database has taken too long.',
      });
    });
    await open();
    await tell(snapshot({ stats: statsOf(REALM, OTHER) }));
    await says('graph-size', '2 modules, 1 import');
    await page.locator('summary').click();
    await section('modules-table').getByRole('row', { name: 'a.ts' }).waitFor();
    await section('realm').selectOption(OTHER);
    await says('graph-size', 'Loading');
    await until(async () => (await section('modules-table').getByRole('row').count()) === 1, {
      what: 'nothing is in the table',
    });
    // Nor in the graph, where it would be opened in the other realm.
    await page.mouse.click(...(await middleOfGraph()));
    fail();
    await says('graph-size', 'The database has taken too long.');
    expect(new URLSearchParams(new URL(page.url()).hash.slice(1)).get('module')).toBe(null);
    await says('graph-size', '1 module, 0 imports');
    expect(complaints).toEqual([]);
  });

  async function middleOfGraph(): Promise<[x: number, y: number]> {
    const box = await section('graph').boundingBox();
    if (box === null) throw new Error('there is no graph');
    return [box.x + box.width / 2, box.y + box.height / 2];
  }

  test('another realm leaves nothing of the module of the one before, also not what is on its way', async () => {
    const { opened, open: release } = gate();
    await answer('graph', ({ realm }) => graphOf(realm as string, []));
    let questions = 0;
    await answer('explain', async () => {
      questions += 1;
      if (questions > 1) await opened;
      return [{ ...explanation, reason: `answer ${questions}` }];
    });
    await open({ realm: REALM, module: 'a.ts' });
    await tell(snapshot({ stats: statsOf(REALM, OTHER) }));
    await says('module', 'answer 1');
    await section('realm').selectOption(OTHER);
    await says('module', /^Search a module/);
    expect(await section('module-heading').textContent()).toBe('Module');

    await page.goBack();
    await until(() => questions === 2, { what: 'it is asked again' });
    await page.goForward();
    await says('module', /^Search a module/);
    release();
    await page.waitForTimeout(300);
    expect(await section('module').textContent()).toMatch(/^Search a module/);
  });

  test('slow answers do not pile up', async () => {
    const asked: string[] = [];
    const gates = { graph: gate(), explain: gate() };
    for (const name of ['graph', 'explain'] as const)
      await answer(name, async () => {
        asked.push(name);
        await gates[name].opened;
        return name === 'graph' ? graphOf(REALM, ['a.ts']) : [{ ...explanation, reason: 'why' }];
      });
    await open({ realm: REALM, module: 'a.ts' });
    await tell(snapshot({ stats: statsOf(REALM) }));
    for (let turn = 0; turn < 4; turn += 1) {
      await happened(invalidationOf());
      await page.waitForTimeout(2_000);
    }
    expect(asked.sort()).toEqual(['explain', 'graph']);
    gates.graph.open();
    const many = (name: string): number => asked.filter((other) => other === name).length;
    await until(() => many('graph') === 3, { what: 'the graph is asked for again, twice' });
    expect(many('explain')).toBe(1);
    await happened(invalidationOf());
    gates.explain.open();
    await until(() => many('explain') > 1, { what: 'the explanation is asked for again' });
  });

  test('what another process has kept from before an invalidation is not what stays', async () => {
    let asked = 0;
    await answer('graph', () => {
      asked += 1;
      return graphOf(REALM, asked < 3 ? ['a.ts'] : ['a.ts', 'b.ts']);
    });
    await open({ realm: REALM });
    await happened(invalidationOf());
    await says('graph-size', '2 modules');
  });

  test('the focus goes to an explanation, unless it has gone elsewhere meanwhile', async () => {
    const { opened, open: release } = gate();
    const gone = gate();
    await answer('graph', () => graphOf(REALM, []));
    await answer('explain', async ({ path }) => {
      if (path === 'slow.ts') await opened;
      if (path === 'gone.ts') await gone.opened;
      return [{ ...explanation, reason: `why ${path}` }];
    });
    await open({ realm: REALM, module: 'a.ts' });
    await says('module', 'why a.ts');
    const to = (module: string) =>
      page.evaluate(
        (hash) => {
          location.hash = hash;
        },
        String(new URLSearchParams({ realm: REALM, module })),
      );
    await to('slow.ts');
    await says('module-heading', 'slow.ts');
    await section('pause').focus();
    release();
    await says('module', 'why slow.ts');
    expect(await focused()).toBe('pause');
    await to('b.ts');
    await says('module', 'why b.ts');
    await until(async () => (await focused()) === 'module-heading', { what: 'it has the focus' });
    // Also if the link that was followed has gone meanwhile.
    await tell(snapshot({ invalidations: [invalidationOf({ named: ['gone.ts'] })] }));
    await section('invalidations').getByRole('link', { name: 'gone.ts' }).focus();
    await page.keyboard.press('Enter');
    await says('module-heading', 'gone.ts');
    await tell(snapshot());
    await says('invalidations', 'None since');
    gone.open();
    await says('module', 'why gone.ts');
    await until(async () => (await focused()) === 'module-heading', { what: 'it has the focus again' });
  });

  test('found modules are chosen by a whole click of the first button', async () => {
    await answer('graph', () => graphOf(REALM, []));
    await answer('search', () => ['a.ts', 'b.ts']);
    await answer('explain', () => []);
    await open({ realm: REALM });
    await section('search-text').fill('ts');
    const option = page.getByRole('option', { name: 'b.ts' });
    await option.click({ button: 'right' });
    await option.hover();
    await page.mouse.down();
    // A finger that scrolls goes down as well.
    await option.dispatchEvent('pointerdown', { pointerType: 'touch' });
    expect(await section('found').getByRole('option').count()).toBe(2);
    expect(await focused()).toBe('search-text');
    expect(await section('module-heading').textContent()).toBe('Module');
    await page.mouse.up();
    await says('module-heading', 'b.ts');
  });

  test('a wave ends with the nodes that it runs through', async () => {
    const names = Array.from({ length: 40 }, (_, index) => `m${String(index).padStart(2, '0')}.ts`);
    const edges = names.slice(1).flatMap((_, index) => [index + 1, index]);
    let isOther = false;
    await answer('graph', () =>
      isOther
        ? graphOf(
            REALM,
            names.map((name) => `other/${name}`),
          )
        : graphOf(REALM, names, edges),
    );
    await open({ realm: REALM });
    await says('graph-size', '40 modules, 39 imports');
    isOther = true;
    await happened(invalidationOf({ named: ['m00.ts'], modules: 40, reached: names }));
    const litPixels = (): Promise<number> =>
      page.evaluate(() => {
        const canvas = document.querySelector('.waves') as HTMLCanvasElement;
        const { width, height } = canvas;
        const drawing = canvas.getContext('2d') as CanvasRenderingContext2D;
        return drawing.getImageData(0, 0, width, height).data.filter((value) => value !== 0).length;
      });
    await until(async () => (await litPixels()) > 0, { what: 'the wave is there' });
    await says('graph-size', '40 modules, 0 imports');
    await page.waitForTimeout(200);
    expect(await litPixels()).toBe(0);
  });

  test('without its graphics the graph says so and leads to the table, and comes back with them', async () => {
    await answer('graph', () => graphOf(REALM, ['only.ts']));
    await answer('explain', () => []);
    await open({ realm: REALM });
    await says('graph-size', '1 module');
    await page.evaluate(() => {
      const canvas = document.querySelector('canvas.sigma-nodes') as HTMLCanvasElement;
      const lose = canvas.getContext('webgl2')?.getExtension('WEBGL_lose_context');
      Object.assign(globalThis, { lose });
      lose?.loseContext();
    });
    await says('graph-notice', 'the table has the same');
    await section('modules-table').getByRole('row', { name: 'only.ts' }).waitFor();
    await page.evaluate(() => {
      (globalThis as unknown as { lose: WEBGL_lose_context }).lose.restoreContext();
    });
    await until(async () => (await section('graph-notice').textContent()) === '', { what: 'it is back' });
    await until(
      async () => {
        await page.mouse.click(...(await middleOfGraph()));
        return (await section('module-heading').textContent()) === 'only.ts';
      },
      { what: 'its node can be clicked' },
    );
    expect(complaints).toEqual([]);
  });

  test('nothing is said of invalidations before they are known, and each says what it has reached', async () => {
    await answer('graph', () => graphOf(REALM, []));
    await open({ realm: REALM });
    await tell(snapshot({ invalidations: null }));
    await page.waitForTimeout(400);
    expect(await section('invalidations').textContent()).toBe('');
    await tell(snapshot());
    await says('invalidations', 'None since');

    const yesterday = new Date(Date.now() - 26 * 3_600_000);
    await happened(
      invalidationOf({ at: yesterday.toISOString() }),
      invalidationOf({ named: [], namedCount: 0, modules: 2 }),
      invalidationOf({ scope: 'realm', named: [], namedCount: 0, modules: 0 }),
    );
    await section('invalidations').getByRole('row').nth(3).waitFor();
    const cells = (row: number) => section('invalidations').getByRole('row').nth(row).getByRole('cell');
    expect(await cells(3).first().textContent()).toMatch(/^\w{3} \d+, \d{4}, \d\d:\d\d:\d\d$/);
    expect(await cells(2).allInnerTexts()).toEqual([
      expect.stringMatching(/^\d\d:\d\d:\d\d$/),
      ...['module', `${REALM} (2 importers)`, '2', 'app', 'local socket'],
    ]);
    await says('announcement', /: the realm https:\/\/one\.example\/ by app\.$/);
    await happened(invalidationOf({ named: [], namedCount: 0, modules: 2 }));
    await says('announcement', /^https:\/\/one\.example\/ \(2 importers\) by app, 2 modules reached\.$/);
  });

  test('tables that are cut say so', async () => {
    const peers = (many: number): PeerRow[] =>
      Array.from({ length: many }, (_, index) => ({
        ...{ name: `peer ${index}`, status: 'listening', behind: 0, lagMs: 0, hitRate: null, reads: null },
        ...{ entries: null, bytes: null, silentMs: 0, version: null, since: null, host: null },
        ...{ processId: null, applicationName: null },
      }));
    const claims = (many: number): ClaimRow[] =>
      Array.from({ length: many }, (_, index) => ({
        ...{ realm: REALM, path: `${index}.ts`, kind: 'transpile', variant: '', ageMs: 1, producer: 'p' },
        waiting: [],
      }));
    const stats = (many: number) =>
      statsOf(...Array.from({ length: many }, (_, index) => `https://${index}.example/`));
    await answer('graph', () => graphOf(REALM, []));
    await open({ realm: REALM });
    for (const [many, note] of [
      [501, 'There are more than these 500.'],
      [500, ''],
    ] as const) {
      await tell({ type: 'fleet', fleet: { peers: peers(many), claims: claims(many) } });
      await tell({ type: 'stats', stats: stats(many), sample: null });
      for (const id of ['fleet', 'production', 'stats']) {
        await until(async () => (await section(id).locator('p').allTextContents()).join() === note, {
          what: `${id} says that it is cut, or not`,
        });
        expect([id, await section(id).locator('tbody tr').count()]).toEqual([id, 500]);
      }
    }
  });

  test('hit rates from long ago do not squash those of now', async () => {
    await page.addInitScript(() => {
      const times: string[] = [];
      Object.assign(globalThis, { times });
      const fillText = CanvasRenderingContext2D.prototype.fillText;
      CanvasRenderingContext2D.prototype.fillText = function (...args) {
        if (this.canvas.closest('#rates') !== null && /^\d+:\d+:\d+$/.test(args[0])) times.push(args[0]);
        return Reflect.apply(fillText, this, args);
      };
    });
    await answer('graph', () => graphOf(REALM, []));
    await open({ realm: REALM });
    const noon = Date.parse('2026-01-01T12:00:00Z');
    const sample = (minutes: number) => ({ at: noon + minutes * 60_000, memory: 50, cache: 60 });
    /** How many minutes the labels of the axis are apart at most. */
    const span = async (): Promise<number> => {
      await page.waitForTimeout(300);
      return page.evaluate(() => {
        const { times } = globalThis as unknown as { times: string[] };
        const minutes = times.splice(0).map((time) => {
          const [hours, minutes] = time.split(':').map(Number) as [number, number];
          return hours * 60 + minutes;
        });
        return Math.max(...minutes) - Math.min(...minutes);
      });
    };
    await span();
    await tell(snapshot({ samples: [sample(0), sample(40)] }));
    expect(await span()).toBeLessThan(3);
    await tell({ type: 'stats', stats: [], sample: sample(50) });
    expect(await span()).toBeGreaterThan(5);
    await tell({ type: 'stats', stats: [], sample: sample(60) });
    expect(await span()).toBeLessThan(15);
  });

  test.each([
    [503, 'too many watch already'],
    [403, 'this page is not for requests from elsewhere'],
  ])('why nothing is told is said, and no more once it is: %i', async (status, body) => {
    const refuse = (route: Route) => route.fulfill({ status, contentType: 'text/plain', body });
    await page.route('**/events', refuse);
    await page.goto(server.url);
    await says('connection', body);
    await page.unroute('**/events', refuse);
    // The database of this server is away, which it says.
    await says('connection', 'The database cannot be reached.');
  });

  test('the form says what is wrong, and its cookie works behind a proxy that has another path for it', async () => {
    const guarded = await servePage({ connection: NOWHERE, token: TOKEN });
    const proxy = createServer(async (request, response) => {
      const { pathname } = new URL(request.url as string, 'http://x');
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      const answer = await guarded.page(
        new Request(`http://x${pathname.replace('/ops/cache/', '/-/')}`, {
          method: request.method as string,
          headers: request.headers as Record<string, string>,
          ...(request.method === 'POST' ? { body: Buffer.concat(chunks) } : {}),
        }),
      );
      response.writeHead(answer.status, Object.fromEntries(answer.headers));
      response.end(Buffer.from(await answer.arrayBuffer()));
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    try {
      await page.route('**/events', (route) => route.abort());
      await page.goto(`http://127.0.0.1:${(proxy.address() as AddressInfo).port}/ops/cache/`);
      const alert = page.getByRole('alert');
      const send = async (token: string): Promise<void> => {
        await page.getByLabel('Token').fill(token);
        await page.keyboard.press('Enter');
      };
      await send('another-token-altogether');
      await alert.filter({ hasText: /^This is not the token\.$/ }).waitFor();
      const busy = (route: Route) =>
        route.fulfill({ status: 503, contentType: 'text/plain', body: 'the page is closed' });
      await page.route('**/login', busy);
      await send(TOKEN);
      await alert.filter({ hasText: /^the page is closed$/ }).waitFor();
      await page.unroute('**/login', busy);
      await send(TOKEN);
      await section('connection').waitFor();
      await page.reload();
      await section('connection').waitFor();
    } finally {
      proxy.closeAllConnections();
      proxy.close();
      await guarded.close();
    }
  });
});
