import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { dependencyKeyOf, normalizeDependency } from '../../src/keys.js';
import { candidatesOf, type ModuleSource, openDirectory, openTable } from '../../src/realm/index.js';
import { type Disk, openDisk } from './support/disk.js';

describe('the order of candidates', () => {
  const extensions = ['.ts', '.tsx', '.mts', '.js', '.jsx', '.mjs', '.gts', '.gjs'];
  const withEach = (stem: string): string[] => extensions.map((extension) => stem + extension);

  test.each([
    ['foo', [...withEach('foo'), ...withEach('foo/index')]],
    ['foo/', withEach('foo/index')],
    ['', withEach('index')],
    ['index', [...withEach('index'), ...withEach('index/index')]],
    ['foo.ts', ['foo.ts', ...withEach('foo.ts'), ...withEach('foo.ts/index')]],
    [
      'a/foo.js',
      [
        'a/foo.js',
        ...withEach('a/foo.js'),
        'a/foo.ts',
        'a/foo.tsx',
        'a/foo.mts',
        'a/foo.jsx',
        'a/foo.mjs',
        'a/foo.gts',
        'a/foo.gjs',
        ...withEach('a/foo.js/index'),
      ],
    ],
    ['data.json', [...withEach('data.json'), ...withEach('data.json/index')]],
  ])('of "%s" is the documented one', (path, candidates) => {
    expect(candidatesOf(path)).toEqual(candidates);
  });

  test.each(['/', '/foo', '//', 'a/../b', './a', '..', 'a?b', 'a#b', 'a\0b'])(
    '"%s" stands for nothing',
    (path) => {
      expect(candidatesOf(path)).toEqual([]);
    },
  );

  test('trap: a declaration is found by a name with another dependency key, and changes unnoticed', () => {
    expect(candidatesOf('foo.d')).not.toContain('foo.d.ts');
    expect(candidatesOf('foo.d.ts')[0]).toBe('foo.d.ts');
  });

  test('every candidate has the dependency key of the name that was asked for', () => {
    const part = fc.constantFrom(
      'foo',
      'index',
      'd',
      '.d',
      '.ts',
      '.js',
      '.d.ts',
      '.gts',
      '/',
      '.',
      'x.json',
    );
    const path = fc.array(part, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(path, (name) => {
        const keys = new Set(candidatesOf(name).map(dependencyKeyOf));
        return [...keys].every((key) => key === normalizeDependency('https://x.example/', name));
      }),
      { numRuns: 2_000 },
    );
  });
});

describe.each(['folder', 'table'] as const)('what a request finds in a %s', (kind) => {
  let disk: Disk;
  let source: ModuleSource;
  beforeAll(async () => {
    disk = await openDisk();
    await disk.database
      .sql`create table files (realm text, path text, source text, primary key (realm, path))`;
  });
  afterAll(() => disk.close());
  beforeEach(async () => {
    await disk.begin();
    source =
      kind === 'folder'
        ? await openDirectory(disk.folder)
        : await openTable({
            sql: disk.database.sql,
            table: 'files',
            realm: disk.realm,
            realmColumn: 'realm',
          });
  });
  afterEach(() => disk.end());

  async function put(path: string, text = path): Promise<void> {
    if (kind === 'folder') await disk.write(path, text);
    else await disk.database.sql`insert into files values (${disk.realm}, ${path}, ${text})`;
  }

  test('the first candidate that there is', async () => {
    expect(await source.resolve('foo')).toBeUndefined();
    for (const path of [
      'foo/index.gjs',
      'foo/index.ts',
      'foo.gjs',
      'foo.gts',
      'foo.mjs',
      'foo.jsx',
      'foo.js',
      'foo.mts',
      'foo.tsx',
      'foo.ts',
    ]) {
      await put(path);
      expect(await source.resolve('foo')).toBe(path);
    }
    expect(await source.resolve('foo/')).toBe('foo/index.ts');
    expect(await source.resolve('foo.js')).toBe('foo.js');
    expect((await source.read('foo.gts'))?.text).toBe('foo.gts');
    expect((await source.read('foo.ts'))?.text).toBe('foo.ts');
  });

  test('a JavaScript name finds what is written in TypeScript, and no other name finds another extension', async () => {
    for (const path of ['a.ts', 'b.tsx', 'c.gts', 'd.js']) await put(path);
    expect(await source.resolve('a.js')).toBe('a.ts');
    expect(await source.resolve('b.jsx')).toBe('b.tsx');
    expect(await source.resolve('c.gjs')).toBe('c.gts');
    expect(await source.resolve('d.ts')).toBeUndefined();
  });

  test('the root has an index, and a folder may be called like a module', async () => {
    await put('index.ts');
    await put('odd.ts/index.ts');
    for (const path of ['', 'index', 'index.js']) expect(await source.resolve(path)).toBe('index.ts');
    for (const path of ['odd', 'odd.ts', 'odd.ts/'])
      expect(await source.resolve(path)).toBe(path === 'odd' ? undefined : 'odd.ts/index.ts');
    expect(await source.read('odd.ts')).toBeUndefined();
  });

  test('what is no module is not found: a declaration by an alias, data, styles, a name without an extension', async () => {
    for (const path of ['types.d.ts', 'data.json', 'style.css', 'LICENSE']) await put(path);
    for (const path of ['types', 'types.d', 'data', 'data.json', 'style.css', 'LICENSE'])
      expect([path, await source.resolve(path)]).toEqual([path, undefined]);
    expect(await source.resolve('types.d.ts')).toBe('types.d.ts');
  });

  test('all modules are listed, once and in order, and each has a stamp', async () => {
    const paths = ['a.ts', 'a/b.ts', 'a/c/d.gts', 'a0.ts', 'b.js', 'index.ts'];
    for (const path of [...paths].reverse()) await put(path);
    for (const path of ['data.json', 'odd?.ts']) await put(path);
    const listed: string[] = [];
    for await (const path of source.list()) listed.push(path);
    expect(listed).toEqual(paths);
    for (const path of paths) expect(await source.stamp(path)).toEqual(expect.any(String));
    expect(await source.stamp('none.ts')).toBeUndefined();
  });
});

