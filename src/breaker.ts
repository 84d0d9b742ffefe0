/**
 * Knows whether the database is away. A call that failed makes it look once; if that fails as well, it looks again at
 * growing intervals with full jitter, and meanwhile nobody has to wait to learn that there is no answer.
 */
export interface Breaker {
  /** What the last look failed with while the database is away, and undefined while it is there. */
  readonly away: { readonly error: unknown } | undefined;
  /** Looks now, whether the database counts as there or as away. */
  look(): void;
  stop(): void;
}

export interface BreakerOptions {
  /** One look. Rejects if the database cannot be used; within a time of its own, if nothing is said. */
  probe(): Promise<unknown>;
  onAway(error: unknown): void;
  onBack(): void;
}

const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 2_000;

export function createBreaker({ probe, onAway, onBack }: BreakerOptions): Breaker {
  let away: { readonly error: unknown } | undefined;
  let looking = false;
  let stopped = false;
  let attempts = 0;
  let timer: NodeJS.Timeout | undefined;

  async function look(): Promise<void> {
    if (looking || stopped) return;
    looking = true;
    clearTimeout(timer);
    const failure = await probe().then(
      () => undefined,
      (error: unknown) => ({ error }),
    );
    looking = false;
    if (stopped) return;
    const wasAway = away !== undefined;
    away = failure;
    if (failure !== undefined) {
      if (!wasAway) onAway(failure.error);
      // A fleet must not come back all at once.
      const backoff = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** attempts);
      attempts += 1;
      timer = setTimeout(() => void look(), Math.random() * backoff);
    } else {
      attempts = 0;
      if (wasAway) onBack();
    }
  }

  return {
    get away() {
      return away;
    },
    look: () => void look(),
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
