import { describe, expect, test } from '@jest/globals';
import { servedRealm } from './support/served-realm.js';

/** What names no module is refused with a status of its own, and is never looked for on the disk. */

const modules = servedRealm();

test.each([
  ['an unknown module', '/nope.ts', 404],
  ['a file that is no module', '/data.json', 404],
  ['a path above the root', '/..%2fsecret.ts', 400],
  ['a path above the root from within', '/a/..%2f..%2fsecret.ts', 400],
  ['a dot segment that is encoded with its slash', '/a%2f.%2fb.ts', 400],
  ['an encoded backslash', '/..%5csecret.ts', 400],
  ['a path that was encoded twice, which is decoded once', '/%252e%252e%252fsecret.ts', 404],
  ['a malformed escape', '/%zz', 400],
  ['an escape that is no UTF-8', '/%ff.ts', 400],
  ['an escaped NUL', '/a%00.ts', 400],
  ['an escaped question mark', '/a%3fb.ts', 400],
  ['an empty first segment', '//a.ts', 400],
  ['an empty segment, by which a file would be found', '/lib//a.ts', 400],
  ['a path over the limit', `/${'x'.repeat(2100)}.ts`, 400],
])('%s is refused: %s', async (_, path, status) => {
  await modules.write('data.json', '{}');
  await modules.write('lib/a.ts', 'export {};');
  const response = await (await modules.serve())(path);
  expect([response.status, response.headers.get('cache-control')]).toEqual([status, 'no-store']);
});

test.each(['POST', 'PUT', 'DELETE', 'PATCH'])('%s is refused with what is allowed', async (method) => {
  const response = await (await modules.serve())('/a.ts', { method });
  expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET, HEAD, OPTIONS']);
});

