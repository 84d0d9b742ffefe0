import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ModuleCacheError } from '../../errors.js';
import { isAlive, thisProcess } from './processes.js';

const POLL_MS = 20;
/** Writing a pid into a new file takes no time; a file that is still empty after this was left by a crash. */
const UNWRITTEN_MS = 5_000;
const BREAKING_MS = 10_000;

/**
 * Runs `work` while no other process does the same under this path. The lock is a file that names its owner; one
 * whose owner is dead is broken.
 *
 * @throws ModuleCacheError MC106 if a living process holds the lock for longer than `timeoutMs`.
 */
export async function withLock<T>(path: string, timeoutMs: number, work: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  while (!tryLock(path)) {
    if (Date.now() > deadline) {
      throw new ModuleCacheError(
        'MC106',
        'the embedded server is being started or stopped by another process',
        {
          detail: `waited ${timeoutMs} ms for ${path}, held by process ${ownerOf(path)?.pid ?? 'unknown'}`,
          hint: 'Stop that process, or remove the file if the process has nothing to do with it.',
        },
      );
    }
    await sleep(POLL_MS);
  }
  try {
    return await work();
  } finally {
    unlock(path);
  }
}

/** One attempt. Synchronous, because the last user of a server may be inside an exit handler. */
export function tryLock(path: string): boolean {
  if (createOwned(path)) return true;
  if (!isAbandoned(path)) return false;
  // Between looking and removing the lock may have changed hands, so only one process at a time may break it, and
  // looks again.
  const breaking = `${path}.breaking`;
  if (!createOwned(breaking)) {
    if (ageOf(breaking) > BREAKING_MS) rmSync(breaking, { force: true });
    return false;
  }
  if (isAbandoned(path)) rmSync(path, { force: true });
  rmSync(breaking, { force: true });
  return createOwned(path);
}

export const unlock = (path: string): void => rmSync(path, { force: true });

function createOwned(path: string): boolean {
  try {
    writeFileSync(path, `${thisProcess.pid} ${thisProcess.start}`, { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function isAbandoned(path: string): boolean {
  const owner = ownerOf(path);
  return owner === null ? ageOf(path) > UNWRITTEN_MS : !isAlive(owner);
}

function ownerOf(path: string): { pid: number; start: string } | null {
  try {
    const [, pid, start] = /^(\d+) (.*)$/s.exec(readFileSync(path, 'utf8')) ?? [];
    return pid === undefined ? null : { pid: Number(pid), start: start ?? '' };
  } catch {
    return null;
  }
}

/** Milliseconds; 0 for a file that is gone. */
function ageOf(path: string): number {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined ? 0 : Date.now() - stats.mtimeMs;
}
