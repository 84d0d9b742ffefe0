import { ModuleCacheError } from '../../errors.js';
import { tryLock, unlock, withLock } from './lock.js';
import type { Cluster } from './open.js';
import { findServer } from './server.js';
import { type StopMode, signalServer, stopServer } from './shutdown.js';
import { hasUsers, removeUser } from './users.js';

const LOCK_TIMEOUT_MS = 6_000;
const EXIT_TIMEOUT_MS = 500;

/** Gives the server up. The last one to leave stops it, and waits until it is gone. */
export async function leave({ folder, binaries }: Cluster, userFile: string, mode: StopMode): Promise<void> {
  removeUser(userFile);
  const stopIfUnused = async (): Promise<void> => {
    if (hasUsers(folder.users)) return;
    const server = findServer(folder.data);
    if (server !== null) await stopServer(server.pid, binaries.postgres, mode);
  };
  await withLock(folder.lock, LOCK_TIMEOUT_MS, stopIfUnused).catch((error) => {
    // Whoever holds the lock that long is a user itself, or is stopping the server.
    if (!(error instanceof ModuleCacheError)) throw error;
  });
}

/** The same inside an exit handler, where nothing can be awaited: the server finishes after this process. */
export function leaveAtExit({ folder, binaries }: Cluster, userFile: string): void {
  removeUser(userFile);
  const deadline = Date.now() + EXIT_TIMEOUT_MS;
  while (!tryLock(folder.lock)) {
    if (Date.now() > deadline) return;
    pause();
  }
  const server = hasUsers(folder.users) ? null : findServer(folder.data);
  if (server !== null) {
    signalServer(server.pid, binaries.postgres, 'fast');
    // Until it can be seen that it is stopping, so that nobody takes it over.
    while (Date.now() < deadline && findServer(folder.data)?.ready) pause();
  }
  unlock(folder.lock);
}

const pause = (): unknown => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
