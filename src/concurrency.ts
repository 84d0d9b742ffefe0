import { tooMany } from './away.js';
import { createQueue } from './queue.js';

/**
 * The results of `work` for each item, in their order, so many at a time. Rejects with the first failure, after which
 * no other item begins; what had begun goes on.
 */
export async function mapConcurrently<Item, Result>(
  items: readonly Item[],
  limit: number,
  work: (item: Item, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results = new Array<Result>(items.length);
  const rest = items.entries();
  let failed = false;
  async function run(): Promise<void> {
    for (const [index, item] of rest) {
      if (failed) return;
      try {
        results[index] = await work(item, index);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, run));
  return results;
}

/**
 * Has at most `count` of them at work at once, in the order in which they come.
 *
 * @throws ModuleCacheError MC109 if more than `maxWaiting` would wait; the signal's reason if it aborts before its turn
 *   has come
 */
export function createTurns(
  count: number,
  maxWaiting = Number.POSITIVE_INFINITY,
): <T>(work: () => Promise<T>, signal?: AbortSignal) => Promise<T> {
  const queue = createQueue();
  let working = 0;
  return async (work, signal) => {
    signal?.throwIfAborted();
    if (working < count) working += 1;
    else if (queue.size >= maxWaiting) throw tooMany('productions wait for their turn', maxWaiting);
    else await queue.wait(signal);
    try {
      return await work();
    } finally {
      if (!queue.letIn()) working -= 1;
    }
  };
}
