import { spawnSync } from 'node:child_process';
import { watch, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { ModuleCache } from '../../src/cache.js';
import { watchFolderTree } from '../../src/realm/folder-tree.js';
import { compareWithStored, openDirectory } from '../../src/realm/index.js';
import { startChild } from '../support/process.js';
import { until, within } from '../support/wait.js';
import { type Disk, openDisk } from './support/disk.js';

describe('a watched folder, when things go wrong', () => {
  let disk: Disk;
  beforeAll(async () => {
    disk = await openDisk();
  });
  afterAll(() => disk.close());
  beforeEach(() => disk.begin());
  afterEach(() => disk.end());

  /** The cache, whose database is away until `back` is called. */
  function away(): { cache: ModuleCache; back(): void; readonly attempts: number } {
    let attempts = 0;
    let isAway = true;
    const invalidate: ModuleCache['invalidate'] = async (...args) => {
      attempts += 1;
      if (isAway) throw new Error('the database is away');
      return disk.cache.invalidate(...args);
    };
    return {
      cache: { ...disk.cache, invalidate },
      back() {
        isAway = false;
      },
      get attempts() {
        return attempts;
      },
    };
  }

  test('what changes while the database is away is invalidated when it is back', async () => {
    const database = away();
    await disk.watch({ cache: database.cache });
    await disk.write('a.ts');
    await until(() => database.attempts >= 3, { what: 'it was tried again' });
    await disk.write('b.ts');
    expect(disk.batches).toEqual([]);
    expect(String(disk.errors[0])).toContain('the database is away');
    database.back();
    await disk.seen('a.ts', 'b.ts');
  });

  test('closing makes a last attempt for what is pending', async () => {
    const database = away();
    const watcher = await disk.watch({ cache: database.cache });
    await disk.write('a.ts');
    await until(() => database.attempts > 0, { what: 'it was tried' });
    database.back();
    await watcher.close();
    expect(disk.batches.flat()).toEqual(['a.ts']);
  });

  test('closing does not wait for a quiet moment to invalidate what was just written', async () => {
    const watcher = await disk.watch({ batchMs: 60_000, maxBatchMs: 60_000 });
    writeFileSync(join(disk.folder, 'a.ts'), 'a');
    await watcher.close();
    expect(disk.batches.flat()).toEqual(['a.ts']);
  });

  test('closing does not wait for a database that does not answer', async () => {
    let giveUp = (): void => {};
    const given = new Promise<never>((_, reject) => {
      giveUp = () => reject(new Error('the connection was lost'));
    });
    const watcher = await disk.watch({ cache: { ...disk.cache, invalidate: () => given } });
    await disk.write('a.ts');
    try {
      await within(5_000, () => 'it has closed', watcher.close());
    } finally {
      giveUp();
    }
    expect(String(disk.errors.at(-1))).toContain('last attempt');
  });

  test('trap: more changes at once than the system keeps for a process that is busy', async () => {
    await disk.write('last.ts');
    await disk.watch();
    const script = `
      const { writeFileSync } = require('node:fs');
      for (let n = 0; n < 9000; n += 1) writeFileSync('m' + n + '.ts', 'x');
      writeFileSync('last.ts', 'changed');`;
    spawnSync(process.execPath, ['-e', script], { cwd: disk.folder });
    await disk.seen('last.ts', 'm8999.ts');
  });

  test('a callback that throws does not undo the invalidation', async () => {
    let calls = 0;
    await disk.watch({
      onInvalidated() {
        calls += 1;
        throw new Error('of the callback');
      },
    });
    await disk.write('a.ts');
    await until(() => disk.errors.length > 0, { what: 'it was told' });
    expect([calls, String(disk.errors[0])]).toEqual([1, 'Error: of the callback']);
  });

  test.each(['false', 'true'])(
    'nothing keeps the process alive once it is closed (polling: %s)',
    async (polling) => {
      const child = startChild<{ type: 'ready' | 'closed' | 'failed' }>(
        new URL('./children/watch.mjs', import.meta.url),
        { args: [disk.folder, polling] },
      );
      await child.next('ready');
      await disk.write('deep/a.ts');
      await child.next('failed');
      child.send({});
      await child.next('closed');
      expect(await child.exited).toEqual({ code: 0, signal: null });
    },
  );

  test('too many folders for the system: nothing starts half-watched, and the error says what to do', async () => {
    await disk.write('deep/a.ts');
    const closed: string[] = [];
    const refuse = ((folder: string) => {
      if (folder !== disk.folder) throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
      return { on() {}, close: () => closed.push(folder) };
    }) as unknown as typeof watch;
    const starting = watchFolderTree(
      { root: disk.folder, onChange() {}, onError: (error) => disk.errors.push(error) },
      refuse,
    );
    await expect(starting).rejects.toMatchObject({
      code: 'MC107',
      detail: expect.stringContaining('deep'),
      hint: expect.stringMatching(/max_user_watches.*usePolling/),
    });
    expect(closed).toEqual([disk.folder]);
  });

  test('trap: a module is written after a new folder was read, and before it is watched', async () => {
    const lateWriting = ((folder: string, listener: () => void) => {
      if (basename(folder) === 'new') writeFileSync(join(folder, 'late.ts'), 'late');
      return watch(folder, listener);
    }) as typeof watch;
    let touched = false;
    const onChange = (): void => {
      touched = true;
    };
    const options = { root: disk.folder, onChange, onError: (error: unknown) => disk.errors.push(error) };
    const changes = await watchFolderTree(options, lateWriting);
    try {
      await mkdir(join(disk.folder, 'new'));
      await until(() => touched, { what: 'the new folder is noticed' });
      expect(await changes.collect()).toEqual(['new/late.ts']);
    } finally {
      changes.close();
    }
  });

  test('what is written while it starts and compares is never missed', async () => {
    const source = await openDirectory(disk.folder);
    const paths = Array.from({ length: 30 }, (_, index) => `part-${index % 7}/module-${index}.ts`);
    for (const path of paths) await disk.write(path, '0');
    for (const path of paths) await disk.store(source, path);
    let stop = false;
    let version = 0;
    const writing = (async () => {
      while (!stop) {
        version += 1;
        for (const path of paths) await writeFile(join(disk.folder, path), String(version));
        // Somebody asks for all of them all the time.
        for (const path of paths) await disk.store(source, path);
      }
    })();
    try {
      for (let round = 0; round < 5; round += 1) {
        const watcher = await disk.watch();
        await compareWithStored(disk.cache, disk.database.sql, disk.realm, source);
        if (round < 4) await watcher.close();
      }
    } finally {
      stop = true;
    }
    await writing;
    const isStale = async (path: string): Promise<boolean> => {
      const stored = await disk.cache.get({ realm: disk.realm, path }, { consistency: 'strong' });
      return stored !== undefined && stored.headers['source-hash'] !== (await source.read(path))?.hash;
    };
    for (const path of paths) await until(async () => !(await isStale(path)), { what: `${path} is current` });
  });
});
