import postgres, { type Options, type PostgresType, type Sql } from 'postgres';
import { only, type Queryable } from './calls.js';
import { createDialer, type OpenSocket } from './dialer.js';
import { ModuleCacheError } from './errors.js';
import { isRelayed, keepsSession } from './pooler.js';
import { incompatibility } from './versions.js';
import { MAX_TIMER_MS, withDeadline } from './waiting.js';

/** A URL, options of postgres.js, or an existing instance of it. */
export type Connection = string | Options<Record<string, PostgresType>> | Sql;

/** The connections that ordinary calls use. */
export interface Pool {
  /**
   * Runs a single statement in READ COMMITTED, whatever the sessions' default is.
   *
   * @param limitMs after which the connection counts as dead; a caller's instance may first be busy with other things
   * @param long others that give up, or lose their connection, leave this one its time
   * @throws Error if there is no answer within the limit
   */
  run<T>(call: (sql: Queryable) => Promise<T>, limitMs?: number, long?: boolean): Promise<T>;
  /**
   * Whether the database can be used at all.
   *
   * @throws Error if it cannot, or does not answer within the limit
   */
  look(limitMs: number): Promise<void>;
  /** As many connections as it opens at most. */
  readonly size: number;
  close(): Promise<void>;
}

type ConnectionOptions = Options<Record<string, PostgresType>>;

const isInstance = (connection: Connection): connection is Sql => typeof connection === 'function';

/**
 * Opens the pool, or uses the one given, and looks once at what the sessions are like.
 *
 * @param isThere whether the server is known to answer on another way
 * @throws ModuleCacheError MC004 or MC005 if the server or its schema cannot be used, MC107 for what is no URL, and for
 *   an instance whose prepared statements a pooler loses
 */
export async function openPool(
  connection: Connection,
  applicationName: string,
  isThere: () => boolean = () => false,
): Promise<Pool> {
  let source = isInstance(connection) ? givenPool(connection) : ownPool(connection, applicationName);
  const replace = async (other: Source): Promise<void> => {
    const replaced = source;
    source = other;
    await replaced.end(0);
  };
  try {
    const { forgetful, relayed, ...sessions } = await inspectServer(source.sql());
    let { pinned } = sessions;
    if (isInstance(connection)) {
      if (forgetful) await requireOwnSessions(connection);
    } else {
      const unprepared = forgetful ? { prepare: false } : {};
      if (forgetful) await replace(ownPool(connection, applicationName, unprepared));
      // Not from the beginning, because poolers refuse them, and not every platform has the second.
      const wanted = relayed ? [] : [{ ...settledSessions, ...leaveWithClient }];
      if (!pinned) wanted.push(settledSessions);
      for (const parameters of wanted) {
        const settled = ownPool(connection, applicationName, { ...unprepared, connection: parameters });
        const isSettled = await inspectServer(settled.sql()).then(
          (now) => now.pinned,
          () => false,
        );
        if (isSettled) {
          pinned = true;
          await replace(settled);
          break;
        }
        await settled.end(0);
      }
    }
    const { sql, begin, end } = source;
    async function run<T>(
      call: (sql: Queryable) => Promise<T>,
      limitMs = Number.POSITIVE_INFINITY,
      long = false,
      statement = watchStatements(),
    ): Promise<T> {
      const asked = sql();
      let abandoned = false;
      const answer = pinned
        ? call(statement.of(asked))
        : (asked.begin('isolation level read committed read write', (tx) => {
            // Nobody is told any more what it does.
            if (abandoned) throw noAnswer(limitMs);
            return call(statement.of(tx)).catch(unlessLost);
          }) as Promise<T>);
      const ms = Math.min(limitMs, MAX_TIMER_MS);
      const inFlight = begin(asked, long ? ms : 0);
      try {
        for (;;) {
          let silence: Error | undefined;
          try {
            return await withDeadline(answer, ms, () => {
              silence = noAnswer(ms);
              return silence;
            });
          } catch (error) {
            if (silence === undefined || error !== silence) throw error;
            // Behind what else the application does with its instance, as long as that gets on.
            if (isInstance(connection) && statement.isWaiting() && isThere()) continue;
            abandoned = true;
            inFlight.giveUp();
            throw error;
          }
        }
      } finally {
        inFlight.end();
      }
    }

    let looking: { readonly done: Promise<void>; isWaiting(): boolean } | undefined;
    async function look(limitMs: number): Promise<void> {
      if (!isInstance(connection)) return run(requirePrimary, limitMs);
      // What postgres.js has not sent yet cannot be taken back: one at a time, or they would pile up.
      if (looking === undefined) {
        const statement = watchStatements();
        const done = run(requirePrimary, Number.POSITIVE_INFINITY, false, statement).finally(() => {
          looking = undefined;
        });
        looking = { done, isWaiting: statement.isWaiting };
      }
      const { done, isWaiting } = looking;
      for (;;) {
        const silence = noAnswer(limitMs);
        try {
          return await withDeadline(done, limitMs, () => silence);
        } catch (error) {
          // An application that keeps its instance busy says nothing about the server.
          if (error === silence && isWaiting() && isThere()) continue;
          throw error;
        }
      }
    }

    return { run, look, size: Number(sql().options.max), close: () => end(CLOSE_TIMEOUT_S) };
  } catch (error) {
    await source.end(0);
    throw error;
  }
}

