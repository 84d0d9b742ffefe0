import { sleep, withDeadline } from '../waiting.js';

/** Work that is asked for again and again, done when it has become quiet, one at a time, until it succeeds. */
export interface Schedule {
  /** Something is to be done. */
  touch(): void;
  /** Waits for what runs, and makes a last attempt for what is left. Rejects with its error. */
  close(): Promise<void>;
}

export interface ScheduleOptions {
  /** Does all that there is to do. */
  work(): Promise<void>;
  /** Waits until nothing was asked for during so many ms, */
  quietMs: number;
  /** but no longer than so many in all. */
  maxMs: number;
  /** How long `close` takes at most, in ms. */
  closeMs: number;
  onError(error: unknown): void;
  /** An error that will not go away. */
  isFinal(error: unknown): boolean;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;

export function createSchedule(options: ScheduleOptions): Schedule {
  const { quietMs, maxMs, closeMs, onError } = options;
  const closing = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let firstTouch: number | undefined;
  let running: Promise<void> | undefined;

  function touch(): void {
    const now = performance.now();
    firstTouch ??= now;
    clearTimeout(timer);
    // Whoever is at work looks again before it leaves.
    if (running !== undefined || closing.signal.aborted) return;
    timer = setTimeout(begin, Math.max(0, Math.min(quietMs, firstTouch + maxMs - now)));
  }

  function begin(): void {
    running = persist().finally(() => {
      running = undefined;
      if (firstTouch !== undefined) touch();
    });
  }

  async function persist(): Promise<void> {
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      const touched = firstTouch;
      firstTouch = undefined;
      try {
        await options.work();
        return;
      } catch (error) {
        onError(error);
        if (options.isFinal(error)) return;
        firstTouch = touched ?? performance.now();
      }
      await sleep(pause, closing.signal);
      if (closing.signal.aborted) return;
    }
  }

  return {
    touch,
    async close() {
      closing.abort();
      clearTimeout(timer);
      const last = async (): Promise<void> => {
        await running;
        clearTimeout(timer);
        if (firstTouch !== undefined) await options.work();
      };
      await withDeadline(last(), closeMs, () => new Error(`the last attempt took more than ${closeMs} ms`));
    },
  };
}
