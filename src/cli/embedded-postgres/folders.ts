import { chmodSync, lstatSync, mkdirSync, realpathSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { ModuleCacheError } from '../../errors.js';
import type { ServerUser } from './server-user.js';

/** Where one cluster keeps its things: the server owns `data`, and everything beside it is ours. */
export interface ClusterFolder {
  readonly root: string;
  readonly data: string;
  readonly password: string;
  readonly log: string;
  readonly lock: string;
  readonly users: string;
}

/** The user's cache folder. For root one that the server's own, unprivileged user can reach. */
export function defaultCacheFolder(): string {
  if (process.getuid?.() === 0) return '/var/cache/pg-module-cache';
  if (process.env.XDG_CACHE_HOME) return join(process.env.XDG_CACHE_HOME, 'pg-module-cache');
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Caches', 'pg-module-cache');
  if (process.platform === 'win32' && process.env.LOCALAPPDATA) {
    return join(process.env.LOCALAPPDATA, 'pg-module-cache');
  }
  return join(homedir(), '.cache', 'pg-module-cache');
}

/** Creates the folder, and gives its real path: the same in every process, whatever link led there. */
export function openClusterFolder(folder: string, user: ServerUser | null): ClusterFolder {
  // Private, except that the server's user has to pass through; the password has a mode of its own.
  makeFolder(resolve(folder), user === null ? 0o700 : 0o755);
  const root = realpathSync(folder);
  if (user !== null) requireReachable(root, user);
  const users = join(root, 'users');
  makeFolder(users, 0o700);
  return {
    root,
    data: join(root, 'data'),
    password: join(root, 'password'),
    log: join(root, 'server.log'),
    lock: join(root, 'start.lock'),
    users,
  };
}

/** Creates the folder and those above it that are missing, all with this mode whatever the umask is. */
export function makeFolder(path: string, mode: number): void {
  const first = mkdirSync(path, { recursive: true });
  if (first === undefined) return;
  for (let each = path; each.length >= first.length; each = dirname(each)) chmodSync(each, mode);
}

function requireReachable(folder: string, user: ServerUser): void {
  for (let path = folder; ; path = dirname(path)) {
    const { mode, uid, gid } = statSync(path);
    const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) {
      throw new ModuleCacheError('MC106', 'the data folder is out of reach for the database server', {
        detail: `Postgres does not run as root, and its user ${user.name} may not enter ${path}`,
        hint: `Choose a data folder elsewhere, or run: chmod o+x ${path}`,
      });
    }
    if (path === dirname(path)) return;
  }
}

export const exists = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;