const settledSessions: NonNullable<ConnectionOptions['connection']> = {
  default_transaction_isolation: 'read committed',
  // postgres.js leaves out what is false.
  default_transaction_read_only: 'off' as unknown as boolean,
};
/** A backend that waits for a lock does not notice otherwise that nobody is there any more. */
const leaveWithClient: NonNullable<ConnectionOptions['connection']> = {
  client_connection_check_interval: 1_000,
};
const CLOSE_TIMEOUT_S = 5;

/** In seconds. postgres.js waits for up to 20 of them, also for a server that has long been back. */
const backoff = (retries: number): number => (0.5 + Math.random() / 2) * Math.min(1, 0.02 * 2 ** retries);

const noAnswer = (ms: number): Error => new Error(`no answer for ${ms} ms`);

interface Source {
  sql(): Sql;
  /**
   * A call is on its way.
   *
   * @param limitMs that others which give up, or lose their connection, leave it
   */
  begin(
    sql: Sql,
    limitMs: number,
  ): {
    /** Its connection has not answered for too long, and gets no more questions. */
    giveUp(): void;
    end(): void;
  };
  end(timeoutSeconds: number): Promise<void>;
}

const givenPool = (sql: Sql): Source => ({
  sql: () => sql,
  begin: () => ({ giveUp: () => {}, end: () => {} }),
  end: async () => {},
});

/**
 * With a parameter, as every call has one: behind a statement without any postgres.js 3.4 sends the next one at once,
 * and PgBouncer loses the answer to that if it is not prepared.
 */
async function requirePrimary(sql: Queryable): Promise<void> {
  if (only(await sql`select pg_is_in_recovery()::text, ${''}::text`.values())[0] === 'true') {
    throw new Error('the server is a standby');
  }
}

/**
 * What fails in a transaction is rolled back, by postgres.js 3.4 also on a connection that is not there any more, which
 * ends the process. That the transaction has failed is known without.
 */
function unlessLost(error: unknown): Promise<never> {
  const { code } = error as { code?: unknown };
  return /^(CONNECTION_CLOSED|E[A-Z]+)$/.test(String(code)) ? new Promise(() => {}) : Promise.reject(error);
}

/** Lets statements pass, with an eye on the last of them. */
function watchStatements() {
  let last: { readonly state?: unknown } | undefined;
  return {
    of(sql: Queryable): Queryable {
      const watched = (...args: Parameters<Sql>) => {
        const statement = (sql as Sql)(...args);
        last = statement as typeof last;
        return statement;
      };
      return watched as unknown as Queryable;
    },
    /** postgres.js has not sent it yet. */
    isWaiting: () => last === undefined || last.state === null,
  };
}

/**
 * A connection of postgres.js 3.4 that is lost with a question just written is lost for minutes: it reconnects without
 * saying anything, until its time is over, again and again, each time with a caller who waits. So what has lost a
 * connection gets no more questions, and another one takes over.
 */
