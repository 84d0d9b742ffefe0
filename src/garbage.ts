import * as calls from './calls.js';
import type { CacheEmitter } from './events.js';
import type { GuardedPool } from './guarded-pool.js';
import type { Session } from './session.js';
import { sleep } from './waiting.js';

/**
 * Removes what nobody needs any more. One process of the fleet is elected for it by a lock that its dedicated
 * connection holds, so that another takes over when it goes. The work itself takes turns in the pool: the dedicated
 * connection has the log to ask, and must not be kept waiting.
 */
export interface GarbageCollector {
  /** Resolves when nothing is on its way any more. */
  stop(): Promise<void>;
}

export interface GarbageCollectorOptions {
  session: Session;
  pool: Pick<GuardedPool, 'run'>;
  events: CacheEmitter;
  everyMs: number;
  keepMs: number;
  keepAtMostMs: number;
}

const SIGNATURE = '_collect_for_fleet(interval, interval, integer)';
const CALL_TIMEOUT_MS = 5_000;
/** When the elected process has left out so many turns, but not before so many ms, others stand in. */
const PATIENCE_TURNS = 5;
const PATIENCE_MS = 60_000;
/** A `put` tries again for about this long while a row that it wants is being moved. */
const SHORT_MS = 50;
const BATCH = { least: 100, first: 1_000, most: 10_000 };
/** Three quarters of the time are left to others. */
const REST = 3;

export function createGarbageCollector(options: GarbageCollectorOptions): GarbageCollector {
  const { session, pool, events } = options;
  const ended = new AbortController();
  const patienceMs = Math.max(PATIENCE_TURNS * options.everyMs, PATIENCE_MS);
  let batch = BATCH.first;
  let timer: NodeJS.Timeout | undefined;
  let running = Promise.resolve();

  async function isElected(): Promise<boolean> {
    if (!session.connected) return false;
    if (!(await session.run((sql) => calls.mayCall(sql, SIGNATURE), CALL_TIMEOUT_MS))) return false;
    return session.run((sql) => calls.electCollector(sql, patienceMs), CALL_TIMEOUT_MS);
  }

  /** As large as is quickly done. */
  function adapt(ms: number): void {
    if (ms > SHORT_MS) batch = Math.max(BATCH.least, Math.floor(batch / 2));
    else if (ms < SHORT_MS / 2) batch = Math.min(BATCH.most, batch * 2);
  }

  async function collect(): Promise<void> {
    const { generation } = session;
    if (!(await isElected())) return;
    while (!ended.signal.aborted && session.generation === generation) {
      const began = performance.now();
      const size = batch;
      const { complete, ...counts } = await pool
        .run((sql) => calls.collectForFleet(sql, options.keepMs, options.keepAtMostMs, size), { write: true })
        .catch(async (error) => {
          // Perhaps it took too long for this role; and another process may have more luck.
          adapt(Number.POSITIVE_INFINITY);
          await session.run(calls.resignCollector, CALL_TIMEOUT_MS);
          throw error;
        });
      const found = Object.values(counts).some((count) => count > 0);
      if (found) events.emit('collected', counts);
      // Not complete and nothing found: an operator is collecting.
      if (complete || !found) return;
      const ms = performance.now() - began;
      adapt(ms);
      await sleep(ms * REST, ended.signal);
    }
  }

  function schedule(withinMs: number): void {
    if (ended.signal.aborted) return;
    timer = setTimeout(
      () => {
        running = collect()
          .catch((error) => {
            if (ended.signal.aborted) return;
            events.emit('warning', { message: 'garbage could not be collected', error });
          })
          .finally(() => schedule(options.everyMs));
      },
      withinMs * (0.5 + Math.random() / 2),
    );
  }

  schedule(options.everyMs);
  return {
    stop() {
      ended.abort();
      clearTimeout(timer);
      return running;
    },
  };
}
