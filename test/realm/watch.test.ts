import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type ModuleCache, openModuleCache } from '../../src/cache.js';
import {
  compareWithStored,
  openDirectory,
  type RealmWatcher,
  SOURCE_HASH_HEADER,
  watchRealm,
} from '../../src/realm/index.js';
import { createDatabase } from '../support/database.js';
import { until } from '../support/wait.js';

describe('a realm on disk', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let cache: ModuleCache;
  let folder: string;
  let realm: string;
  let watcher: RealmWatcher | undefined;
  let changed: string[];
  let number = 0;

  beforeAll(async () => {
    database = await createDatabase();
    cache = await openModuleCache({ connection: database.sql });
  });
  afterAll(async () => {
    await cache.close();
    await database.drop();
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'module-cache-realm-'));
    number += 1;
    realm = `https://disk-${number}.example/`;
    changed = [];
  });
  afterEach(async () => {
    await watcher?.close();
    watcher = undefined;
    await rm(folder, { recursive: true });
  });

  const start = async (): Promise<void> => {
    watcher = await watchRealm({
      cache,
      realm,
      folder,
      onInvalidated: (result) => changed.push(...result.changed),
    });
  };
  const seen = (path: string): Promise<unknown> =>
    until(() => changed.includes(path), { timeoutMs: 10_000, what: `a change of ${path}` });

  test('a module that is written, created, moved or deleted is invalidated', async () => {
    await writeFile(join(folder, 'a.ts'), '1');
    await start();
    await writeFile(join(folder, 'a.ts'), '22');
    await seen('a.ts');
    await mkdir(join(folder, 'deep'));
    await writeFile(join(folder, 'deep/new.ts'), '1');
    await seen('deep/new.ts');
    await rename(join(folder, 'deep/new.ts'), join(folder, 'moved.ts'));
    await seen('moved.ts');
    changed.length = 0;
    await rm(join(folder, 'moved.ts'));
    await seen('moved.ts');
  });

  test('an edit drops the module and its importers from memory', async () => {
    await writeFile(join(folder, 'base.ts'), '1');
    await start();
    await cache.getOrProduce({ realm, path: 'user.ts' }, () => ({ body: 'user', dependencyKeys: ['base'] }));
    expect(cache.peek({ realm, path: 'user.ts' })).toBeDefined();
    await writeFile(join(folder, 'base.ts'), '22');
    await seen('base.ts');
    expect(cache.peek({ realm, path: 'user.ts' })).toBeUndefined();
  });

  test('a change that was made while nothing ran is found at the next start, and nothing else is invalidated', async () => {
    await writeFile(join(folder, 'same.ts'), 'same');
    await writeFile(join(folder, 'edited.ts'), 'before');
    await writeFile(join(folder, 'gone.ts'), 'gone');
    const source = await openDirectory(folder);
    for (const path of ['same.ts', 'edited.ts', 'gone.ts']) {
      const file = await source.read(path);
      await cache.getOrProduce({ realm, path }, () => ({
        body: path,
        headers: { [SOURCE_HASH_HEADER]: file?.hash ?? '' },
      }));
    }
    await writeFile(join(folder, 'edited.ts'), 'after');
    await rm(join(folder, 'gone.ts'));
    expect((await compareWithStored(cache, database.sql, realm, source)).sort()).toEqual([
      'edited.ts',
      'gone.ts',
    ]);
    expect(await cache.get({ realm, path: 'same.ts' })).toBeDefined();
    expect(await cache.get({ realm, path: 'edited.ts' })).toBeUndefined();
  });

  test('a link that leaves the folder shows nothing from outside', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'module-cache-outside-'));
    try {
      await writeFile(join(outside, 'secret.ts'), 'secret');
      await symlink(join(outside, 'secret.ts'), join(folder, 'link.ts'));
      await symlink(outside, join(folder, 'linked'));
      const source = await openDirectory(folder);
      expect(await source.resolve('link.ts')).toBeUndefined();
      expect(await source.read('linked/secret.ts')).toBeUndefined();
    } finally {
      await rm(outside, { recursive: true });
    }
  });

  test('what is no folder is refused with a hint', async () => {
    await expect(openDirectory(join(folder, 'none'))).rejects.toMatchObject({
      code: 'MC107',
      hint: expect.any(String),
    });
  });
});
