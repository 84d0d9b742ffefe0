import { tooMany } from './away.js';

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
 * @throws ModuleCacheError MC109 if more than `maxWaiting` would wait
 */
export function createTurns(
  count: number,
  maxWaiting = Number.POSITIVE_INFINITY,
): <T>(work: () => Promise<T>) => Promise<T> {
  const queue: (() => void)[] = [];
  let working = 0;
  return async (work) => {
    if (working < count) working += 1;
    else if (queue.length >= maxWaiting) throw tooMany('productions wait for their turn', maxWaiting);
    else await new Promise<void>((resolve) => queue.push(resolve));
    try {
      return await work();
    } finally {
      const next = queue.shift();
      if (next === undefined) working -= 1;
      else next();
    }
  };
}
