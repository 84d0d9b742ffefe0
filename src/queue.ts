/** Callers who wait for their turn, in the order in which they came. */
export interface Queue {
  readonly size: number;
  /** @throws the signal's reason if it aborts before the turn has come, or what `failAll` is called with */
  wait(signal: AbortSignal | undefined): Promise<void>;
  /** It is the turn of the one who came first; false if nobody waits. */
  letIn(): boolean;
  failAll(error: unknown): void;
}

interface Waiting {
  begin(): void;
  fail(error: unknown): void;
}

export function createQueue(): Queue {
  const queue = new Set<Waiting>();
  return {
    get size() {
      return queue.size;
    },
    wait: (signal) =>
      new Promise((resolve, reject) => {
        const onAbort = (): void => waiting.fail(signal?.reason);
        const leave = (): void => {
          queue.delete(waiting);
          signal?.removeEventListener('abort', onAbort);
        };
        const waiting: Waiting = {
          begin() {
            leave();
            resolve();
          },
          fail(error) {
            leave();
            reject(error);
          },
        };
        queue.add(waiting);
        signal?.addEventListener('abort', onAbort, { once: true });
      }),
    letIn() {
      const [first] = queue;
      first?.begin();
      return first !== undefined;
    },
    failAll(error) {
      for (const waiting of [...queue]) waiting.fail(error);
    },
  };
}
