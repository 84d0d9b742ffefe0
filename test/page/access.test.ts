import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { ModuleCacheError } from '../../src/errors.js';
import { createNodeListener } from '../../src/http/index.js';
import { createPage, type Page, type PageOptions } from '../../src/page/index.js';
import { describeTrouble } from '../../src/page/trouble.js';

/** Who gets to see the page. None of this needs a database: what cannot be reached here answers nothing. */

const TOKEN = 'a token with enough letters';
const PASSWORD = 'the-password-of-the-database';
const NOWHERE = `postgres://user:${PASSWORD}@127.0.0.1:9/none`;
const opened: Page[] = [];
afterEach(() => Promise.all(opened.splice(0).map((page) => page.close())));

function open(options: Partial<PageOptions>): Page {
  const page = createPage({ connection: NOWHERE, ...options } as PageOptions);
  opened.push(page);
  return page;
}

const ask = (page: Page, url: string, headers: Record<string, string> = {}, init: RequestInit = {}) =>
  page(new Request(url, { ...init, headers }));
const status = async (...args: Parameters<typeof ask>): Promise<number> => (await ask(...args)).status;

test.each([{}, { loopback: false }, { token: TOKEN, loopback: true }, { token: 'too short' }, { token: '' }])(
  'a page that nothing protects, or two things, is not made: %j',
  (options) => {
    expect(() => open(options)).toThrow(expect.objectContaining({ code: 'MC107' }));
  },
);

test.each(['localhost:3000', '127.0.0.1:3000', '127.8.8.8', '[::1]:3000', 'app.localhost'])(
  'on a loopback address it answers to %s',
  async (host) => {
    expect(await status(open({ loopback: true }), `http://${host}/-/`, { host })).toBe(200);
  },
);

test.each([
  'evil.example',
  '127.0.0.1.evil.example',
  'localhost.evil.example',
  '192.168.0.5:3000',
  '0.0.0.0',
])('a name that was made to lead to a loopback address gets nothing: %s', async (host) => {
  const page = open({ loopback: true });
  for (const path of ['', 'events', 'assets/page.js', 'graph?realm=https://a.example/'])
    expect([path, await status(page, `http://${host}/-/${path}`)]).toEqual([path, 403]);
  // Node's own server makes the URL of the target, if that is a whole one, and not of the header.
  expect(await status(page, 'http://localhost/-/', { host })).toBe(403);
  expect(await status(page, `http://${host}/-/`, { host: 'localhost' })).toBe(403);
});

test('behind a proxy, which makes everybody local, it asks for better protection', async () => {
  const page = open({ loopback: true });
  for (const name of ['x-forwarded-for', 'x-forwarded-host', 'x-real-ip', 'forwarded', 'via'])
    expect([name, await status(page, 'http://localhost/-/', { [name]: '10.0.0.1' })]).toEqual([name, 403]);
});

test.each([
  [{ 'sec-fetch-site': 'cross-site' }, 403],
  [{ 'sec-fetch-site': 'same-site' }, 403],
  [{ 'sec-fetch-site': 'same-origin' }, 200],
  [{ 'sec-fetch-site': 'none' }, 200],
  [{ origin: 'http://localhost:3000' }, 200],
  [{ origin: 'http://localhost:3001' }, 403],
  [{ origin: 'https://evil.example' }, 403],
  [{ origin: 'null' }, 403],
  [{}, 200],
])('requests of other origins are refused: %j', async (headers, expected) => {
  expect(await status(open({ loopback: true }), 'http://localhost:3000/-/', headers)).toBe(expected);
  const page = open({ token: TOKEN });
  const given = { authorization: `Bearer ${TOKEN}`, ...headers };
  expect(await status(page, 'http://localhost:3000/-/', given)).toBe(expected);
});

