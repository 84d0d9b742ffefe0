import { randomUUID } from 'node:crypto';
import type { Sql } from 'postgres';
import { type Connection, openDedicated, socketOf } from './connection.js';
import { createDialer, type Dialer } from './dialer.js';
import { ModuleCacheError } from './errors.js';
import { leadsThroughPooler } from './pooler.js';
import { withDeadline } from './waiting.js';

/**
 * The one dedicated connection of a process: it listens, holds the claims and asks the log, so that every heartbeat
 * also proves that the connection which listens is alive.
 */
export interface Session {
  /** Counts connections; what belonged to an earlier one (a claim) is gone. */
  readonly generation: number;
  readonly connected: boolean;
  /** @throws if there is no connection, or the call takes longer than `timeoutMs`; the connection is then replaced. */
  run<T>(call: (sql: Sql) => Promise<T>, timeoutMs: number): Promise<T>;
  /** Gives the connection up, with all that the server holds for it, and opens another. */
  replace(error: unknown): void;
  close(): Promise<void>;
}

export interface SessionOptions {
  connection: Connection;
  applicationName: string;
  channels: readonly string[];
  /** Without notifications nothing is listened to, and releases do not notify. */
  broadcast: 'notify' | 'log';
  /** Sends an empty notification from another connection, which is how the first one proves itself. */
  notify(channel: string): Promise<void>;
  onNotification(channel: string, payload: string): void;
  /** Called once a new connection listens. */
  onConnected(): void;
  onDisconnected(error: unknown): void;
}

interface Link {
  readonly sql: Sql;
  readonly dialer: Dialer;
  lost: boolean;
  /** Monotonic time in ms at which it was ready. */
  since: number;
}

const CONNECT_TIMEOUT_MS = 5_000;
const PROBE_TIMEOUT_MS = 5_000;
const UNLISTEN_TIMEOUT_MS = 500;
const MAX_BACKOFF_MS = 2_000;

/**
 * What the sessions of this role are like otherwise does not matter. These are set once the connection has proved
 * itself: a pooler refuses them at start, or hands the session on to others with them.
 */
const settings = [
  "default_transaction_isolation = 'read committed'",
  'default_transaction_read_only = off',
  'statement_timeout = 0',
  'lock_timeout = 0',
  'idle_session_timeout = 0',
  // A claim must not outlive a peer whose machine or network has gone without a word.
  'tcp_keepalives_idle = 5',
  'tcp_keepalives_interval = 2',
  'tcp_keepalives_count = 3',
  'tcp_user_timeout = 10000',
];
/** Else a backend that waits for a lock would go on after this process has given it up; not every platform has it. */
const leaveWithClient = `do $$
begin
  perform set_config('client_connection_check_interval', '1s', false);
exception when invalid_parameter_value then
  null;
end $$`;