describe('modules with one dependency key', () => {
  let disk: Disk;
  beforeAll(async () => {
    disk = await openDisk();
  });
  afterAll(() => disk.close());
  beforeEach(() => disk.begin());
  afterEach(() => disk.end());

  test('a new foo.gts beside foo.ts invalidates the importers of ./foo', async () => {
    const { cache, realm } = disk;
    await disk.write('foo.ts');
    await disk.store(await openDirectory(disk.folder), 'foo.ts');
    await cache.getOrProduce({ realm, path: 'user.ts' }, () => ({ body: 'user', dependencyKeys: ['foo'] }));
    await cache.getOrProduce({ realm, path: 'other.ts' }, () => ({ body: 'other', dependencyKeys: ['bar'] }));
    await disk.watch();
    await disk.write('foo.gts');
    await disk.seen('foo.gts');
    const left = ['foo.ts', 'user.ts', 'other.ts'].filter(
      (path) => cache.peek({ realm, path }) !== undefined,
    );
    expect(left).toEqual(['other.ts']);
    disk.forget();
    await cache.getOrProduce({ realm, path: 'user.ts' }, () => ({ body: 'user', dependencyKeys: ['foo'] }));
    await mkdir(join(disk.folder, 'foo'));
    await disk.write('foo/index.ts');
    await disk.seen('foo/index.ts');
    expect(cache.peek({ realm, path: 'user.ts' })).toBeUndefined();
  });

  test('are told apart', async () => {
    const source = await openDirectory(disk.folder);
    for (const path of ['foo.ts', 'foo.gts', 'foo/index.ts']) {
      await disk.write(path);
      await disk.store(source, path);
    }
    for (const path of ['foo.ts', 'foo.gts', 'foo/index.ts'])
      expect((await disk.cache.get({ realm: disk.realm, path }))?.body).toBe(path);
  });

  test('a change fans out across realms', async () => {
    const { cache, realm } = disk;
    const elsewhere = realm.replace('disk', 'elsewhere');
    await disk.write('deep/index.ts');
    await cache.getOrProduce({ realm, path: 'base.ts' }, () => ({ body: 'base', dependencyKeys: ['deep'] }));
    await cache.getOrProduce({ realm: elsewhere, path: 'user.ts' }, () => ({
      body: 'user',
      dependencyKeys: [`${realm}base`],
    }));
    await disk.watch();
    await disk.write('deep/index.ts');
    await disk.seen('deep/index.ts');
    expect(cache.peek({ realm, path: 'base.ts' })).toBeUndefined();
    expect(cache.peek({ realm: elsewhere, path: 'user.ts' })).toBeUndefined();
  });
});
