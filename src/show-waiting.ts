import * as calls from './calls.js';
import type { Session } from './session.js';

/**
 * Shows operators what this process waits for: a shared lock on the dedicated connection for each claim of another
 * process that it has waited for longer than a moment. It ends with the wait, or with the process.
 */
export interface ShownWaits {
  /** Begins a wait for a claim; the result ends it. Who polls begins and ends it again and again. */
  enter(key: string): () => void;
  /** This process has the claim itself now. */
  over(key: string): void;
  stop(): void;
}

interface Wait {
  waiters: number;
  readonly since: number;
  left: number;
  /** Generation of the connection that holds the lock. */
  shownOn: number | undefined;
}

const LOOK_MS = 500;
const SHOWN_AFTER_MS = 1_000;
/** Between two polls nobody waits. */
const OVER_AFTER_MS = 700;
/** The lock table has room for some thousand locks of all processes together. */
const SHOWN_AT_ONCE = 32;
const CALL_TIMEOUT_MS = 5_000;

export function createShownWaits(session: () => Session): ShownWaits {
  const waits = new Map<string, Wait>();
  let timer: NodeJS.Timeout | undefined;
  let allowed: { generation: number; is: boolean } | undefined;
  let looking = false;
  let stopped = false;

  async function mayShow(generation: number): Promise<boolean> {
    if (allowed?.generation !== generation) {
      const signature = '_show_waiting(bigint, boolean)';
      const is = await session().run((sql) => calls.mayCall(sql, signature), CALL_TIMEOUT_MS);
      allowed = { generation, is };
    }
    return allowed.is;
  }

  async function show(key: string, isWaiting: boolean): Promise<boolean> {
    return session().run((sql) => calls.showWaiting(sql, key, isWaiting), CALL_TIMEOUT_MS);
  }

  async function hide(wait: Wait, key: string): Promise<void> {
    const { shownOn } = wait;
    wait.shownOn = undefined;
    if (shownOn !== undefined && shownOn === session().generation) await show(key, false);
  }

  async function look(): Promise<void> {
    const now = performance.now();
    for (const [key, wait] of [...waits]) {
      if (wait.waiters > 0 || now - wait.left < OVER_AFTER_MS) continue;
      waits.delete(key);
      await hide(wait, key);
    }
    let shown = 0;
    for (const [key, wait] of waits) {
      const { generation } = session();
      const isLong = wait.waiters > 0 && now - wait.since >= SHOWN_AFTER_MS;
      if (wait.shownOn === generation) shown += 1;
      else if (isLong && shown < SHOWN_AT_ONCE && (await mayShow(generation))) {
        shown += 1;
        if ((await show(key, true)) && session().generation === generation) wait.shownOn = generation;
        // The wait may have ended meanwhile.
        if (waits.get(key) !== wait) await hide(wait, key);
      }
    }
  }

  function schedule(): void {
    if (timer !== undefined || looking || stopped || waits.size === 0) return;
    timer = setTimeout(() => {
      timer = undefined;
      looking = true;
      // Nobody's answer depends on it, and what is wrong with the connection others find out.
      look()
        .catch(() => {})
        .finally(() => {
          looking = false;
          schedule();
        });
    }, LOOK_MS);
  }

  return {
    enter(key) {
      const wait = waits.get(key) ?? { waiters: 0, since: performance.now(), left: 0, shownOn: undefined };
      waits.set(key, wait);
      wait.waiters += 1;
      schedule();
      let entered = true;
      return () => {
        if (!entered) return;
        entered = false;
        wait.waiters -= 1;
        wait.left = performance.now();
      };
    },
    over(key) {
      const wait = waits.get(key);
      if (wait === undefined) return;
      waits.delete(key);
      hide(wait, key).catch(() => {});
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
      waits.clear();
    },
  };
}