function ownPool(
  connection: string | ConnectionOptions,
  applicationName: string,
  overrides: ConnectionOptions = {},
): Source {
  const retiring = new Set<{ readonly done: Promise<void>; cutOff(): void }>();
  let current: ReturnType<typeof open> | undefined;
  let ended = false;

  function open() {
    const sql = openOwned(connection, {
      ...overrides,
      // Nothing here needs them. And a pooler lets in before it has a server: asking for them may fail then, and as
      // nobody waits for that answer it would end the process (postgres.js 3.4).
      fetch_types: false,
      connection: { application_name: applicationName, ...overrides.connection },
    });
    const options = sql.options as unknown as { host: string[]; socket: OpenSocket | undefined };
    let cutOff = (): void => {};
    const over = new Promise<void>((resolve) => {
      cutOff = resolve;
    });
    const opened = {
      sql,
      /** Of each call that somebody waits for, until when it is left alone, by the monotonic clock. */
      calls: new Set<{ readonly until: number }>(),
      retire() {
        if (current !== opened || ended) return;
        current = undefined;
        const latest = Math.max(...[...opened.calls].map(({ until }) => until));
        const left = (latest - performance.now()) / 1000;
        const done = opened.end(Math.max(CLOSE_TIMEOUT_S, left)).finally(() => retiring.delete(retired));
        const retired = { done, cutOff };
        retiring.add(retired);
      },
      /** Waits for what somebody waits for, and for nothing else: postgres.js would wait for what cannot be reached. */
      async end(timeoutSeconds: number) {
        const late = setTimeout(cutOff, Math.min(timeoutSeconds * 1000, MAX_TIMER_MS));
        if (opened.calls.size === 0) cutOff();
        await over;
        clearTimeout(late);
        await sql.end({ timeout: 0 });
        dialer.hangUp();
      },
      cutOff,
    };
    const dialer = createDialer({
      given: options.socket,
      onLost: () => opened.retire(),
    });
    // Several hosts have to be told apart for each connection, which is left to postgres.js.
    if (options.host.length === 1) options.socket = dialer.open;
    return opened;
  }

  current = open();
  return {
    sql() {
      if (ended) throw new Error('the pool is closed');
      current ??= open();
      return current.sql;
    },
    begin(sql, limitMs) {
      const asked = current?.sql === sql ? current : undefined;
      const call = { until: performance.now() + limitMs };
      asked?.calls.add(call);
      const end = (): void => {
        // What is left there was given up, and would keep its backend.
        if (asked?.calls.delete(call) && asked.calls.size === 0 && (ended || asked !== current))
          asked.cutOff();
      };
      return {
        giveUp() {
          asked?.retire();
          end();
        },
        end,
      };
    },
    async end(timeout) {
      ended = true;
      const retired = [...retiring];
      const late = setTimeout(() => {
        for (const one of retired) one.cutOff();
      }, timeout * 1000);
      await Promise.all([...retired.map(({ done }) => done), current?.end(timeout)]);
      clearTimeout(late);
    },
  };
}

/** How the user opens sockets, if in a way of their own. */
export function socketOf(connection: Connection): OpenSocket | undefined {
  if (typeof connection === 'string') return undefined;
  const options = isInstance(connection) ? connection.options : connection;
  return (options as { socket?: OpenSocket }).socket;
}

/**
 * A connection of its own to the same server; `overrides` win over what the user passed. Nothing of an instance is
 * shared with it: not the counter that slows reconnecting down, nor the parameters of its sessions, nor its hooks.
 */
export function openDedicated(connection: Connection, overrides: ConnectionOptions): Sql {
  const own = {
    ...overrides,
    debug: false,
    onparameter: undefined,
    transform: { undefined: undefined, column: {}, value: {}, row: {} },
  } as ConnectionOptions;
  if (!isInstance(connection)) return openOwned(connection, own);
  const parsed = connection.options as unknown as ConnectionOptions;
  return postgres({
    ...parsed,
    ...own,
    connection: { ...parsed.connection, ...own.connection },
    parameters: {},
    shared: { retries: 0, typeArrayMap: {} },
  } as ConnectionOptions);
}

function openOwned(connection: string | ConnectionOptions, overrides: ConnectionOptions): Sql {
  if (typeof connection !== 'string' && 'max' in connection) {
    const { max, ...others } = connection;
    // What is there and undefined would be a single connection as well.
    return openOwned(others, max == null ? overrides : { max: sizeOf(max), ...overrides });
  }
  const sql = openAsGiven(connection, overrides);
  const { max } = sql.options as { max: unknown };
  // What comes with a URL, or as PGMAX, is text to postgres.js 3.4, which opens a single connection for it.
  return typeof max === 'number' ? sql : openAsGiven(connection, { ...overrides, max: sizeOf(max) });
}