test('with a token there is nothing but a form without it, and the form leaves a cookie that others cannot read', async () => {
  const page = open({ token: TOKEN });
  const url = 'http://modules.example/-/';
  const refused = await ask(page, url);
  expect([refused.status, await refused.text()]).toEqual([401, expect.stringContaining('type="password"')]);
  for (const path of ['events', 'graph?realm=https://a.example/', 'explain', 'search', 'anything'])
    expect([path, await status(page, url + path)]).toEqual([path, 401]);

  const login = (token: string, headers = {}) =>
    ask(page, `${url}login`, headers, { method: 'POST', body: new URLSearchParams({ token }) });
  for (const wrong of ['', `${TOKEN} `, TOKEN.toUpperCase(), TOKEN.slice(0, -1)])
    expect([wrong, (await login(wrong)).status]).toEqual([wrong, 401]);
  expect((await login(TOKEN, { origin: 'http://evil.example' })).status).toBe(403);
  expect((await login('x'.repeat(10_000))).status).toBe(400);
  expect(await status(page, `${url}?token=${TOKEN}`)).toBe(401);
  expect(await status(page, `${url}login?token=${TOKEN}`)).toBe(401);

  const answer = await login(TOKEN, { origin: 'http://modules.example' });
  expect([answer.status, answer.headers.get('location')]).toEqual([303, './']);
  const cookie = answer.headers.get('set-cookie') as string;
  // Without a path, which a proxy may have changed.
  expect(cookie).toMatch(/^[^;]*; Max-Age=43200; HttpOnly; SameSite=Strict$/);
  expect(decodeURIComponent(cookie)).not.toContain(TOKEN);
  const pair = cookie.split(';')[0] as string;
  expect(await status(page, url, { cookie: `other=1; ${pair}` })).toBe(200);

  // Neither longer than it was given for, nor with another token.
  const [expires = '', signature = ''] = pair.split('=')[1]?.split('.') ?? [];
  const later = `module-cache-page=${Number(expires) + 1}.${signature}`;
  for (const forged of [later, 'module-cache-page=', 'module-cache-page=9999999999.', `${pair}x`])
    expect([forged, await status(page, url, { cookie: forged })]).toEqual([forged, 401]);
  expect(await status(open({ token: `${TOKEN}!` }), url, { cookie: pair })).toBe(401);
});

test('a session ends, also for who kept its cookie', async () => {
  const page = open({ token: TOKEN });
  const answer = await ask(
    page,
    'https://modules.example/-/login',
    {},
    {
      method: 'POST',
      body: new URLSearchParams({ token: TOKEN }),
    },
  );
  expect(answer.headers.get('set-cookie')).toMatch(/; Secure$/);
  const cookie = answer.headers.get('set-cookie')?.split(';')[0] as string;
  const now = Date.now;
  try {
    expect(await status(page, 'https://modules.example/-/', { cookie })).toBe(200);
    Date.now = () => now() + 12 * 3_600_000 + 1_000;
    expect(await status(page, 'https://modules.example/-/', { cookie })).toBe(401);
  } finally {
    Date.now = now;
  }
});

test('a bearer token opens everything to programs', async () => {
  const page = open({ token: TOKEN });
  const url = 'http://modules.example/-/';
  expect(await status(page, url, { authorization: `Bearer ${TOKEN}` })).toBe(200);
  expect(await status(page, url, { authorization: `bearer ${TOKEN}` })).toBe(200);
  expect(await status(page, url, { authorization: 'Bearer another-token-of-this-length' })).toBe(401);
  expect(await status(page, url, { authorization: `Basic ${TOKEN}` })).toBe(401);
});

test('a login of the application decides, at every request', async () => {
  let isAdmin = true;
  const page = open({ authorize: async () => isAdmin });
  expect(await status(page, 'http://modules.example/-/')).toBe(200);
  isAdmin = false;
  expect(await status(page, 'http://modules.example/-/')).toBe(403);
  const failing = open({
    authorize: () => {
      throw new Error('no session store at 10.0.0.7');
    },
  });
  const answer = await ask(failing, 'http://modules.example/-/');
  expect([answer.status, await answer.text()]).toEqual([500, 'Internal error.\n']);
});

test('every answer is told to run nothing of others, to stand in no frame, and to say nothing to others', async () => {
  const loopback = open({ loopback: true });
  const guarded = open({ token: TOKEN });
  const answers = [
    await ask(loopback, 'http://localhost/-/'),
    await ask(loopback, 'http://localhost/-/assets/page.js'),
    await ask(loopback, 'http://localhost/-/nothing'),
    await ask(loopback, 'http://evil.example/-/'),
    await ask(loopback, 'http://localhost/-/graph?realm=https://a.example/'),
    await ask(loopback, 'http://localhost/-/', {}, { method: 'DELETE' }),
    await ask(guarded, 'http://localhost/-/'),
  ];
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 404, 403, 503, 405, 401]);
  for (const { headers } of answers) {
    const policy = headers.get('content-security-policy');
    expect(policy).toMatch(/^default-src 'none';/);
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).toContain("connect-src 'self'");
    expect(policy).not.toMatch(/unsafe|\*|data:|blob:|https?:/);
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('referrer-policy')).toBe('no-referrer');
    expect(headers.get('cache-control')).toMatch(/no-store|private, no-cache/);
    expect(headers.has('access-control-allow-origin')).toBe(false);
  }
});

