import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ModuleCacheError } from '../../errors.js';
import type { Binaries } from './binaries.js';
import type { ClusterFolder } from './folders.js';
import { commandLineOf, isAlive } from './processes.js';
import { type ServerUser, spawnOptions } from './server-user.js';

const POLL_MS = 15;
const LAUNCH_ATTEMPTS = 5;

export interface LaunchOptions {
  /** Fixed, or undefined for any free one. */
  readonly port: number | undefined;
  readonly settings: Readonly<Record<string, string>>;
  /** `Date.now()` by which the server has to be ready. */
  readonly deadline: number;
}

export interface ServerState {
  readonly pid: number;
  readonly port: number;
  readonly ready: boolean;
}

/** The living server of this data folder, as its postmaster.pid tells. */
export function findServer(data: string): ServerState | null {
  const file = join(data, 'postmaster.pid');
  let lines: string[];
  try {
    lines = readFileSync(file, 'utf8').split('\n');
  } catch {
    return null;
  }
  const pid = Number(lines[0]);
  if (!(pid > 0) || !isAlive({ pid, start: '' })) return null;
  const command = commandLineOf(pid);
  if (command !== '' && !command.includes(data)) {
    // The server died, and its id was given to a process that has nothing to do with it. Postgres would not start.
    rmSync(file, { force: true });
    return null;
  }
  return { pid, port: Number(lines[3]), ready: /^(ready|standby)/.test(lines[7] ?? '') };
}

/**
 * Starts a server and waits until it accepts connections.
 *
 * @throws ModuleCacheError MC106 with the end of the server's log
 */
export async function launchServer(
  folder: ClusterFolder,
  binaries: Binaries,
  user: ServerUser | null,
  options: LaunchOptions,
): Promise<ServerState> {
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort());
    const result = await launchOnce(folder, binaries, user, port, options);
    if (typeof result !== 'string') return result;
    // Between finding a port free and the server taking it, somebody else may have; and after a kill the children
    // of the old server hold its memory for a moment.
    const portTaken = /address already in use|could not create any TCP\/IP sockets/i.test(result);
    const childrenLeft = /pre-existing shared memory block|lock file "postmaster.pid" already exists/.test(
      result,
    );
    const again = childrenLeft ? Date.now() < options.deadline : portTaken && attempt < LAUNCH_ATTEMPTS;
    if (options.port !== undefined && portTaken && !childrenLeft) throw portInUse(options.port);
    if (!again) throw notStarted(result);
    if (childrenLeft) await sleep(100);
  }
}

/** The server, or the end of its log. */
async function launchOnce(
  folder: ClusterFolder,
  binaries: Binaries,
  user: ServerUser | null,
  port: number,
  { settings, deadline }: LaunchOptions,
): Promise<ServerState | string> {
  // A file instead of a pipe, because the server may outlive this process and then serve another one.
  const log = openSync(folder.log, 'w', 0o600);
  const all = { ...settings, listen_addresses: '127.0.0.1', unix_socket_directories: '', port: String(port) };
  const parameters = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  // In a process group of its own: Ctrl-C in the terminal is for us, and the server stops when its users have gone.
  const child = spawn(binaries.postgres, ['-D', folder.data, ...parameters], {
    ...spawnOptions(user),
    detached: true,
    windowsHide: true,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  child.unref();
  let failure: string | null = null;
  child.once('error', (error) => {
    failure = error.message;
  });
  child.once('exit', () => {
    failure = endOfLog(folder.log);
  });
  while (failure === null) {
    const server = findServer(folder.data);
    if (server !== null && server.pid === child.pid && server.ready) return server;
    if (Date.now() > deadline) {
      child.kill('SIGQUIT');
      return `not ready in time; the log ends with: ${endOfLog(folder.log)}`;
    }
    await sleep(POLL_MS);
  }
  return failure;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function endOfLog(log: string): string {
  try {
    return readFileSync(log, 'utf8').trim().split('\n').slice(-8).join('\n') || 'the server said nothing';
  } catch (error) {
    return (error as Error).message;
  }
}

const portInUse = (port: number): ModuleCacheError =>
  new ModuleCacheError('MC106', 'the port for the embedded server is in use', {
    detail: `port ${port} on 127.0.0.1`,
    hint: 'Choose another port, or none: then a free one is found.',
  });

const notStarted = (log: string): ModuleCacheError =>
  new ModuleCacheError('MC106', 'the embedded server could not be started', {
    detail: log,
    hint: 'Give the URL of a database with --database-url or DATABASE_URL to do without it.',
  });