/** @throws ModuleCacheError MC101 if the connection does not hear what another one notifies */
export async function openSession(options: SessionOptions): Promise<Session> {
  let current: Link | undefined;
  let connecting: Link | undefined;
  let generation = 0;
  let links = 0;
  let closed = false;
  let retry: NodeJS.Timeout | undefined;
  let attempts = 0;

  async function connect(notifyProbe: (link: Link, channel: string) => Promise<unknown>): Promise<void> {
    const probe = `module_cache_probe_${randomUUID().replaceAll('-', '')}`;
    let heard = (): void => {};
    let closedEarly = (_: Error): void => {};
    const proof = new Promise<void>((resolve, reject) => {
      heard = resolve;
      closedEarly = reject;
    });
    proof.catch(() => {});
    const link = openLink(probe, () => heard(), closedEarly);
    connecting = link;
    try {
      await withDeadline(
        link.sql.unsafe(`listen ${probe}`),
        CONNECT_TIMEOUT_MS,
        () => new Error(`no dedicated connection within ${CONNECT_TIMEOUT_MS} ms`),
      );
      // Quiet from here on: a pooler passes a notification on to whoever happens to use the connection.
      await withDeadline(Promise.all([notifyProbe(link, probe), proof]), PROBE_TIMEOUT_MS, deaf);
      await withDeadline(
        prepare(link, probe),
        CONNECT_TIMEOUT_MS,
        () => new Error(`no answer for ${CONNECT_TIMEOUT_MS} ms`),
      );
      if (closed || link.lost) throw new Error('the dedicated connection was closed');
    } catch (error) {
      if (isDeaf(error)) await unlisten(link, probe);
      void discard(link, 0);
      throw error;
    } finally {
      connecting = undefined;
    }
    current = link;
    link.since = performance.now();
    generation += 1;
    options.onConnected();
  }

  function openLink(probe: string, onProbe: () => void, onClose: (error: Error) => void): Link {
    const dialer = createDialer({ given: socketOf(options.connection), first: links });
    links += 1;
    const link: Link = {
      dialer,
      lost: false,
      since: 0,
      sql: openDedicated(options.connection, {
        max: 1,
        idle_timeout: 0,
        // postgres.js would otherwise close the connection after a while and take its claims along.
        max_lifetime: null,
        fetch_types: false,
        prepare: true,
        connect_timeout: CONNECT_TIMEOUT_MS / 1000,
        connection: { application_name: options.applicationName },
        socket: dialer.open,
        onnotice: () => {},
        onnotify: (channel: string, payload: string) => {
          if (channel === probe) onProbe();
          else if (current === link) options.onNotification(channel, payload);
        },
        onclose: () => {
          const error = new Error('the dedicated connection was closed');
          link.lost = true;
          onClose(error);
          lose(link, error);
        },
      } as Parameters<typeof openDedicated>[1]),
    };
    return link;
  }

  async function prepare({ sql }: Link, probe: string): Promise<void> {
    const statements = [`unlisten ${probe}`, ...settings.map((setting) => `set ${setting}`), leaveWithClient];
    if (options.broadcast === 'log') statements.push('set module_cache.notify = off');
    else for (const channel of options.channels) statements.push(`listen ${channel}`);
    await sql.unsafe(statements.join(';'));
  }

  /** The session is a pooler's, and goes on for others: as likely as not the same one is still at hand. */
  async function unlisten({ sql }: Link, probe: string): Promise<void> {
    const late = (): Error => new Error(`no answer for ${UNLISTEN_TIMEOUT_MS} ms`);
    await withDeadline(sql.unsafe(`unlisten ${probe}`), UNLISTEN_TIMEOUT_MS, late).catch(() => {});
  }

  async function discard(link: Link, timeoutSeconds: number): Promise<void> {
    link.lost = true;
    link.dialer.stop();
    await link.sql.end({ timeout: timeoutSeconds });
    link.dialer.hangUp();
  }

  function lose(link: Link, error: unknown): void {
    if (current !== link || closed) return;
    current = undefined;
    generation += 1;
    // One that is lost as soon as it is there must not be replaced as fast as it can.
    if (performance.now() - link.since > MAX_BACKOFF_MS) attempts = 0;
    void discard(link, 0);
    options.onDisconnected(error);
    reconnectLater();
  }

  function reconnectLater(): void {
    if (closed || retry !== undefined) return;
    // Full jitter, so that a fleet does not come back all at once.
    const backoff = Math.min(MAX_BACKOFF_MS, 50 * 2 ** attempts);
    attempts += 1;
    retry = setTimeout(
      () => {
        retry = undefined;
        connect(proveAgain).catch(() => reconnectLater());
      },
      attempts === 1 ? 0 : Math.random() * backoff,
    );
  }

  /**
   * The way to the server has proved itself; now it is about this connection only. Except through a pooler, which may
   * share sessions by now: then a connection can hear itself by chance.
   */
  async function proveAgain({ sql }: Link, channel: string): Promise<void> {
    if (await leadsThroughPooler(sql)) await options.notify(channel);
    else await sql.unsafe(`notify ${channel}`);
  }

  await connect((_, channel) => options.notify(channel));
  return {
    get generation() {
      return generation;
    },
    get connected() {
      return current !== undefined;
    },
    async run(call, timeoutMs) {
      const link = current;
      if (link === undefined) throw new Error('the dedicated connection is not there');
      try {
        return await withDeadline(
          call(link.sql),
          timeoutMs,
          () => new Error(`no answer for ${timeoutMs} ms`),
        );
      } catch (error) {
        // An error of the server leaves the connection as it is, unless it is the wrong server; silence does not.
        if (!isServerError(error) || isStandby(error)) lose(link, error);
        throw error;
      }
    },
    replace(error) {
      if (current !== undefined) lose(current, error);
    },
    async close() {
      closed = true;
      clearTimeout(retry);
      const link = current ?? connecting;
      current = undefined;
      if (link !== undefined) await discard(link, link === connecting ? 0 : 1);
    },
  };
}

const isServerError = (error: unknown): boolean => error instanceof Error && error.name === 'PostgresError';

const isStandby = (error: unknown): boolean => (error as { code?: unknown }).code === 'MC005';

const isDeaf = (error: unknown): boolean => (error as { code?: unknown }).code === 'MC101';

function deaf(): ModuleCacheError {
  return new ModuleCacheError('MC101', 'the dedicated connection does not hear notifications', {
    detail: `A notification that another connection sent did not arrive within ${PROBE_TIMEOUT_MS} ms.`,
    hint: 'A pooler in transaction mode accepts LISTEN and hears nothing: pass a direct connection to the same database as listenConnection.',
  });
}
