import { prepareCluster } from './embedded-postgres/cluster.js';
import { ensureServer, urlOf } from './embedded-postgres/ensure.js';
import { leave, leaveAtExit } from './embedded-postgres/leave.js';
import { withLock } from './embedded-postgres/lock.js';
import { openCluster } from './embedded-postgres/open.js';
import { findServer, launchServer } from './embedded-postgres/server.js';
import { type StopMode, stopServer } from './embedded-postgres/shutdown.js';
import { addUser } from './embedded-postgres/users.js';

export type { StopMode } from './embedded-postgres/shutdown.js';

/** A start includes initdb, or crash recovery, on a slow machine. */
const START_TIMEOUT_MS = 90_000;

/** For a cache on a developer's machine: little memory and disk, and no replication. */
const defaultSettings = {
  shared_buffers: '64MB',
  min_wal_size: '32MB',
  max_wal_size: '256MB',
  wal_level: 'minimal',
  max_wal_senders: '0',
  jit: 'off',
};

export interface EmbeddedPostgresOptions {
  /** Everything of the cluster is kept here. Default: a folder for `name` and the major version in the user's cache. */
  dataDirectory?: string;
  /** Tells clusters in the cache folder apart. Default: `default`. */
  name?: string;
  /** Default: a free one. A server that is running already keeps its own. */
  port?: number;
  /** Postgres settings, as in postgresql.conf. A server that is running already keeps its own. */
  settings?: Readonly<Record<string, string | number | boolean>>;
  onLog?: (line: string) => void;
  /** A Postgres installation (the folder that holds `bin`) instead of the package embedded-postgres. */
  binaries?: string;
  /** Instead of the user's cache folder: for clusters without a `dataDirectory`, and for a copy of the binaries. */
  cacheDirectory?: string;
}

/** A server on 127.0.0.1, shared by all processes that started it on the same folder. */
export interface EmbeddedPostgres {
  /** Of the database `postgres`, as superuser, with the password. */
  readonly url: string;
  readonly port: number;
  readonly dataDirectory: string;
  /** For example `18.4`. */
  readonly version: string;
  readonly pid: number;
  /** True if it was running already. */
  readonly adopted: boolean;
  /**
   * Gives the server up, and stops it if no other process uses it: within 8 s, harder if `mode` (default `fast`) does
   * not do. If this is not called, the end of the process does the same without waiting.
   */
  stop(mode?: StopMode): Promise<void>;
  /** Stops it, whoever else uses it, and starts it on the same port. */
  restart(mode?: StopMode): Promise<void>;
}

/**
 * Starts a real Postgres, or uses the one that another process (or an earlier one that was killed) left running on
 * the folder. The cluster is kept for the next time.
 *
 * @throws ModuleCacheError MC106
 */
export async function startEmbeddedPostgres(
  options: EmbeddedPostgresOptions = {},
): Promise<EmbeddedPostgres> {
  const onLog = options.onLog ?? (() => {});
  const deadline = Date.now() + START_TIMEOUT_MS;
  const cluster = await openCluster(options);
  const { folder, binaries } = cluster;
  const settings = settingsOf(options);
  const userFile = addUser(folder.users);
  const onExit = (): void => leaveAtExit(cluster, userFile);
  process.once('exit', onExit);
  const stop = async (mode: StopMode): Promise<void> => {
    await leave(cluster, userFile, mode);
    process.off('exit', onExit);
  };

  try {
    const { password, version, adopted, ...found } = await withLock(
      folder.lock,
      START_TIMEOUT_MS,
      async () => {
        const password = await prepareCluster(cluster, { durable: settings.fsync !== 'off', onLog });
        const launch = { port: options.port, settings, deadline };
        return { password, ...(await ensureServer(cluster, password, launch)) };
      },
    );
    let { server } = found;
    onLog(`PostgreSQL ${version} ${adopted ? 'was already running' : 'started'} on port ${server.port}`);
    const port = server.port;
    let stopped: Promise<void> | undefined;
    return {
      url: urlOf(password, port),
      port,
      dataDirectory: folder.root,
      version,
      adopted,
      get pid() {
        return server.pid;
      },
      stop: (mode = 'fast') => {
        stopped ??= stop(mode);
        return stopped;
      },
      restart: (mode = 'fast') =>
        withLock(folder.lock, START_TIMEOUT_MS, async () => {
          const running = findServer(folder.data);
          if (running !== null) await stopServer(running.pid, binaries.postgres, mode);
          const limit = Date.now() + START_TIMEOUT_MS;
          server = await launchServer(folder, binaries, cluster.user, { port, settings, deadline: limit });
        }),
    };
  } catch (error) {
    await stop('fast');
    throw error;
  }
}

function settingsOf(options: EmbeddedPostgresOptions): Record<string, string> {
  const entries = Object.entries(options.settings ?? {}).map(([name, value]): [string, string] => [
    name,
    typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value),
  ]);
  return { ...defaultSettings, ...Object.fromEntries(entries) };
}
