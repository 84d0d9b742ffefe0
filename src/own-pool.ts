import type { Sql } from 'postgres';
import { type ConnectionOptions, openOwned } from './connection.js';
import { createDialer, type OpenSocket } from './dialer.js';
import { MAX_TIMER_MS } from './waiting.js';

/** Where a pool has its connections from. */
export interface PoolSource {
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

export const CLOSE_TIMEOUT_S = 5;

/**
 * A connection of postgres.js 3.4 that is lost with a question just written is lost for minutes: it reconnects without
 * saying anything, until its time is over, again and again, each time with a caller who waits. So what has lost a
 * connection gets no more questions, and another one takes over.
 */
export function createOwnPool(
  connection: string | ConnectionOptions,
  applicationName: string,
  overrides: ConnectionOptions = {},
): PoolSource {
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