test('OPTIONS says what is allowed, and nothing about other origins unless told to', async () => {
  const response = await (await modules.serve())('/a.ts', {
    method: 'OPTIONS',
    headers: { origin: 'https://b.example' },
  });
  expect([response.status, response.headers.get('allow')]).toEqual([204, 'GET, HEAD, OPTIONS']);
  expect([...response.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([]);
});

test('a query is a URL of its own: the same module, another etag', async () => {
  await modules.write('a.ts', 'export const a = 1;');
  const ask = await modules.serve();
  const [plain, one, again, two] = [
    await ask('/a.ts'),
    await ask('/a.ts?v=1'),
    await ask('/a.ts?v=1'),
    await ask('/a.ts?v=2'),
  ];
  expect([plain.status, one.status]).toEqual([200, 200]);
  expect(await one.text()).toBe(await plain.text());
  const etags = [plain, one, two].map((response) => response.headers.get('etag'));
  expect(new Set(etags).size).toBe(3);
  expect(again.headers.get('etag')).toBe(etags[1]);
  expect((await ask('/a.ts?v=2', { 'if-none-match': String(etags[1]) })).status).toBe(200);
  expect((await ask('/a.ts?v=1', { 'if-none-match': String(etags[1]) })).status).toBe(304);
});

test('an alias has an etag of its own as well, and says which URL is the module’s', async () => {
  await modules.write('a.ts', 'export const a = 1;');
  const ask = await modules.serve();
  const [own, alias] = [await ask('/a.ts'), await ask('/a')];
  expect(alias.headers.get('etag')).not.toBe(own.headers.get('etag'));
  expect(alias.headers.get('content-location')).toBe('./a.ts');
  expect((await ask('/a', { 'if-none-match': String(alias.headers.get('etag')) })).status).toBe(304);
});

test('304 has what a cache needs to go on using what it has, and no more', async () => {
  await modules.write('a.ts', 'export const a = 1;');
  const ask = await modules.serve();
  const fresh = await ask('/a.ts');
  const etag = String(fresh.headers.get('etag'));
  const known = await ask('/a.ts', { 'if-none-match': etag });
  expect([known.status, Object.fromEntries(known.headers)]).toEqual([
    304,
    {
      etag,
      'cache-control': 'no-cache',
      vary: 'accept-encoding',
      'x-content-type-options': 'nosniff',
      'x-module-cache': expect.stringMatching(/^l[12]$/),
      'x-module-cache-token': expect.any(String),
    },
  ]);
});

test('a range, a date and other preconditions are not acted upon: the whole module, or 304 by its etag', async () => {
  await modules.write('a.ts', 'export const a = 1;');
  const ask = await modules.serve();
  const whole = await (await ask('/a.ts')).text();
  const later = new Date(Date.now() + 60_000).toUTCString();
  const asked = { range: 'bytes=0-3', 'if-modified-since': later, 'if-match': '"x"' };
  for (const [name, value] of Object.entries(asked)) {
    const response = await ask('/a.ts', { [name]: value });
    expect([response.status, await response.text()]).toEqual([200, whole]);
  }
});

/** Without what the time decides: where the answer comes from, and how much this process has seen. */
const headersOf = ({ headers }: Response): object => ({
  ...Object.fromEntries(headers),
  'x-module-cache': headers.has('x-module-cache'),
  'x-module-cache-token': headers.has('x-module-cache-token'),
});

test('HEAD answers every status as GET does, with its length and without its body', async () => {
  await modules.write('a.ts', `export const text = '${'a'.repeat(2000)}';`);
  await modules.write('bad.ts', 'export const = 1;');
  const ask = await modules.serve();
  for (const path of ['/a.ts', '/bad.ts', '/none.ts', '/%zz']) {
    await ask(path);
    const [get, head] = [
      await ask(path, { 'accept-encoding': 'gzip' }),
      await ask(path, { method: 'HEAD', headers: { 'accept-encoding': 'gzip' } }),
    ];
    expect(head.status).toBe(get.status);
    expect(headersOf(head)).toEqual(headersOf(get));
    const bytes = (await get.arrayBuffer()).byteLength;
    expect([head.headers.get('content-length'), await head.text()]).toEqual([String(bytes), '']);
  }
});

describe('under a mount', () => {
  test('modules are found below it, and nothing else is', async () => {
    await modules.write('lib/a.ts', "export * from '../b';");
    await modules.write('b.ts', 'export const b = 1;');
    for (const basePath of ['/modules/', 'modules', '/modules']) {
      const ask = await modules.serve({ basePath });
      const response = await ask('/modules/lib/a.ts');
      expect([response.status, await response.text()]).toEqual([200, expect.stringContaining('"../b.ts"')]);
      expect((await ask('/b.ts')).status).toBe(404);
      expect((await ask('/modulesx/b.ts')).status).toBe(404);
      expect((await ask('/modules/..%2fb.ts')).status).toBe(400);
    }
  });

  test('its own path is the index of the realm', async () => {
    await modules.write('index.ts', 'export const index = 1;');
    const ask = await modules.serve({ basePath: '/modules/' });
    expect((await ask('/modules/')).status).toBe(200);
  });

  test.each(['/a b/', '/a?b', '/a/../b/', 5 as unknown as string])(
    'a mount that is no path is refused: %s',
    async (basePath) => {
      await expect(modules.serve({ basePath })).rejects.toMatchObject({ code: 'MC107' });
    },
  );
});

describe('a module that does not compile', () => {
  test.each([
    ['*/*', 'application/json'],
    ['', 'application/json'],
    ['application/json', 'application/json'],
    ['image/png', 'application/json'],
    ['application/json;q=0.5, text/plain', 'text/plain'],
    ['text/plain;q=0, */*', 'application/json'],
    ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', 'text/plain'],
  ])('is told in the form that is asked for: accept %s', async (accept, type) => {
    await modules.write('bad.ts', 'export const = 1;');
    const response = await (await modules.serve())('/bad.ts', { accept });
    expect([response.status, response.headers.get('vary')]).toEqual([422, 'accept']);
    expect(response.headers.get('content-type')).toBe(`${type}; charset=utf-8`);
    const text = await response.text();
    if (type === 'text/plain') expect(text).toMatch(/^bad\.ts:1:14: .+\n\n.*> 1 \|/s);
    else expect(JSON.parse(text)).toMatchObject({ file: 'bad.ts', line: 1, column: 14 });
  });
});