/** @throws ModuleCacheError MC107 */
function sizeOf(max: unknown): number {
  const size = Number(max);
  if (Number.isInteger(size) && size > 0) return size;
  throw new ModuleCacheError('MC107', 'the size of the pool is no number', {
    detail: `max: ${max}`,
    hint: 'Pass how many connections there may be, such as ?max=10, or leave it out.',
  });
}

function openAsGiven(connection: string | ConnectionOptions, overrides: ConnectionOptions): Sql {
  if (typeof connection === 'string') {
    try {
      return postgres(connection, { onnotice: () => {}, backoff, ...overrides });
    } catch {
      // The original error carries the whole URL, and with it the password.
      throw new ModuleCacheError('MC107', 'the connection is no URL', {
        detail: `${connection.length} characters that cannot be read as one`,
        hint: 'Pass a URL such as postgres://user:password@host/database, with special characters percent-encoded.',
      });
    }
  }
  return postgres({
    onnotice: () => {},
    backoff,
    ...connection,
    ...overrides,
    connection: { ...connection.connection, ...overrides.connection },
  });
}

const OLDEST_SERVER = 150000;

interface Sessions {
  /** Every session begins in READ COMMITTED and may write. */
  pinned: boolean;
  /**
   * Somebody in between passes prepared statements on as they are, and may look for them in another session: with
   * PgBouncer before 1.21 postgres.js then gets errors, the answers to other questions, or none.
   */
  forgetful: boolean;
  /** There is somebody in between. */
  relayed: boolean;
}

async function inspectServer(sql: Sql): Promise<Sessions> {
  const server = await sql`
    select
      current_setting('server_version_num'), current_setting('server_version'),
      current_setting('default_transaction_isolation'), current_setting('default_transaction_read_only'),
      to_regproc('module_cache.oldest_client')::text, pg_is_in_recovery()::text, pg_backend_pid()::text,
      (select json_agg(name) from pg_prepared_statements where statement like '%pg_is_in_recovery%')::text`.values();
  const [versionNumber, version, isolation, readOnly, usable, standby, pid, names] = only(server);
  if (Number(versionNumber) < OLDEST_SERVER) {
    throw new ModuleCacheError('MC004', 'this version of Postgres is not supported', {
      detail: `server_version: ${version}`,
      hint: 'Use PostgreSQL 15 or newer.',
    });
  }
  if (standby === 'true') {
    throw new ModuleCacheError('MC005', 'the server is a standby', {
      hint: 'Connect to the primary: the cache cannot be read on a standby.',
    });
  }
  if (usable == null) {
    throw new ModuleCacheError('MC004', 'the database has no usable module_cache schema', {
      hint: 'Install it with "module-cache migrate", "create extension module_cache", or the script that "module-cache sql" prints.',
    });
  }
  const [schema, oldestClient] = only(
    await sql`select module_cache.schema_version(), module_cache.oldest_client()`.values(),
  );
  const reason = incompatibility(String(schema), String(oldestClient));
  if (reason !== undefined) throw reason;
  const prepared = (JSON.parse(names ?? '[]') as string[]).includes(server.statement.name);
  const relayed = isRelayed(server, pid);
  return {
    pinned: isolation === 'read committed' && readOnly === 'off',
    forgetful: prepared && relayed,
    relayed,
  };
}

/** @throws ModuleCacheError MC107 */
async function requireOwnSessions(instance: Sql): Promise<void> {
  const open = (): Sql => openDedicated(instance, { max: 1, prepare: false, fetch_types: false });
  const sql = open();
  try {
    if (await keepsSession(sql, open)) return;
  } finally {
    await sql.end({ timeout: 0 });
  }
  throw new ModuleCacheError('MC107', 'the pooler loses prepared statements', {
    detail:
      'The postgres.js instance prepares statements, and transactions share sessions that do not know them.',
    hint: 'Pass prepare: false to postgres(), or use PgBouncer 1.21 or newer with max_prepared_statements.',
  });
}
