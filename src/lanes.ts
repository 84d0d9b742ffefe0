import { tooMany } from './away.js';
import { createQueue } from './queue.js';

/** How many calls are with the database at once, and how many wait for their turn. */
export interface Lanes {
  /** @throws ModuleCacheError MC109 if too many wait; the signal's reason if it aborts before its turn has come */
  run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T>;
  /** Fails all that wait. */
  failAll(error: unknown): void;
  /** Begins with a single one again, and lets more in bit by bit. */
  slowStart(): void;
}

export interface LanesOptions {
  /** Each of so many calls at once has a connection of its own. */
  readonly connections: number;
  readonly maxWaiting: number;
}

/** The rest of them is sent behind others on the same connections. */
const CALLS_PER_CONNECTION = 10;
/** A server that is just back gets one more connection from each process at most so often. */
const STEP_MS = 100;

export function createLanes({ connections, maxWaiting }: LanesOptions): Lanes {
  const queue = createQueue();
  let working = 0;
  let startedAt = Number.NEGATIVE_INFINITY;
  let step: NodeJS.Timeout | undefined;

  const open = (): number => 1 + Math.floor((performance.now() - startedAt) / STEP_MS);

  function limit(): number {
    return open() >= connections ? connections * CALLS_PER_CONNECTION : open();
  }

  function waitForTurn(signal: AbortSignal | undefined): Promise<void> {
    if (queue.size >= maxWaiting) throw tooMany('calls wait for the database', maxWaiting);
    const turn = queue.wait(signal);
    nextStep();
    return turn;
  }

  function next(): void {
    while (working < limit() && queue.letIn()) working += 1;
    nextStep();
  }

  /** One call that takes long does not keep the others from the lanes that open meanwhile. */
  function nextStep(): void {
    if (step !== undefined || queue.size === 0 || open() >= connections) return;
    step = setTimeout(() => {
      step = undefined;
      next();
    }, STEP_MS);
  }

  return {
    async run(work, signal) {
      signal?.throwIfAborted();
      if (queue.size === 0 && working < limit()) working += 1;
      else await waitForTurn(signal);
      try {
        // Also for a caller who has left meanwhile: lanes bound what the server is at work on, and it still is.
        return await work();
      } finally {
        working -= 1;
        next();
      }
    },
    failAll(error) {
      queue.failAll(error);
      clearTimeout(step);
      step = undefined;
    },
    slowStart() {
      startedAt = performance.now();
    },
  };
}
