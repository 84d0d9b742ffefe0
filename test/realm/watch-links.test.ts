import { rmSync, unlinkSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { openDirectory } from '../../src/realm/index.js';
import { type Disk, openDisk } from './support/disk.js';

describe.each([
  ['told by the system', false],
  ['looking again and again', 20],
] as const)('symbolic links in a watched folder, %s', (_, usePolling) => {
  let disk: Disk;
  let outside: string;
  beforeAll(async () => {
    disk = await openDisk();
  });
  afterAll(() => disk.close());
  beforeEach(async () => {
    await disk.begin();
    outside = await mkdtemp(join(tmpdir(), 'module-cache-outside-'));
  });
  afterEach(async () => {
    await disk.end();
    await rm(outside, { recursive: true });
  });
  const watch = (folder = disk.folder) => disk.watch({ usePolling, folder });
  const at = (path: string): string => join(disk.folder, path);
  const link = (target: string, path: string) => symlink(target, at(path));

  test('a module is invalidated by all its names', async () => {
    await disk.write('real/deep/a.ts');
    await link('real/deep/a.ts', 'file.ts');
    await link('real', 'folder');
    await link('folder/deep', 'chain');
    await watch();
    await disk.write('real/deep/a.ts');
    await disk.seen('real/deep/a.ts', 'file.ts', 'folder/deep/a.ts', 'chain/a.ts');
    disk.forget();
    await disk.write('real/deep/new.ts');
    await disk.seen('folder/deep/new.ts', 'chain/new.ts');
    disk.forget();
    await unlink(at('real/deep/a.ts'));
    await disk.seen('real/deep/a.ts', 'file.ts', 'folder/deep/a.ts', 'chain/a.ts');
    disk.forget();
    await disk.write('real/deep/a.ts');
    await disk.seen('file.ts', 'folder/deep/a.ts');
  });

  test('a module is a link to a file that is none by its own name', async () => {
    await disk.write('versions/1', 'a');
    await link('versions/1', 'current.ts');
    await watch();
    await disk.write('versions/1', 'another');
    await disk.seen('current.ts');
    disk.forget();
    await disk.write('versions/2', 'new');
    await rename(at('versions/2'), at('versions/1'));
    await disk.seen('current.ts');
    disk.forget();
    await unlink(at('versions/1'));
    await disk.seen('current.ts');
  });

  test('a link leads to another release now, which has links of its own', async () => {
    for (const release of ['1', '2']) {
      await disk.write(`common/${release}/a.ts`);
      await disk.write(`releases/${release}/b.ts`);
      await link(`../../common/${release}`, `releases/${release}/shared`);
    }
    await link('releases/1', 'current');
    await watch();
    await link('releases/2', 'next');
    await rename(at('next'), at('current'));
    await disk.seen('current/b.ts', 'current/shared/a.ts');
  });

  test('a link goes together with what it led to: its names are gone as well', async () => {
    await disk.write('lib/a.ts');
    await disk.write('lib/deep/b.ts');
    await link('lib', 'alias');
    await link('lib/a.ts', 'main.ts');
    await watch();
    rmSync(at('lib'), { recursive: true });
    unlinkSync(at('alias'));
    unlinkSync(at('main.ts'));
    await disk.seen('lib/a.ts', 'alias/a.ts', 'alias/deep/b.ts', 'main.ts');
  });

  test('a link that leads somewhere else now invalidates what had and what has a name by it', async () => {
    await disk.write('v1/a.ts');
    await disk.write('v2/b.ts');
    await link('v1', 'current');
    await link('current/a.ts', 'main.ts');
    await watch();
    await link('v2', 'next');
    await rename(at('next'), at('current'));
    await disk.seen('current/a.ts', 'current/b.ts', 'main.ts');
    disk.forget();
    await disk.write('v2/b.ts');
    await disk.seen('current/b.ts', 'v2/b.ts');
    disk.forget();
    await unlink(at('current'));
    await disk.seen('current/b.ts');
  });

  test('a folder is moved with a link in it and with what that leads to', async () => {
    await disk.write('old/a/real/x.ts');
    await link('../a/real', 'old/a/way');
    await disk.write('old/b/y.ts');
    await link('../a/real', 'old/b/way');
    await watch();
    await rename(at('old'), at('new'));
    await disk.seen('old/a/way/x.ts', 'old/b/way/x.ts', 'new/a/way/x.ts', 'new/b/way/x.ts');
  });

  test('a link that leaves the folder is not followed, and names no module', async () => {
    await writeFile(join(outside, 'secret.ts'), 'secret');
    await link(outside, 'linked');
    await link(join(outside, 'secret.ts'), 'secret.ts');
    await watch();
    await link(join(outside, 'secret.ts'), 'later.ts');
    await writeFile(join(outside, 'secret.ts'), 'changed');
    await disk.write('last.ts');
    await disk.seen('last.ts');
    expect(disk.batches.flat()).toEqual(['last.ts']);
    const source = await openDirectory(disk.folder);
    expect(await source.resolve('secret.ts')).toBeUndefined();
    expect(await source.read('linked/secret.ts')).toBeUndefined();
    expect(await source.stamp('linked/secret.ts')).toBeUndefined();
  });

  test('a module that becomes a link to outside is no module any more', async () => {
    await disk.write('a.ts');
    await disk.write('deep/b.ts');
    await watch();
    await unlink(at('a.ts'));
    await link(join(outside, 'a.ts'), 'a.ts');
    await rm(at('deep'), { recursive: true });
    await link(outside, 'deep');
    await writeFile(join(outside, 'b.ts'), 'b');
    await disk.seen('a.ts', 'deep/b.ts');
    disk.forget();
    await writeFile(join(outside, 'b.ts'), 'changed');
    await disk.write('last.ts');
    await disk.seen('last.ts');
    expect(disk.batches.flat()).toEqual(['last.ts']);
  });

  test('links to the folder that they are in have an end', async () => {
    await disk.write('in/a.ts');
    await link('.', 'in/self');
    await link('../..', 'in/up');
    await link('loop', 'loop');
    await watch();
    await disk.write('in/a.ts');
    await disk.seen('in/a.ts');
    expect(disk.errors).toEqual([]);
    expect(new Set(disk.batches.flat()).size).toBeLessThan(20);
  });

  test('the folder may be reached through a link itself', async () => {
    await mkdir(join(outside, 'real'));
    await writeFile(join(outside, 'real/a.ts'), 'a');
    await symlink(join(outside, 'real'), join(outside, 'way'));
    await watch(join(outside, 'way'));
    await writeFile(join(outside, 'way/a.ts'), 'changed');
    await disk.seen('a.ts');
  });
});
