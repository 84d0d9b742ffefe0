import { execFile } from 'node:child_process';
import { chmod, mkdir, rename, rm, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type Disk, openDisk } from './support/disk.js';

describe.each([
  ['told by the system', false],
  ['looking again and again', 20],
] as const)('a watched folder, %s', (_, usePolling) => {
  let disk: Disk;
  beforeAll(async () => {
    disk = await openDisk();
  });
  afterAll(() => disk.close());
  beforeEach(() => disk.begin());
  afterEach(() => disk.end());
  const watch = () => disk.watch({ usePolling });
  const at = (path: string): string => join(disk.folder, path);

  test('a module that is written, created, moved or deleted is invalidated', async () => {
    await disk.write('a.ts');
    await watch();
    await disk.write('a.ts');
    await disk.seen('a.ts');
    await disk.write('deep/er/new.ts');
    await disk.seen('deep/er/new.ts');
    await rename(at('deep/er/new.ts'), at('moved.ts'));
    await disk.seen('moved.ts');
    disk.forget();
    await unlink(at('moved.ts'));
    await disk.seen('moved.ts');
  });

  test('an edit drops the module and its importers from memory', async () => {
    const { cache, realm } = disk;
    await disk.write('base.ts');
    await watch();
    await cache.getOrProduce({ realm, path: 'user.ts' }, () => ({ body: 'user', dependencyKeys: ['base'] }));
    expect(cache.peek({ realm, path: 'user.ts' })).toBeDefined();
    await disk.write('base.ts');
    await disk.seen('base.ts');
    expect(cache.peek({ realm, path: 'user.ts' })).toBeUndefined();
  });

  test('an editor saves by writing another file and moving it over the module', async () => {
    await disk.write('a.ts');
    await watch();
    for (const temporary of ['.a.ts.swp', 'a.ts~', 'a.ts.tmp.123']) {
      disk.forget();
      await disk.write(temporary);
      await rename(at(temporary), at('a.ts'));
      await disk.seen('a.ts');
    }
    expect(new Set(disk.batches.flat())).toEqual(new Set(['a.ts']));
  });

  test('a folder is renamed, and renamed back: its modules are invalidated by both names', async () => {
    await disk.write('old/deep/a.ts');
    await disk.write('old/b.ts');
    await watch();
    await rename(at('old'), at('new'));
    await disk.seen('old/deep/a.ts', 'old/b.ts', 'new/deep/a.ts', 'new/b.ts');
    disk.forget();
    await disk.write('new/deep/a.ts');
    await disk.seen('new/deep/a.ts');
    await rename(at('new'), at('old'));
    await disk.seen('new/b.ts', 'old/b.ts');
    disk.forget();
    await disk.write('old/deep/a.ts');
    await disk.seen('old/deep/a.ts');
  });

  test('a folder is deleted, and then everything', async () => {
    for (const path of ['a.ts', 'in/b.ts', 'in/deep/c.ts', 'left/d.ts']) await disk.write(path);
    await watch();
    await rm(at('in'), { recursive: true });
    await disk.seen('in/b.ts', 'in/deep/c.ts');
    await Promise.all([rm(at('left'), { recursive: true }), unlink(at('a.ts'))]);
    await disk.seen('left/d.ts', 'a.ts');
  });

  test('what is no module invalidates nothing, nor what is in node_modules', async () => {
    await disk.write('node_modules/x/index.ts');
    await watch();
    for (const path of ['a.json', 'a.ts.map', 'log', 'node_modules/x/index.ts', '.git/a.ts'])
      await disk.write(path);
    await disk.write('odd?name.ts');
    await disk.write('last.ts');
    await disk.seen('last.ts');
    expect(disk.batches.flat()).toEqual(['last.ts']);
    expect(disk.errors).toEqual([]);
  });

  test('a module that nobody may read any more is invalidated, like any other', async () => {
    await disk.write('a.ts');
    await watch();
    await chmod(at('a.ts'), 0o000);
    await disk.seen('a.ts');
  });

  test('the folder itself is deleted and made anew', async () => {
    await disk.write('a.ts');
    await disk.write('deep/b.ts');
    await watch();
    await rm(disk.folder, { recursive: true });
    await disk.seen('a.ts', 'deep/b.ts');
    disk.forget();
    await mkdir(disk.folder);
    await disk.write('deep/b.ts');
    await disk.seen('deep/b.ts');
    disk.forget();
    await disk.write('deep/b.ts');
    await disk.seen('deep/b.ts');
  });

  test('trap: a folder is made and deleted again and again, and what is written in the last one is not heard', async () => {
    await disk.write('again/a.ts');
    await watch();
    for (let round = 0; round < 10; round += 1) {
      await rm(at('again'), { recursive: true });
      await disk.write('again/a.ts');
    }
    await disk.seen('again/a.ts');
    disk.forget();
    await disk.write('again/a.ts');
    await disk.seen('again/a.ts');
  });

  test('trap: the write that comes right after an invalidation is not heard', async () => {
    await disk.write('a.ts');
    await watch();
    for (let round = 1; round <= 20; round += 1) {
      await disk.write('a.ts', 'x'.repeat(round));
      await disk.seen('a.ts');
      disk.forget();
    }
  });

  test('git changes hundreds of modules at once: few invalidations, and none is missed', async () => {
    const git = (...args: string[]) =>
      promisify(execFile)('git', ['-c', 'user.name=x', '-c', 'user.email=x@x.example', ...args], {
        cwd: disk.folder,
      });
    const names = Array.from({ length: 300 }, (__, index) => `part-${index % 20}/module-${index}.ts`);
    const removed = Array.from({ length: 50 }, (__, index) => `removed/${index % 5}/module-${index}.ts`);
    const added = Array.from({ length: 50 }, (__, index) => `added/${index % 5}/module-${index}.ts`);
    await git('init', '-q', '-b', 'main');
    for (const name of [...names, ...removed]) await disk.write(name, 'export const branch = "main";');
    await git('add', '-A');
    await git('commit', '-qm', 'main');
    await git('checkout', '-qb', 'other');
    await rm(at('removed'), { recursive: true });
    for (const name of [...names, ...added]) await disk.write(name, 'export const branch = "other branch";');
    await git('add', '-A');
    await git('commit', '-qm', 'other');
    await watch();
    for (const branch of ['main', 'other', 'main']) {
      disk.forget();
      await git('checkout', '-q', branch);
      await disk.seen(...names, ...removed, ...added);
      // Of 400 modules; how long git takes on a busy machine decides how many there are.
      expect(disk.batches.length).toBeLessThan(20);
    }
  });
});

describe('batches of a watched folder', () => {
  let disk: Disk;
  beforeAll(async () => {
    disk = await openDisk();
  });
  afterAll(() => disk.close());
  beforeEach(() => disk.begin());
  afterEach(() => disk.end());

  test('what is written at once, and twice, is one invalidation', async () => {
    await disk.watch({ batchMs: 200, maxBatchMs: 10_000 });
    await Promise.all(['a.ts', 'b.ts', 'c.ts'].map((path) => disk.write(path)));
    await disk.write('a.ts');
    await disk.seen('a.ts', 'b.ts', 'c.ts');
    expect(disk.batches.map((batch) => batch.sort())).toEqual([['a.ts', 'b.ts', 'c.ts']]);
  });

  test('who never stops writing does not put off the invalidation for ever', async () => {
    await disk.watch({ batchMs: 1_000, maxBatchMs: 100 });
    let stop = false;
    const writing = (async () => {
      while (!stop) await writeFile(join(disk.folder, 'busy.ts'), String(performance.now()));
    })();
    await disk.seen('busy.ts').finally(() => {
      stop = true;
    });
    await writing;
  });
});
