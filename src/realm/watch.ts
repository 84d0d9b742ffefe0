import { relative, sep } from 'node:path';
import { watch } from 'chokidar';
import type { ModuleCache } from '../cache.js';
import type { Invalidation } from '../types.js';
import { isModulePath } from './source.js';

export interface WatchOptions {
  cache: ModuleCache;
  /** URL of the realm whose sources are in the folder. */
  realm: string;
  folder: string;
  /** Changes that come within so many ms are one invalidation; 20 unless given. */
  batchMs?: number;
  onInvalidated?(result: {
    changed: string[];
    invalidation: Invalidation;
    ms: number;
    beganAt: number;
  }): void;
  onError?(error: unknown): void;
}

export interface RealmWatcher {
  close(): Promise<void>;
}

/** Invalidates what changes in a folder: modules written, created, moved and deleted. Resolves once it watches. */
export async function watchRealm(options: WatchOptions): Promise<RealmWatcher> {
  const { cache, realm, folder, batchMs = 20, onError = () => {} } = options;
  const pending = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  let working = Promise.resolve();
  let closed = false;

  const watcher = watch(folder, {
    ignored: (path) => path.split(sep).some((part) => part === 'node_modules' || part === '.git'),
    ignoreInitial: true,
    followSymlinks: false,
  });

  async function flush(): Promise<void> {
    const changed = [...pending];
    pending.clear();
    if (changed.length === 0 || closed) return;
    const beganAt = performance.timeOrigin + performance.now();
    try {
      const invalidation = await cache.invalidate(realm, changed);
      const ms = performance.timeOrigin + performance.now() - beganAt;
      options.onInvalidated?.({ changed, invalidation, ms, beganAt });
    } catch (error) {
      // Not lost: what could not be invalidated is tried again with the next batch.
      for (const path of changed) pending.add(path);
      if (!closed) timer ??= setTimeout(schedule, 1000);
      onError(error);
    }
  }

  function schedule(): void {
    timer = undefined;
    working = working.then(flush);
  }

  watcher.on('all', (event, path) => {
    if (event === 'addDir' || event === 'unlinkDir') return;
    const canonicalPath = relative(folder, path).split(sep).join('/');
    if (!isModulePath(canonicalPath)) return;
    pending.add(canonicalPath);
    timer ??= setTimeout(schedule, batchMs);
  });
  watcher.on('error', onError);
  await new Promise<void>((resolve) => watcher.once('ready', () => resolve()));

  return {
    async close() {
      closed = true;
      clearTimeout(timer);
      await watcher.close();
      await working;
    },
  };
}
