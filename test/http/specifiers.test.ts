import { describe, expect, test } from '@jest/globals';
import { createModuleProducer, type ImportMap } from '../../src/http/index.js';
import { servedRealm } from './support/served-realm.js';

/** What a browser would load: every specifier leads to a URL that is served, and each module has one URL. */

const modules = servedRealm();

/** Specifiers of a served module, by order. */
async function served(path: string, imports: ImportMap = {}, url = `/${path}`): Promise<string[]> {
  const response = await (await modules.serve({ imports }))(url);
  const body = await response.text();
  if (response.status !== 200) throw new Error(`${response.status} ${body}`);
  return [...body.matchAll(/(?:from |import |import\()["'](.*?)["']/g)].map((match) => match[1] as string);
}

const importing = (...specifiers: string[]): string =>
  specifiers.map((name) => `import '${name}';`).join('\n');

describe('relative specifiers', () => {
  test('lead to the file itself, whatever names it', async () => {
    await modules.write('lib/index.ts', 'export {};');
    await modules.write('lib/part.tsx', 'export {};');
    await modules.write('a.ts', 'export {};');
    await modules.write(
      'main.ts',
      importing('./a', './a.js', './a.ts', './lib', './lib/', './lib/index', './lib/part'),
    );
    await modules.write('lib/inner.ts', importing('../a', './part', '.', '..//a', '../lib/part.js'));
    await modules.write('index.ts', 'export {};');
    await modules.write('lib/up.ts', importing('..', './', '../'));
    expect(await served('main.ts')).toEqual([
      './a.ts',
      './a.ts',
      './a.ts',
      './lib/index.ts',
      './lib/index.ts',
      './lib/index.ts',
      './lib/part.tsx',
    ]);
    expect(await served('lib/inner.ts')).toEqual([
      '../a.ts',
      './part.tsx',
      './index.ts',
      '..//a',
      './part.tsx',
    ]);
    expect(await served('lib/up.ts')).toEqual(['../index.ts', './index.ts', '../index.ts']);
  });

  test('are rewritten in exports and calls of import(), and keep query and hash', async () => {
    await modules.write('a.ts', 'export const a = 1;');
    await modules.write(
      'main.ts',
      "export * from './a?x=1&y';\nexport { a } from './a#part';\nimport('./a');",
    );
    expect(await served('main.ts')).toEqual(['./a.ts?x=1&y', './a.ts#part', './a.ts']);
  });

  test('that lead to no module, out of the realm or to another host are left as they are written', async () => {
    const specifiers = [
      './/a',
      './none',
      './data.json',
      './style.css',
      '../../other/x',
      '/elsewhere',
      'https://cdn.example/x',
    ];
    await modules.write('data.json', '{}');
    await modules.write('main.ts', importing(...specifiers));
    expect(await served('main.ts')).toEqual(specifiers);
  });

  test('with the URL or the absolute path of the realm lead into it', async () => {
    await modules.write('a.ts', 'export {};');
    await modules.write('deep/main.ts', importing(`${modules.realm}a`, '/app/a', '/a'));
    expect(await served('deep/main.ts')).toEqual(['../a.ts', '../a.ts', '/a']);
  });

  test.each([
    ['a space', 'a b.ts', './a%20b', './a%20b.ts'],
    ['a hash', 'a#b.ts', './a%23b', './a%23b.ts'],
    ['a question mark', 'a?b.ts', './a%3Fb', undefined],
    ['a percent sign', '100%.ts', './100%25', './100%25.ts'],
    ['what looks like an escape', 'a%20b.ts', './a%2520b', './a%2520b.ts'],
    ['brackets of a route', '[id].ts', './[id]', './[id].ts'],
    ['letters of another script', 'größe.ts', './größe', './gr%C3%B6%C3%9Fe.ts'],
    ['an at sign and a colon', 'a@b:c.ts', './a@b:c', './a@b:c.ts'],
  ])('are encoded as a browser spells them: %s', async (_, file, written, url) => {
    await modules.write(file, 'export {};');
    await modules.write('main.ts', importing(written));
    const [specifier] = await served('main.ts');
    // A path cannot hold these two characters at all.
    if (url === undefined || file.includes('#')) return expect(specifier).toBe(written);
    expect(specifier).toBe(url);
    // The URL of a link to it, and the URL that is asked for, are one.
    expect(new URL(encodeURI(file), 'http://h/').pathname.replace('%5B', '[').replace('%5D', ']')).toBe(
      new URL(url, 'http://h/').pathname,
    );
    expect((await (await modules.serve())(new URL(url, 'http://h/').pathname)).status).toBe(200);
  });

  test('hold as well when a folder is asked for by its name', async () => {
    await modules.write(
      'lib/index.ts',
      "export * from './part';\nexport * from '../a';\nexport * from 'deep';",
    );
    await modules.write('lib/part.ts', 'export const part = 1;');
    await modules.write('a.ts', 'export const a = 1;');
    const imports = { deep: './lib/part' };
    expect(await served('lib/index.ts', imports)).toEqual(['./part.ts', '../a.ts', './part.ts']);
    expect(await served('lib/index.ts', imports, '/lib')).toEqual([
      './lib/part.ts',
      './a.ts',
      './lib/part.ts',
    ]);
    const ask = await modules.serve({ imports });
    const [folder, file] = [await ask('/lib'), await ask('/lib/index.ts')];
    expect(folder.headers.get('content-location')).toBe('./lib/index.ts');
    expect(file.headers.get('content-location')).toBeNull();
    expect(folder.headers.get('etag')).not.toBe(file.headers.get('etag'));
    await modules.write('lib/index.ts', "export * from '../a';");
    const { token } = await modules.caches[1].invalidate(modules.realm, ['lib/index.ts']);
    expect(await (await ask('/lib', { 'x-module-cache-after': token })).text()).toContain('"./a.ts"');
  });

  test('are resolved anew when a better candidate appears, or theirs moves', async () => {
    const ask = await modules.serve();
    const specifier = async () => /["'](\.\/.*)["']/.exec(await (await ask('/main.ts')).text())?.[1];
    await modules.write('main.ts', importing('./a'));
    expect(await specifier()).toBe('./a');
    for (const file of ['a/index.ts', 'a.js', 'a.ts']) {
      await modules.write(file, 'export {};');
      await modules.caches[0].invalidate(modules.realm, [file]);
      expect(await specifier()).toBe(`./${file}`);
    }
  });
});

describe('bare specifiers', () => {
  const imports = {
    rxjs: 'https://cdn.example/rxjs.js',
    'rxjs/': 'https://cdn.example/rxjs/',
    'rxjs/internal/': '/vendor/internal/',
    lib: './vendor/lib',
    'own/': './src/',
  };

  test('follow the map: exact keys, prefixes, the longest first; others are left to the browser', async () => {
    await modules.write('vendor/lib.ts', 'export {};');
    await modules.write('src/a.ts', 'export {};');
    const specifiers = [
      'rxjs',
      'rxjs/operators',
      'rxjs/internal/x.js',
      'lib',
      'own/a',
      'own/none',
      'react',
      'rxjsx',
    ];
    await modules.write('deep/main.ts', importing(...specifiers));
    expect(await served('deep/main.ts', imports)).toEqual([
      'https://cdn.example/rxjs.js',
      'https://cdn.example/rxjs/operators',
      '/vendor/internal/x.js',
      '../vendor/lib.ts',
      '../src/a.ts',
      '../src/none',
      'react',
      'rxjsx',
    ]);
  });

  test('cannot climb out of what their prefix stands for', async () => {
    await modules.write('main.ts', importing('rxjs/../secret.js', 'own/..%2f../x', 'own/../x'));
    expect(await served('main.ts', imports)).toEqual(['rxjs/../secret.js', './src/..%2f../x', 'own/../x']);
  });

  test('that lead into the realm make the importer depend on what they lead to', async () => {
    await modules.write('vendor/lib.ts', 'export {};');
    await modules.write('main.ts', importing('lib'));
    const { dependencyKeys } = await createModuleProducer({ ...(await modules.setup()), imports }).produce(
      'main.ts',
    );
    expect(dependencyKeys).toContain('vendor/lib');
  });

  test('a map of another server is another variant: products are never mixed', async () => {
    await modules.write('main.ts', importing('rxjs'));
    const other = { ...imports, rxjs: '/elsewhere.js' };
    expect(await served('main.ts', imports)).toEqual(['https://cdn.example/rxjs.js']);
    expect(await served('main.ts', other)).toEqual(['/elsewhere.js']);
    const variant = async (map: ImportMap) =>
      createModuleProducer({ ...(await modules.setup()), imports: map }).variant;
    expect(await variant(Object.fromEntries(Object.entries(imports).reverse()))).toBe(await variant(imports));
    expect(new Set([await variant(imports), await variant(other), await variant({})]).size).toBe(3);
    expect((await variant(imports)).length).toBeLessThan(100);
  });

  test.each([
    ['a relative key', { './a': '/a' }],
    ['a prefix that leads to a file', { 'a/': '/a' }],
    ['an address that is none', { a: 'b' }],
    ['an empty key', { '': '/a' }],
    ['a value that is no text', { a: 1 as unknown as string }],
  ])('a map with %s is refused at once', async (_, map) => {
    await expect(modules.serve({ imports: map })).rejects.toMatchObject({ code: 'MC107' });
  });
});

test('the source map names the file beside the module, and nothing of the realm, which may be a folder of the server', async () => {
  await modules.write('lib/größe 1.ts', 'export const a: number = 1;');
  const body = await (await (await modules.serve())('/lib/gr%C3%B6%C3%9Fe%201.ts')).text();
  const map = Buffer.from(/base64,(\S+)/.exec(body)?.[1] ?? '', 'base64').toString();
  expect(JSON.parse(map).sources).toEqual(['gr%C3%B6%C3%9Fe%201.ts']);
  expect(map).not.toContain('http-');
});
