import * as calls from './calls.js';
import { createTurns } from './concurrency.js';
import type { CacheEmitter } from './events.js';
import type { ArtifactId } from './keys.js';
import type { Session } from './session.js';
import { createShownWaits } from './show-waiting.js';
import { sleep } from './waiting.js';

/**
 * Claims of this process: session-level locks on the dedicated connection, so that a claim holds neither a pooled
 * connection nor a transaction while its producer works, and ends with the process.
 */
export interface Claims {
  /**
   * Tries once. A claim that is held by somebody else comes with a waiter that is already registered, so that no
   * notification can pass between this answer and the wait.
   */
  acquire(id: ArtifactId): Promise<Claim | Waiter>;
  onPopulated(key: string): void;
  /** Lets all waiters look again. */
  wakeAll(): void;
  /** No timer runs afterwards. */
  stop(): void;
}

export interface Claim {
  readonly held: true;
  release(): Promise<void>;
}

export interface Waiter {
  readonly held: false;
  /** Resolves to true when the claim ended, to false after `pollMs` or when the signal aborts. */
  next(pollMs: number, signal: AbortSignal): Promise<boolean>;
  close(): void;
}

const CALL_TIMEOUT_MS = 5_000;
/**
 * Calls on their way at once: thousands of productions may begin together, the heartbeat must not stand behind them,
 * and the time of a call that waits behind others says nothing about the connection.
 */
const CALLS_AT_ONCE = 20;

export function createClaims(session: () => Session, events: CacheEmitter): Claims {
  const waiters = new Map<string, Set<() => void>>();
  const inTurn = createTurns(CALLS_AT_ONCE);
  const shown = createShownWaits(session);

  function wait(key: string): Waiter {
    let populated = false;
    let wake = (): void => {};
    const onPopulated = (): void => {
      populated = true;
      wake();
    };
    const registered = waiters.get(key) ?? new Set();
    waiters.set(key, registered.add(onPopulated));
    return {
      held: false,
      async next(pollMs, signal) {
        if (!populated) {
          const woken = new AbortController();
          wake = () => woken.abort();
          const onAbort = (): void => woken.abort();
          signal.addEventListener('abort', onAbort, { once: true });
          if (signal.aborted) woken.abort();
          await sleep(pollMs, woken.signal);
          signal.removeEventListener('abort', onAbort);
        }
        const woken = populated;
        populated = false;
        return woken;
      },
      close() {
        registered.delete(onPopulated);
        if (registered.size === 0 && waiters.get(key) === registered) waiters.delete(key);
      },
    };
  }

  function showing(key: string, waiter: Waiter): Waiter {
    const leave = shown.enter(key);
    return {
      ...waiter,
      close() {
        leave();
        waiter.close();
      },
    };
  }

  function onPopulated(key: string): void {
    for (const wake of [...(waiters.get(key) ?? [])]) wake();
  }

  return {
    async acquire(id) {
      const { generation, claimed, key } = await inTurn(async () => ({
        generation: session().generation,
        ...(await session().run((sql) => calls.claim(sql, id), CALL_TIMEOUT_MS)),
      }));
      if (!claimed) return showing(key, wait(key));
      shown.over(key);
      return {
        held: true,
        async release() {
          // With the connection the claim is gone, and may be another's by now.
          if (session().generation !== generation) return;
          try {
            await inTurn(() => session().run((sql) => calls.release(sql, id), CALL_TIMEOUT_MS));
          } catch (error) {
            events.emit('warning', { message: 'a claim could not be released', error });
            // It goes with the connection; held on, it would keep everybody else waiting.
            if (session().generation === generation) session().replace(error);
          }
          onPopulated(key);
        },
      };
    },
    onPopulated,
    wakeAll() {
      for (const key of [...waiters.keys()]) onPopulated(key);
    },
    stop: () => shown.stop(),
  };
}