test('neither the token nor the address of the database is in any answer', async () => {
  const secret = TOKEN;
  const page = open({ token: secret });
  const headers = { authorization: `Bearer ${secret}` };
  const paths = [
    '',
    'graph?realm=https://a.example/',
    'explain?realm=https://a.example/&path=a.ts',
    'assets/page.js',
  ];
  for (const path of paths) {
    const answer = await ask(page, `http://localhost/-/${path}`, headers);
    const all = JSON.stringify([...answer.headers]) + (await answer.text());
    expect(all).not.toContain(secret);
    expect(all).not.toContain(PASSWORD);
    expect(all).not.toContain('127.0.0.1:9');
  }
});

test.each([
  ['MC006', 403, /^The realm is private/],
  ['MC109', 503, /^Too much is asked/],
  ['MC108', 503, /^The database cannot be reached\.$/],
  ['MC004', 503, /^The database cannot be used/],
  ['MC003', 500, /^Internal error\.$/],
] as const)('what is wrong is told by its name: %s', (code, status, text) => {
  const error = new ModuleCacheError(code, 'what happened', { detail: PASSWORD });
  const trouble = describeTrouble(error);
  expect(trouble).toEqual({ status, text: expect.stringMatching(text) });
  expect(trouble.text).not.toContain(PASSWORD);
});

test.each([
  ['42501', 503, /grant it module_cache_operator/],
  ['28P01', 503, /does not let the role of this page in/],
  ['57014', 503, /taken too long/],
  ['MC006', 403, /^The realm is private/],
  ['XX000', 500, /^Internal error\.$/],
])('so is what the database says: %s', (code, status, text) => {
  const error = Object.assign(new Error(PASSWORD), { name: 'PostgresError', code });
  expect(describeTrouble(error)).toEqual({ status, text: expect.stringMatching(text) });
});

test('a page that is asked too much at once says so, and a mistake of its own is not the way to the database', async () => {
  const page = open({ loopback: true });
  const answers = await Promise.all(
    Array.from({ length: 80 }, (_, index) =>
      ask(page, `http://localhost/-/explain?realm=https://a.example/&path=${index}.ts`),
    ),
  );
  const told = await Promise.all(answers.map(async (answer) => `${answer.status} ${await answer.text()}`));
  expect(new Set(told)).toEqual(
    new Set(['503 The database cannot be reached.\n', '503 Too much is asked of this page at once.\n']),
  );
});

test('without the slash at its end it leads to its folder, also where a server takes the path of the mount away', async () => {
  const page = open({ loopback: true });
  const plain = await ask(page, 'http://localhost/-?x=1');
  expect([plain.status, plain.headers.get('location')]).toEqual([308, './-/']);

  const listener = createNodeListener(open({ loopback: true, basePath: '/' }));
  const server = createServer((request, response) => {
    // As Express does.
    const originalUrl = request.url as string;
    Object.assign(request, { originalUrl, url: originalUrl.replace(/^\/admin\/cache\/?/, '/') });
    listener(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/admin/cache`;
    const answer = await fetch(`${url}?x=1`);
    expect([answer.url, answer.status]).toEqual([`${url}/`, 200]);
    expect((await fetch(`${url}/assets/page.js`)).status).toBe(200);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test('what is kept by the browser costs nothing the second time, and is sent compressed', async () => {
  const page = open({ loopback: true });
  const url = 'http://localhost/-/assets/page.js';
  const first = await ask(page, url, { 'accept-encoding': 'br' });
  expect(first.headers.get('content-encoding')).toBe('br');
  expect((await first.arrayBuffer()).byteLength).toBeLessThan(100_000);
  const headers = { 'accept-encoding': 'br', 'if-none-match': first.headers.get('etag') as string };
  expect(await status(page, url, headers)).toBe(304);
});

test('after close it answers that it is closed', async () => {
  const page = open({ loopback: true });
  await page.close();
  expect(await status(page, 'http://localhost/-/')).toBe(503);
});
