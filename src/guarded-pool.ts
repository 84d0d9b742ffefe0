import { setImmediate as nextTurn } from 'node:timers/promises';
import { awayError, isAbsence, isOfConnection, notAsked } from './away.js';
import { createBreaker } from './breaker.js';
import type { Queryable } from './calls.js';
import { createLanes } from './lanes.js';
import type { Pool } from './pool.js';

/**
 * The pool under pressure: calls have a time limit, only so many are on their way or wait, and none is begun while the
 * database is known to be away.
 */
export interface GuardedPool {
  /**
   * @throws ModuleCacheError MC108 if the database is away or does not answer in time, MC109 if too many calls wait;
   *   whatever else the call throws
   */
  run<T>(call: (sql: Queryable) => Promise<T>, how?: CallOptions): Promise<T>;
  /** The database is known to be away. */
  readonly away: boolean;
  /** The dedicated connection was lost, or is there again. */
  look(): void;
  /** @param reason what calls fail with that wait for their turn */
  close(reason: unknown): Promise<void>;
}

export interface CallOptions {
  /** A call that waits for its turn is given up when it aborts. */
  signal?: AbortSignal;
  /** How many times as long as a single read it may take. */
  weight?: number;
  /** It may take long, and its outcome is not known if there is no answer. */
  write?: boolean;
}

export interface GuardOptions {
  callTimeoutMs: number;
  /** Longest time for a write. */
  deadlineMs: number;
  onAway(error: unknown): void;
  onBack(): void;
}

const MAX_WAITING = 10_000;
const MAX_PROBE_MS = 5_000;

export function guardPool(
  pool: Pool,
  { callTimeoutMs, deadlineMs, onAway, onBack }: GuardOptions,
): GuardedPool {
  const look = (): Promise<void> => pool.look(Math.min(callTimeoutMs, MAX_PROBE_MS));
  const lanes = createLanes({ connections: pool.size, maxWaiting: MAX_WAITING });
  const breaker = createBreaker({
    probe: () => look().catch((error) => (isOfConnection(error) ? look() : Promise.reject(error))),
    onAway(error) {
      lanes.failAll(notAsked(error));
      onAway(error);
    },
    onBack() {
      lanes.slowStart();
      onBack();
    },
  });
  let closed = false;

  async function attempt<T>(
    call: (sql: Queryable) => Promise<T>,
    { weight = 1, write = false }: CallOptions,
  ): Promise<T> {
    const limitMs = write ? Math.max(deadlineMs, callTimeoutMs) : callTimeoutMs * weight;
    try {
      return await pool.run(call, limitMs, write || weight > 1);
    } catch (error) {
      if (closed || !isAbsence(error)) throw error;
      breaker.look();
      throw awayError(error, write);
    }
  }

  return {
    async run(call, how = {}) {
      if (breaker.away !== undefined) {
        const { error } = breaker.away;
        // Who asks again and again at once must not keep timers and sockets from their turn.
        await nextTurn();
        throw notAsked(error);
      }
      return lanes.run(() => attempt(call, how), how.signal);
    },
    get away() {
      return breaker.away !== undefined;
    },
    look: breaker.look,
    close(reason) {
      closed = true;
      breaker.stop();
      lanes.failAll(reason);
      return pool.close();
    },
  };
}
