import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type ModuleCache, openModuleCache } from '../../src/cache.js';
import { createModuleHandler, etagOf, type ModuleHandler, matchesEtag } from '../../src/http/index.js';
import { openDirectory } from '../../src/realm/index.js';
import { createTranspiler, type Transpiler } from '../../src/transpile/index.js';
import { createDatabase } from '../support/database.js';

describe('createModuleHandler', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let transpiler: Transpiler;
  let caches: ModuleCache[];
  let handlers: ModuleHandler[];
  let folder: string;
  let realm: string;
  let number = 0;

  beforeAll(async () => {
    database = await createDatabase();
    transpiler = await createTranspiler({ threads: 1 });
    caches = await Promise.all([1, 2].map(() => openModuleCache({ connection: database.url })));
  });
  afterAll(async () => {
    await Promise.all(caches.map((cache) => cache.close()));
    await transpiler.close();
    await database.drop();
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'module-cache-http-'));
    number += 1;
    realm = `https://http-${number}.example/`;
    const source = await openDirectory(folder);
    handlers = caches.map((cache) => createModuleHandler({ cache, realm, source, transpiler }));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const write = async (path: string, text: string): Promise<void> => {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  };
  const ask = (path: string, init?: RequestInit, which = 0): Promise<Response> =>
    (handlers[which] as ModuleHandler)(new Request(`http://localhost${path}`, init));
  const from = (response: Response): string | null => response.headers.get('x-module-cache');

  test('a module is compiled once for all processes, and the header says who did the work', async () => {
    await write('a.ts', 'export const a: number = 1;');
    const first = await ask('/a.ts');
    expect([first.status, from(first)]).toEqual([200, 'produced']);
    expect(first.headers.get('content-type')).toBe('text/javascript; charset=utf-8');
    expect(await first.text()).toContain('export const a = 1;');
    expect(from(await ask('/a.ts'))).toBe('l1');
    expect(from(await ask('/a.ts', {}, 1))).toBe('l2');
  });

  test('etag is strong, equal in every process, and of the URL, so that 304 never mixes two modules', async () => {
    await write('a.ts', 'export const a = 1;');
    await write('b.ts', 'export const a = 1;');
    const [here, there, other] = [await ask('/a.ts'), await ask('/a.ts', {}, 1), await ask('/b.ts')];
    const etag = here.headers.get('etag') as string;
    expect(etag).toMatch(/^"[\w-]+"$/);
    expect(there.headers.get('etag')).toBe(etag);
    expect(other.headers.get('etag')).not.toBe(etag);
    for (const sent of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
      const response = await ask('/a.ts', { headers: { 'if-none-match': sent } });
      expect([response.status, await response.text()]).toEqual([304, '']);
    }
    expect((await ask('/a.ts', { headers: { 'if-none-match': '"x"' } })).status).toBe(200);
  });

  test('trap: two URLs have the same body, and with it the same etag', async () => {
    await write('a.ts', '');
    await write('b.ts', '');
    const transpile: Transpiler['transpile'] = async () => ({
      body: 'same',
      headers: { 'content-type': 'text/javascript; charset=utf-8' },
      dependencyKeys: [],
      isError: false,
    });
    const handle = createModuleHandler({
      cache: caches[0] as ModuleCache,
      realm,
      source: await openDirectory(folder),
      transpiler: { ...transpiler, transpile },
    });
    const [one, other] = [
      await handle(new Request('http://localhost/a.ts')),
      await handle(new Request('http://localhost/b.ts')),
    ];
    expect([await one.text(), await other.text()]).toEqual(['same', 'same']);
    expect(other.headers.get('etag')).not.toBe(one.headers.get('etag'));
  });

  test('trap: two versions were written in one second, and have the same etag', async () => {
    const second = new Date('2026-01-01T00:00:00Z');
    const etags: (string | null)[] = [];
    for (const version of [1, 2]) {
      await write('a.ts', `export const version = ${version};`);
      await utimes(join(folder, 'a.ts'), second, second);
      await caches[0]?.invalidate(realm, ['a.ts']);
      etags.push((await ask('/a.ts')).headers.get('etag'));
    }
    expect(etags[1]).not.toBe(etags[0]);
    expect((await ask('/a.ts', { headers: { 'if-none-match': String(etags[0]) } })).status).toBe(200);
  });

  test('trap: the etag is taken from one version and the body from the next', async () => {
    const versions = ['1', '2'].map((version) => ({
      status: 'hit',
      body: version,
      headers: { etag: `"${version}"`, 'content-type': 'text/javascript', 'last-modified': version },
      dependencyKeys: [],
      source: 'l1',
    }));
    // A memory that has the next version each time it is looked at.
    const cache = { peek: () => versions.shift() } as unknown as ModuleCache;
    const handle = createModuleHandler({ cache, realm, source: await openDirectory(folder), transpiler });
    const response = await handle(new Request('http://localhost/a.ts'));
    expect([response.headers.get('etag'), response.headers.get('last-modified')]).toEqual(['"1"', '1']);
    expect(await response.text()).toBe('1');
  });

  test('HEAD answers what GET would, without the body', async () => {
    await write('a.ts', 'export const a = 1;');
    const get = await ask('/a.ts');
    const head = await ask('/a.ts', { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
    expect(head.headers.get('etag')).toBe(get.headers.get('etag'));
    expect(head.headers.get('content-length')).toBe(String(Buffer.byteLength(await get.text())));
  });

  test('a module that does not compile is 422 with its place, as JSON or text, and cached until it changes', async () => {
    await write('bad.ts', 'let x = 1;\nexport const = 3;');
    const json = await ask('/bad.ts');
    expect([json.status, from(json)]).toEqual([422, 'produced']);
    expect(await json.json()).toMatchObject({
      file: 'bad.ts',
      line: 2,
      column: 14,
      codeFrame: expect.stringContaining('> 2 |'),
    });
    const text = await ask('/bad.ts', { headers: { accept: 'text/plain' } });
    expect([text.status, from(text)]).toEqual([422, 'l1']);
    expect(await text.text()).toMatch(/^bad\.ts:2:14: .+\n\n.*> 2 \|/s);
    await write('bad.ts', 'export const x = 3;');
    await caches[1]
      ?.invalidate(realm, ['bad.ts'])
      .then(({ token }) =>
        ask('/bad.ts', { headers: { 'x-module-cache-after': token } }).then((mended) =>
          expect(mended.status).toBe(200),
        ),
      );
  });

  test('a read with the token of an edit never gets the module from before it', async () => {
    for (let version = 1; version <= 20; version += 1) {
      await write('a.ts', `export const version = ${version};`);
      const { token } = await (caches[version % 2] as ModuleCache).invalidate(realm, ['a.ts']);
      const response = await ask('/a.ts', { headers: { 'x-module-cache-after': token } }, (version + 1) % 2);
      expect(await response.text()).toContain(`version = ${version};`);
    }
  });

  test('a read with the token of an edit does not get what memory has, although nobody has told of it', async () => {
    const options = { broadcast: 'log', heartbeatMs: 60_000, maxStalenessMs: 120_000 } as const;
    const cache = await openModuleCache({ connection: database.url, ...options });
    try {
      // Looking at the source itself would find the edit, too.
      const source = { ...(await openDirectory(folder)), isTransactional: true };
      const handle = createModuleHandler({ cache, realm, source, transpiler });
      const version = async (headers: Record<string, string> = {}): Promise<string | undefined> => {
        const response = await handle(new Request('http://localhost/a.ts', { headers }));
        return /version = (\d+)/.exec(await response.text())?.[1];
      };
      await write('a.ts', 'export const version = 1;');
      expect(await version()).toBe('1');
      await write('a.ts', 'export const version = 2;');
      const edit = await (caches[0] as ModuleCache).invalidate(realm, ['a.ts']);
      expect(await version()).toBe('1');
      expect(await version({ 'x-module-cache-after': edit.token })).toBe('2');
    } finally {
      await cache.close();
    }
  });

  test('an import without its extension finds the module, a folder its index, and .js what was written as .ts', async () => {
    await write('lib/index.ts', 'export const index = 1;');
    await write('lib/part.tsx', 'export const part = 1;');
    for (const [path, found] of [
      ['/lib', 'index'],
      ['/lib/index', 'index'],
      ['/lib/part', 'part'],
      ['/lib/part.js', 'part'],
    ]) {
      const response = await ask(path as string);
      expect([response.status, (await response.text()).includes(`const ${found} =`)]).toEqual([200, true]);
    }
  });
});

test('tags are compared weakly, in lists, and never by a part', () => {
  expect(matchesEtag('"a", W/"b"', '"b"')).toBe(true);
  expect(matchesEtag(' * ', '"b"')).toBe(true);
  expect(matchesEtag('"ab"', '"b"')).toBe(false);
  expect(etagOf('a', 'v', 'x')).not.toBe(etagOf('a', 'w', 'x'));
});
