import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { marksOf, openDirectory, orAbsent } from './directory.js';
import type { FolderChanges, FolderChangesOptions } from './folder-tree.js';

/**
 * Compares the whole folder with what it was `intervalMs` before, for file systems that tell nobody of changes. Two
 * writes that leave the same size and time behind are one to it.
 */
export async function pollFolder(
  { root, onChange, onError }: FolderChangesOptions,
  intervalMs: number,
): Promise<FolderChanges> {
  const source = await openDirectory(root);
  const changed = new Set<string>();
  let known = await take();
  let closed = false;
  let timer = setTimeout(poll, intervalMs);

  async function take(): Promise<Map<string, string>> {
    const marks = new Map<string, string>();
    for await (const path of source.list()) {
      const stats = await orAbsent(stat(join(root, path), { bigint: true }));
      if (stats !== undefined) marks.set(path, marksOf(stats));
    }
    return marks;
  }

  async function poll(): Promise<void> {
    try {
      const now = await take();
      for (const [path, marks] of now) if (known.get(path) !== marks) changed.add(path);
      for (const path of known.keys()) if (!now.has(path)) changed.add(path);
      known = now;
    } catch (error) {
      onError(error);
    }
    if (closed) return;
    if (changed.size > 0) onChange();
    // From the end of this one, so that a slow file system is not asked all the time.
    timer = setTimeout(poll, intervalMs);
  }

  return {
    async collect() {
      const paths = [...changed];
      changed.clear();
      return paths;
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
