import { ModuleCacheError } from './errors.js';

/**
 * Rejects with `onTimeout()` after so many ms; leaves no timer behind. A process that was stopped or busy for longer
 * first looks at what has arrived meanwhile.
 */
export function withDeadline<T>(work: Promise<T>, ms: number, onTimeout: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => setImmediate(() => setImmediate(() => reject(onTimeout()))), ms);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** The longest that Node's timers can wait. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * What one caller is prepared to wait: until its deadline, or until its signal aborts. `close` lets go of both.
 *
 * @throws the signal's reason, or ModuleCacheError MC102, from `wait`
 */
export interface Patience {
  wait<T>(work: Promise<T>): Promise<T>;
  /** Aborts when the caller waits no longer. */
  readonly signal: AbortSignal;
  close(): void;
}

export function createPatience(deadlineMs: number, signal: AbortSignal | undefined): Patience {
  const over = new AbortController();
  let giveUp: (error: unknown) => void = () => {};
  const given = new Promise<never>((_, reject) => {
    giveUp = (error) => {
      reject(error);
      over.abort(error);
    };
  });
  given.catch(() => {});
  const timer = setTimeout(
    () =>
      giveUp(
        new ModuleCacheError('MC102', 'the deadline passed', {
          detail: `deadlineMs: ${deadlineMs}`,
          hint: 'The module is still being produced here or in another process; ask again, or allow more time.',
        }),
      ),
    Math.min(deadlineMs, MAX_TIMER_MS),
  );
  const onAbort = (): void => giveUp(signal?.reason);
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort, { once: true });
  return {
    wait: (work) => Promise.race([given, work]),
    signal: over.signal,
    close() {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    },
  };
}

/** Resolves after so many ms, or earlier when the signal aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });
}

/** The work's outcome, or the signal's reason as soon as it aborts, even if the work does not listen to it. */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/**
 * Hands the outcome of work to any number of callers. One that leaves before leaves nothing behind: what waits for a
 * promise is kept by it until it settles, which may be never.
 */
export function shareOutcome<T>(work: Promise<T>): () => { readonly result: Promise<T>; leave(): void } {
  const waiting = new Set<{ resolve(value: T): void; reject(error: unknown): void }>();
  let settled = false;
  const settle = (tell: (one: { resolve(value: T): void; reject(error: unknown): void }) => void): void => {
    settled = true;
    for (const one of waiting) tell(one);
    waiting.clear();
  };
  work.then(
    (value) => settle((one) => one.resolve(value)),
    (error) => settle((one) => one.reject(error)),
  );
  return () => {
    if (settled) return { result: work, leave: () => {} };
    let leave = (): void => {};
    const result = new Promise<T>((resolve, reject) => {
      const one = { resolve, reject };
      waiting.add(one);
      leave = () => void waiting.delete(one);
    });
    return { result, leave };
  };
}
