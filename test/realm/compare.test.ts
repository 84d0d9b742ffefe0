import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { compareWithStored, type ModuleSource, openDirectory } from '../../src/realm/index.js';
import { type Disk, openDisk } from './support/disk.js';

describe('a folder is compared with what is stored', () => {
  let disk: Disk;
  let source: ModuleSource;
  beforeAll(async () => {
    disk = await openDisk();
  });
  afterAll(() => disk.close());
  beforeEach(async () => {
    await disk.begin();
    source = await openDirectory(disk.folder);
  });
  afterEach(() => disk.end());
  const compare = (signal?: AbortSignal): Promise<string[]> =>
    compareWithStored(
      disk.cache,
      disk.database.sql,
      disk.realm,
      source,
      signal === undefined ? {} : { signal },
    );
  const isStored = async (path: string, kind = 'transpile'): Promise<boolean> =>
    (await disk.cache.get({ realm: disk.realm, path, kind })) !== undefined;

  test('a change that was made while nothing ran is found, and nothing else is invalidated', async () => {
    for (const path of ['same.ts', 'edited.ts', 'gone.ts']) {
      await disk.write(path);
      await disk.store(source, path);
    }
    await disk.write('edited.ts');
    await rm(join(disk.folder, 'gone.ts'));
    expect(await compare()).toEqual(['edited.ts', 'gone.ts']);
    expect(await isStored('same.ts')).toBe(true);
    expect(await isStored('edited.ts')).toBe(false);
    // What is dead is not compared again.
    expect(await compare()).toEqual([]);
  });

  test('errors and definitions are compared like modules', async () => {
    for (const path of ['error.ts', 'definition.ts', 'same-error.ts']) await disk.write(path);
    await disk.store(source, 'error.ts', { isError: true });
    await disk.store(source, 'same-error.ts', { isError: true });
    await disk.store(source, 'definition.ts', { kind: 'definition' });
    await disk.write('error.ts');
    await disk.write('definition.ts');
    expect(await compare()).toEqual(['definition.ts', 'error.ts']);
    expect(await isStored('definition.ts', 'definition')).toBe(false);
  });

  test('what does not say what it was made from is kept, but a definition of a module that is gone is not', async () => {
    const { cache, realm } = disk;
    await disk.write('there.ts');
    for (const [path, kind] of [
      ['there.ts', 'definition'],
      ['gone.ts', 'definition'],
      ['index.html', 'page'],
    ] as const)
      await cache.getOrProduce({ realm, path, kind }, () => ({ body: path }));
    expect(await compare()).toEqual(['gone.ts']);
  });

  test('a new module is found that an import of a stored one means now', async () => {
    for (const path of ['a.js', 'b.ts', 'c/index.ts']) {
      await disk.write(path);
      await disk.store(source, path);
    }
    // The first one comes before a.js, the second one after b.ts.
    for (const path of ['a.ts', 'b.gts', 'c.ts', 'new.ts']) await disk.write(path);
    expect(await compare()).toEqual(['a.ts', 'c.ts']);
    expect(await isStored('a.js')).toBe(false);
    expect(await isStored('b.ts')).toBe(true);
  });

  test('importers of what had changed are invalidated, too', async () => {
    const { cache, realm } = disk;
    await disk.write('base.ts');
    await disk.store(source, 'base.ts');
    await cache.getOrProduce({ realm, path: 'user.ts' }, () => ({ body: 'user', dependencyKeys: ['base'] }));
    await disk.write('base.ts');
    expect(await compare()).toEqual(['base.ts']);
    expect(await isStored('user.ts')).toBe(false);
  });

  test('more modules than fit on a page are all compared, and few are read at once', async () => {
    const { database, realm } = disk;
    await database.sql`
      select module_cache.put(${realm}, 'module-' || i || '.ts', 'transpile', '', '', '{"source-hash": "old"}', '{}', g.token)
      from generate_series(1, 2500) i, module_cache.get(${realm}, 'any.ts') g`;
    let reading = 0;
    let most = 0;
    const counting: ModuleSource = {
      ...source,
      async read(path) {
        reading += 1;
        most = Math.max(most, reading);
        const file = await source.read(path);
        reading -= 1;
        return file;
      },
    };
    const changed = await compareWithStored(disk.cache, database.sql, realm, counting);
    expect(new Set(changed).size).toBe(2500);
    expect(most).toBeLessThanOrEqual(8);
    expect(await compare()).toEqual([]);
  });

  test('it ends when it is told to', async () => {
    await disk.write('a.ts');
    await disk.store(source, 'a.ts');
    const reason = new Error('stopped');
    await expect(compare(AbortSignal.abort(reason))).rejects.toBe(reason);
    const controller = new AbortController();
    source = {
      ...source,
      async read() {
        controller.abort(reason);
        return undefined;
      },
    };
    await disk.store(await openDirectory(disk.folder), 'b.ts');
    await expect(compare(controller.signal)).rejects.toBe(reason);
  });

  test('a source whose changes commit with their invalidation is not read', async () => {
    await disk.store(source, 'gone.ts');
    source = { ...source, isTransactional: true };
    expect(await compare()).toEqual([]);
  });
});
