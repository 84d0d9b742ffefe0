import { execFileSync, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { temporaryFolder } from '../../support/server.js';

/** A folder for one server. */
export interface Place {
  readonly root: string;
  remove(): void;
}

const places = new Set<string>();
const mounted = new Set<string>();
// Whatever ends the process: its servers stop after it, and then their folders go.
process.once('exit', () => {
  if (places.size === 0) return;
  const script = 'sleep 3; for each; do umount --lazy "$each"; rm -rf "$each"; done';
  spawn('sh', ['-c', script, 'sh', ...places], { detached: true, stdio: 'ignore' }).unref();
});

/** @param megabytes of a disk of its own, in memory: for that it takes root and the right to mount */
export function makePlace(megabytes?: number): Place {
  const root = temporaryFolder();
  places.add(root);
  if (megabytes !== undefined) {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=755`, 'tmpfs', root], {
      stdio: 'pipe',
    });
    mounted.add(root);
  }
  return {
    root,
    remove() {
      if (mounted.has(root)) unmount(root);
      rmSync(root, { recursive: true, force: true });
      places.delete(root);
    },
  };
}

/** Why no disk of its own can be had, if so. */
export function lacksDisk(): string | undefined {
  if (process.platform !== 'linux') return 'it takes tmpfs, which only Linux has';
  if (process.getuid?.() !== 0) return 'it takes root to mount a disk';
  try {
    makePlace(1).remove();
    return undefined;
  } catch (error) {
    return `nothing can be mounted here: ${String((error as { stderr?: unknown }).stderr ?? error).trim()}`;
  }
}

function unmount(folder: string): void {
  try {
    // Also while something still ends in there.
    execFileSync('umount', ['--lazy', folder], { stdio: 'pipe' });
  } catch {
    // It is not mounted any more.
  }
  mounted.delete(folder);
}
