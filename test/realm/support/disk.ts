import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type ModuleCache, openModuleCache } from '../../../src/cache.js';
import {
  type ModuleSource,
  type RealmWatcher,
  SOURCE_HASH_HEADER,
  type WatchOptions,
  watchRealm,
} from '../../../src/realm/index.js';
import { createDatabase, type TestDatabase } from '../../support/database.js';
import { until } from '../../support/wait.js';

/** A database with a cache, and for each test a folder and a realm of its own. */
export interface Disk {
  readonly database: TestDatabase;
  readonly cache: ModuleCache;
  readonly folder: string;
  readonly realm: string;
  /** Paths of each invalidation that a watcher of this test has made. */
  readonly batches: string[][];
  readonly errors: unknown[];
  /** How often this path was invalidated. */
  count(path: string): number;
  /** Resolves when all of them have been invalidated since the last call of `forget`. */
  seen(...paths: string[]): Promise<unknown>;
  forget(): void;
  write(path: string, text?: string): Promise<void>;
  watch(options?: Partial<WatchOptions>): Promise<RealmWatcher>;
  /** Stores an artifact that was made from the source as it is. */
  store(source: ModuleSource, path: string, more?: { kind?: string; isError?: boolean }): Promise<void>;
  begin(): Promise<void>;
  end(): Promise<void>;
  close(): Promise<void>;
}

let number = 0;

export async function openDisk(): Promise<Disk> {
  const database = await createDatabase();
  const cache = await openModuleCache({ connection: database.sql });
  const batches: string[][] = [];
  const errors: unknown[] = [];
  const watchers = new Set<RealmWatcher>();
  let folder = '';
  let realm = '';
  const count = (path: string): number => batches.flat().filter((name) => name === path).length;
  return {
    database,
    cache,
    batches,
    errors,
    count,
    get folder() {
      return folder;
    },
    get realm() {
      return realm;
    },
    seen: (...paths) =>
      until(() => paths.every((path) => count(path) > 0), {
        what: `changes of ${paths.slice(0, 5).join(', ')}`,
      }),
    forget: () => void batches.splice(0),
    async write(path, text = `export const at = ${performance.now()};`) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), text);
    },
    async watch(options = {}) {
      const watcher = await watchRealm({
        cache,
        realm,
        folder,
        onInvalidated: ({ changed }) => batches.push(changed),
        onError: (error) => errors.push(error),
        ...options,
      });
      watchers.add(watcher);
      return watcher;
    },
    async store(source, path, { kind = 'transpile', isError = false } = {}) {
      await cache.getOrProduce({ realm, path, kind }, async () => ({
        body: path,
        headers: { [SOURCE_HASH_HEADER]: (await source.read(path))?.hash ?? '' },
        isError,
      }));
    },
    async begin() {
      folder = await mkdtemp(join(tmpdir(), 'module-cache-realm-'));
      number += 1;
      realm = `https://disk-${number}.example/`;
      batches.splice(0);
      errors.splice(0);
    },
    async end() {
      await Promise.all([...watchers].map((watcher) => watcher.close()));
      watchers.clear();
      await rm(folder, { recursive: true, force: true });
    },
    async close() {
      await cache.close();
      await database.drop();
    },
  };
}
