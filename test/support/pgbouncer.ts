import { type ChildProcess, spawn } from 'node:child_process';
import { chownSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chooseServerUser, spawnOptions } from '../../src/cli/embedded-postgres/server-user.js';
import { freePort } from '../client/support/proxy.js';
import { findProgram } from '../support/programs.js';
import { temporaryFolder } from '../support/server.js';
import { until, within } from '../support/wait.js';

/** A real PgBouncer in front of all databases of a server. */
export interface Bouncer {
  /** The way to this URL's database through it. Whoever comes is let in as the user of the server's URL. */
  url(databaseUrl: string): string;
  /** From now on, for sessions that are opened from now on. */
  setPoolMode(mode: PoolMode): Promise<void>;
  /** Kills it and starts it again, on the same port; in between `work` is done. */
  restart(work?: () => Promise<void>): Promise<void>;
  /** As SIGSTOP and SIGCONT do. */
  signal(name: NodeJS.Signals): void;
  stop(): Promise<void>;
}

export type PoolMode = 'transaction' | 'session';

export interface BouncerOptions {
  poolMode?: PoolMode;
  /** Sessions of the server for each database: few, so that clients really share them. */
  poolSize?: number;
  /** Further lines of its configuration. */
  settings?: Readonly<Record<string, string>>;
  /** It has ended, and nobody has ended it. */
  onCrash?: (log: string) => void;
}

const running = new Set<ChildProcess>();
// A test that fails half-way leaves none behind.
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export async function startBouncer(serverUrl: string, options: BouncerOptions = {}): Promise<Bouncer> {
  const binary = findProgram('pgbouncer');
  if (binary === undefined) throw new Error('there is no pgbouncer: install it, or name it by PGBOUNCER');
  const folder = temporaryFolder();
  const file = join(folder, 'pgbouncer.ini');
  const port = await freePort();
  // It refuses to run as root.
  const user = chooseServerUser(join(folder, 'none'));
  const configure = (poolMode: PoolMode): void => {
    writeFileSync(file, configuration(serverUrl, port, { ...options, poolMode }), { mode: 0o600 });
    if (user !== null) chownSync(file, user.uid, user.gid);
  };
  configure(options.poolMode ?? 'transaction');
  let log = '';
  let isWanted = true;
  async function launch(): Promise<{ child: ChildProcess; exited: Promise<void> }> {
    log = '';
    isWanted = true;
    const child = spawn(binary as string, [file], {
      ...spawnOptions(user),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    running.add(child);
    // The next run ends it if this one cannot.
    writeFileSync(join(folder, 'pgbouncer.pid'), String(child.pid));
    let failure: Error | undefined;
    child.stderr?.on('data', (chunk) => {
      log += chunk;
    });
    child.once('error', (error) => {
      failure = error;
    });
    const exited = new Promise<void>((resolve) => {
      child.once('close', () => {
        running.delete(child);
        failure ??= new Error(`PgBouncer has ended: ${log}`);
        resolve();
        if (isWanted) options.onCrash?.(log);
      });
    });
    await said('process up', () => failure);
    return { child, exited };
  }
  const said = (text: string, failure: () => Error | undefined = () => undefined): Promise<unknown> =>
    until(() => log.includes(text) || (failure() !== undefined && Promise.reject(failure())), {
      what: `PgBouncer says "${text}"`,
    });
  let current = await launch();
  async function kill(): Promise<void> {
    isWanted = false;
    current.child.kill('SIGKILL');
    await within(10_000, () => 'PgBouncer has ended', current.exited);
  }
  return {
    url: (databaseUrl) =>
      Object.assign(new URL(databaseUrl), { hostname: '127.0.0.1', port: String(port) }).href,
    async setPoolMode(mode) {
      configure(mode);
      log = '';
      current.child.kill('SIGHUP');
      await said('re-reading config');
    },
    async restart(work = async () => {}) {
      await kill();
      try {
        await work();
      } finally {
        current = await launch();
      }
    },
    signal: (name) => void current.child.kill(name),
    async stop() {
      await kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function configuration(serverUrl: string, port: number, options: BouncerOptions): string {
  const { hostname, port: serverPort, username, password } = new URL(serverUrl);
  const target = {
    host: hostname,
    port: serverPort || '5432',
    user: decodeURIComponent(username),
    ...(password === '' ? {} : { password: decodeURIComponent(password) }),
  };
  const settings = {
    listen_addr: '127.0.0.1',
    listen_port: port,
    unix_socket_dir: '',
    auth_type: 'any',
    pool_mode: options.poolMode,
    default_pool_size: options.poolSize ?? 5,
    max_client_conn: 1_000,
    // A server that was away is asked again at once.
    server_login_retry: 0.1,
    ...options.settings,
  };
  const quote = (value: string): string => `'${value.replaceAll("'", "''")}'`;
  return [
    '[databases]',
    `* = ${Object.entries(target)
      .map(([name, value]) => `${name}=${quote(value)}`)
      .join(' ')}`,
    '[pgbouncer]',
    ...Object.entries(settings).map(([name, value]) => `${name} = ${value}`),
    '',
  ].join('\n');
}
