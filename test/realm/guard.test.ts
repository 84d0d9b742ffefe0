import { rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type ModuleCache, openModuleCache } from '../../src/cache.js';
import { createModuleHandler, createModuleProducer } from '../../src/http/index.js';
import {
  createSourceGuard,
  type ModuleSource,
  openDirectory,
  SOURCE_HASH_HEADER,
  type SourceGuard,
} from '../../src/realm/index.js';
import { createTranspiler } from '../../src/transpile/index.js';
import type { CachedModule } from '../../src/types.js';
import { until } from '../support/wait.js';
import { type Disk, openDisk } from './support/disk.js';

/** Longer than any test, and no time at all. */
const LONG = 1e9;
const NONE = 0;

describe('a guard that ties modules to their sources', () => {
  let disk: Disk;
  let source: ModuleSource;
  let counts: { stamps: number; reads: number };
  beforeAll(async () => {
    disk = await openDisk();
  });
  afterAll(() => disk.close());
  beforeEach(async () => {
    await disk.begin();
    const directory = await openDirectory(disk.folder);
    counts = { stamps: 0, reads: 0 };
    source = {
      ...directory,
      stamp(path) {
        counts.stamps += 1;
        return directory.stamp(path);
      },
      read(path) {
        counts.reads += 1;
        return directory.read(path);
      },
    };
  });
  afterEach(() => disk.end());

  const guardOf = (recheckMs: number, more: Partial<ModuleSource> = {}): SourceGuard =>
    createSourceGuard({
      cache: disk.cache,
      realm: disk.realm,
      source: { ...source, ...more },
      recheckMs,
    });
  const peek = (path: string): CachedModule | undefined => disk.cache.peek({ realm: disk.realm, path });
  /** The module as the cache holds it, made from the source as it is. */
  async function produce(path: string): Promise<CachedModule> {
    await disk.store(await openDirectory(disk.folder), path);
    return peek(path) as CachedModule;
  }
  async function write(path: string, text?: string): Promise<CachedModule> {
    await disk.write(path, text);
    return produce(path);
  }
  async function during<T>(offsetMs: number, work: () => Promise<T>): Promise<T> {
    const realNow = Date.now;
    Date.now = () => realNow() + offsetMs;
    try {
      return await work();
    } finally {
      Date.now = realNow;
    }
  }

  test('a change whose invalidation was lost is not served: it is invalidated, for importers and other processes as well', async () => {
    const { cache, realm } = disk;
    const other = await openModuleCache({ connection: disk.database.url });
    try {
      const before = await write('a.ts');
      await cache.getOrProduce({ realm, path: 'user.ts' }, () => ({ body: 'user', dependencyKeys: ['a'] }));
      await other.get({ realm, path: 'a.ts' });
      expect(other.peek({ realm, path: 'a.ts' })).toBeDefined();
      await disk.write('a.ts');
      expect(await guardOf(LONG).isCurrent('a.ts', before)).toBe(false);
      expect([peek('a.ts'), peek('user.ts')]).toEqual([undefined, undefined]);
      await until(() => other.peek({ realm, path: 'a.ts' }) === undefined, { what: 'another process knows' });
      expect(await guardOf(LONG).isCurrent('a.ts', await produce('a.ts'))).toBe(true);
    } finally {
      await other.close();
    }
  });

  test('what was found current is not looked at again, and the answer needs no promise', async () => {
    const guard = guardOf(LONG);
    const module = await write('a.ts');
    expect(await guard.isCurrent('a.ts', module)).toBe(true);
    const { stamps } = counts;
    await disk.write('a.ts');
    expect(guard.isCurrent('a.ts', module)).toBe(true);
    expect(counts.stamps).toBe(stamps);
  });

  test('it is looked at again when its time is over', async () => {
    const guard = guardOf(NONE);
    const module = await write('a.ts');
    expect(await guard.isCurrent('a.ts', module)).toBe(true);
    await disk.write('a.ts');
    expect(await guard.isCurrent('a.ts', module)).toBe(false);
  });

  test('after a suspend, in which the monotonic clock stands still, it is looked at again', async () => {
    const guard = guardOf(LONG);
    const module = await write('a.ts');
    await guard.isCurrent('a.ts', module);
    await disk.write('a.ts');
    await during(2 * LONG, async () => {
      expect(await guard.isCurrent('a.ts', module)).toBe(false);
    });
  });

  test('a file that has not been touched is not read again', async () => {
    const guard = guardOf(NONE, { stamp: async () => 'always the same' });
    const module = await write('a.ts');
    for (let round = 0; round < 3; round += 1) expect(await guard.isCurrent('a.ts', module)).toBe(true);
    expect(counts.reads).toBe(1);
  });

  test('trap: the second of two writes leaves the same size and time behind', async () => {
    const guard = guardOf(NONE);
    const time = new Date('2026-01-01T00:00:00Z');
    const module = await write('a.ts', 'first!');
    await utimes(join(disk.folder, 'a.ts'), time, time);
    // A minute later, so that nothing about the file is fresh.
    await during(60_000, async () => {
      expect(await guard.isCurrent('a.ts', module)).toBe(true);
      await disk.write('a.ts', 'second');
      await utimes(join(disk.folder, 'a.ts'), time, time);
      expect(await guard.isCurrent('a.ts', module)).toBe(false);
    });
  });

  test('trap: a file that was just written is written again before its clock has moved', async () => {
    await disk.write('a.ts');
    expect(await source.stamp('a.ts')).not.toBe(await source.stamp('a.ts'));
  });

  test('a file that was only touched is still what the module was made from', async () => {
    const guard = guardOf(NONE);
    const module = await write('a.ts', 'same');
    expect(await guard.isCurrent('a.ts', module)).toBe(true);
    await disk.write('a.ts', 'same');
    expect(await guard.isCurrent('a.ts', module)).toBe(true);
    expect(peek('a.ts')).toBeDefined();
  });

  test('a source that is gone invalidates the module', async () => {
    const module = await write('a.ts');
    await rm(join(disk.folder, 'a.ts'));
    expect(await guardOf(LONG).isCurrent('a.ts', module)).toBe(false);
    expect(peek('a.ts')).toBeUndefined();
  });

  test('a module that is newer than what was looked at last is current', async () => {
    const guard = guardOf(LONG);
    await guard.isCurrent('a.ts', await write('a.ts', 'old'));
    await disk.write('a.ts', 'new');
    await disk.cache.invalidate(disk.realm, ['a.ts']);
    expect(await guard.isCurrent('a.ts', await produce('a.ts'))).toBe(true);
    expect(peek('a.ts')).toBeDefined();
  });

  test('many who ask at once share one comparison and one invalidation', async () => {
    let invalidations = 0;
    // So slow that the others have compared by then.
    const invalidate: ModuleCache['invalidate'] = async (...args) => {
      invalidations += 1;
      await until(() => counts.reads >= 2, { what: 'the second comparison' });
      await sleep(50);
      return disk.cache.invalidate(...args);
    };
    const cache = { ...disk.cache, invalidate };
    const guard = createSourceGuard({ cache, realm: disk.realm, source, recheckMs: LONG });
    const module = await write('a.ts');
    await disk.write('a.ts');
    const answers = await Promise.all(Array.from({ length: 20 }, () => guard.isCurrent('a.ts', module)));
    expect(new Set(answers)).toEqual(new Set([false]));
    expect([invalidations, counts.reads]).toEqual([1, 2]);
  });

  test('hosts with different files under one realm do not invalidate each other without end', async () => {
    const mine = await write('a.ts', 'mine');
    const theirs = { ...mine, headers: { [SOURCE_HASH_HEADER]: 'of another host' } };
    const guard = guardOf(LONG);
    expect(await guard.isCurrent('a.ts', theirs)).toBe(false);
    await produce('a.ts');
    expect(await guard.isCurrent('a.ts', theirs)).toBe(true);
    expect(peek('a.ts')).toBeDefined();
    expect(await guard.isCurrent('a.ts', await produce('a.ts'))).toBe(true);
  });

  test('a module is not called current if its source cannot be read, or the database not reached', async () => {
    const module = await write('a.ts');
    await disk.write('a.ts');
    const unreadable = guardOf(LONG, { read: () => Promise.reject(new Error('EACCES')) });
    await expect(unreadable.isCurrent('a.ts', module)).rejects.toThrow('EACCES');
    const cache = { ...disk.cache, invalidate: () => Promise.reject(new Error('away')) };
    const cutOff = createSourceGuard({ cache, realm: disk.realm, source, recheckMs: LONG });
    for (let round = 0; round < 2; round += 1)
      await expect(cutOff.isCurrent('a.ts', module)).rejects.toThrow('away');
  });

  test('what was not made from a source, or commits with its source, is not compared', async () => {
    const module = await write('a.ts');
    await disk.write('a.ts');
    expect(guardOf(NONE).isCurrent('a.ts', { ...module, headers: {} })).toBe(true);
    expect(guardOf(NONE, { isTransactional: true }).isCurrent('a.ts', module)).toBe(true);
    expect(counts).toEqual({ stamps: 0, reads: 0 });
  });

  test('a module that does not compile carries the hash of its source, and is compared like any other', async () => {
    const { cache, realm } = disk;
    const transpiler = await createTranspiler({ threads: 1 });
    try {
      const handle = createModuleHandler({ cache, realm, source, transpiler });
      await disk.write('bad.ts', 'export const = 3;');
      expect((await handle(new Request('http://localhost/bad.ts'))).status).toBe(422);
      const { variant } = createModuleProducer({ realm, source, transpiler });
      const request = { realm, path: 'bad.ts', variant };
      const error = cache.peek(request) as CachedModule;
      expect([error.status, error.headers[SOURCE_HASH_HEADER]]).toEqual(['error', expect.any(String)]);
      await disk.write('bad.ts', 'export const x = 3;');
      expect(await guardOf(LONG).isCurrent('bad.ts', error)).toBe(false);
      expect(cache.peek(request)).toBeUndefined();
    } finally {
      await transpiler.close();
    }
  });
});
