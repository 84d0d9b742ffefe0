import type { Sql } from 'postgres';
import { only, type Queryable } from './calls.js';
import { type Connection, type ConnectionOptions, isInstance, openDedicated } from './connection.js';
import { ModuleCacheError } from './errors.js';
import { CLOSE_TIMEOUT_S, createOwnPool, type PoolSource } from './own-pool.js';
import { isRelayed, keepsSession } from './pooler.js';
import { incompatibility } from './versions.js';
import { MAX_TIMER_MS, withDeadline } from './waiting.js';

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
  let source = isInstance(connection) ? givenPool(connection) : createOwnPool(connection, applicationName);
  const replace = async (other: PoolSource): Promise<void> => {
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
      if (forgetful) await replace(createOwnPool(connection, applicationName, unprepared));
      // Not from the beginning, because poolers refuse them, and not every platform has the second.
      const wanted = relayed ? [] : [{ ...settledSessions, ...leaveWithClient }];
      if (!pinned) wanted.push(settledSessions);
      for (const parameters of wanted) {
        const settled = createOwnPool(connection, applicationName, { ...unprepared, connection: parameters });
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

const noAnswer = (ms: number): Error => new Error(`no answer for ${ms} ms`);

const givenPool = (sql: Sql): PoolSource => ({
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
