import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ModuleCache } from '../cache.js';
import { ModuleCacheError } from '../errors.js';
import { requireRealm } from '../keys.js';
import type { Invalidation } from '../types.js';
import { openDirectory } from './directory.js';
import { pollFolder } from './folder-poll.js';
import { type FolderChanges, watchFolderTree } from './folder-tree.js';
import { createSchedule } from './schedule.js';

export interface WatchOptions {
  cache: ModuleCache;
  /** URL of the realm whose sources are in the folder. */
  realm: string;
  folder: string;
  /**
   * Changes are one invalidation as long as they come within so many ms of each other; 20 unless given. What editors
   * and git write together comes within a few, and nobody notices 20.
   */
  batchMs?: number;
  /** But the first of them waits no longer than so many ms; 200 unless given. */
  maxBatchMs?: number;
  /**
   * Looks at all files again and again, instead of being told what changes: for network file systems, and for folders
   * that are mounted into a container or a virtual machine. True for every 300 ms, or a number of ms.
   */
  usePolling?: boolean | number;
  onInvalidated?(result: {
    changed: string[];
    invalidation: Invalidation;
    ms: number;
    beganAt: number;
  }): void;
  onError?(error: unknown): void;
}

export interface RealmWatcher {
  /**
   * Waits for the invalidation that is on its way, and makes one last attempt for what is pending; at most 2 s. What
   * could not be invalidated is told to `onError`, and found by `compareWithStored` at the next start.
   */
  close(): Promise<void>;
}

const POLL_MS = 300;
const CLOSE_MS = 2_000;

/**
 * Invalidates what changes in a folder: modules written, created, moved and deleted, and the names that symbolic links
 * inside it give them. Resolves when it is ready: what changes from then on is invalidated, sooner or later. Compare
 * with what is stored (`compareWithStored`) after that, not before, and nothing is missed in between.
 *
 * A link that leaves the folder is not followed, and `node_modules` and `.git` are left out. What is written by another
 * hard link of a module is not heard: the system names only the one that was written to. While the database is
 * away changes are kept, and tried again until they are invalidated.
 *
 * @throws ModuleCacheError MC107 if `folder` is none, or if the system does not let this process watch so many folders
 */
export async function watchRealm(options: WatchOptions): Promise<RealmWatcher> {
  const { cache, folder, batchMs = 20, maxBatchMs = 200, usePolling = false } = options;
  const realm = requireRealm(options.realm);
  const pending = new Set<string>();
  const onError = (error: unknown): void => options.onError?.(error);
  let changes: FolderChanges | undefined;

  async function work(): Promise<void> {
    for (const path of (await changes?.collect()) ?? []) pending.add(path);
    const changed = [...pending];
    if (changed.length === 0) return;
    const beganAt = performance.timeOrigin + performance.now();
    const invalidation = await cache.invalidate(realm, changed);
    for (const path of changed) pending.delete(path);
    const ms = performance.timeOrigin + performance.now() - beganAt;
    try {
      options.onInvalidated?.({ changed, invalidation, ms, beganAt });
    } catch (error) {
      onError(error);
    }
  }

  const schedule = createSchedule({
    work,
    quietMs: batchMs,
    maxMs: maxBatchMs,
    closeMs: CLOSE_MS,
    onError,
    isFinal: (error) => error instanceof ModuleCacheError && error.code === 'MC103',
  });
  const found = { root: (await openDirectory(folder)).root, onChange: schedule.touch, onError };
  changes =
    usePolling === false
      ? await watchFolderTree(found)
      : await pollFolder(found, usePolling === true ? POLL_MS : usePolling);
  // What came while it started waits for this.
  schedule.touch();

  async function shutDown(): Promise<void> {
    // What the kernel has to tell already is heard: between these two.
    await nextTurn();
    await nextTurn();
    await schedule.close().catch(onError);
    changes?.close();
  }
  let closing: Promise<void> | undefined;

  return {
    close() {
      closing ??= shutDown();
      return closing;
    },
  };
}
