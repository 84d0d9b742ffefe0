import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import * as calls from './calls.js';
import { coversOfChange } from './coherence.js';
import type { CacheEmitter } from './events.js';
import type { GuardedPool } from './guarded-pool.js';
import type { ArtifactId } from './keys.js';
import type { L1Entry } from './l1.js';
import { isVisible, parseSnapshotToken } from './snapshot.js';

/**
 * Measures in operation how stale answers from memory are, from outside of what keeps them coherent (as Polaris does
 * for the caches of Meta). A sampled answer is asked for in the database at once. What the database then shows to be
 * outdated was invalidated before its answer came; if it is still served so many ms later, that later answer is older
 * than that, whoever committed when. So no clock but this process' own is needed, and no right but a reader's; and as
 * answers are taken at random, those that are still outdated after d ms are as many as those that already are by d ms.
 */
export interface StalenessSampler {
  /** To be called for every answer from memory. */
  count(entry: L1Entry): void;
  stop(): void;
}

export interface StalenessOptions {
  pool: Pick<GuardedPool, 'run'>;
  events: CacheEmitter;
  /** What a bounded read would be answered from now. */
  fromMemory(id: ArtifactId): L1Entry | undefined;
  maxStalenessMs: number;
  share: number;
  perSecond: number;
  delaysMs?: readonly number[];
  random?: () => number;
}

const DELAYS_MS = [1_000, 10_000, 60_000];
/** Bodies that wait for an answer of the database are kept meanwhile. */
const MAX_ASKING = 8;
/** Outdated answers that are followed; each of them is a few hundred bytes. */
const MAX_FOLLOWED = 1_000;
const SECOND_MS = 1_000;

type Outcome = 'consistent' | 'inconsistent' | 'unknown';
type Verdict = 'current' | 'outdated' | 'unknown';

export function createStalenessSampler(options: StalenessOptions): StalenessSampler {
  const { pool, events, maxStalenessMs, share, perSecond, random = Math.random } = options;
  const delays = [...new Set([...(options.delaysMs ?? DELAYS_MS), maxStalenessMs])].sort((a, b) => a - b);
  const timers = new Set<NodeJS.Timeout>();
  let untilNext = distance();
  let second = { since: Number.NEGATIVE_INFINITY, taken: 0 };
  let asking = 0;
  let followed = 0;
  let stopped = false;

  /** Answers until the next sample: by chance, so that no rhythm of the readers meets ours. */
  function distance(): number {
    const answers = Math.ceil(Math.log(1 - random()) / Math.log(1 - share));
    // A small integer: at every answer it is counted down, and another number would be allocated anew.
    return Math.min(Math.max(1, answers), 2 ** 30 - 1) | 0;
  }

  function mayTake(): boolean {
    const now = performance.now();
    if (now - second.since >= SECOND_MS) second = { since: now, taken: 0 };
    if (second.taken >= perSecond || asking >= MAX_ASKING || followed >= MAX_FOLLOWED) return false;
    second.taken += 1;
    return true;
  }

  function tell(id: ArtifactId, withinMs: number, outcome: Outcome): void {
    events.emit('rechecked', { id, withinMs, isBound: withinMs === maxStalenessMs, outcome });
  }

  async function check(entry: L1Entry): Promise<void> {
    asking += 1;
    const verdict = await ask(entry).catch(() => undefined);
    asking -= 1;
    if (stopped) return;
    if (verdict === 'current') for (const delay of delays) tell(entry.id, delay, 'consistent');
    else if (verdict === undefined) for (const delay of delays) tell(entry.id, delay, 'unknown');
    else follow(entry, verdict);
  }

  /**
   * Whether an invalidation covers the entry that its snapshot has not seen. What differs from what is stored is not
   * outdated for that alone: two productions of one source may differ.
   */
  async function ask(entry: L1Entry): Promise<Verdict> {
    const { id, module, seen, token, covers } = entry;
    const row = await pool.run((sql) => calls.getDigest(sql, id));
    if (row.token === null) return 'unknown';
    if (parseSnapshotToken(row.token).life !== seen.life) return 'outdated';
    if (
      row.status === module.status &&
      row.digest === createHash('sha256').update(module.body).digest('hex') &&
      isDeepStrictEqual(row.headers, module.headers) &&
      isDeepStrictEqual(row.dependencyKeys, module.dependencyKeys)
    ) {
      return 'current';
    }
    if (row.generation !== null && !isVisible(BigInt(row.generation), seen.snapshot)) return 'outdated';
    // A token is a cursor: what follows is all that it has not seen.
    const { cursor, complete, changes } = await pool.run((sql) => calls.changesSince(sql, token));
    if (cursor === null) return 'unknown';
    if (parseSnapshotToken(cursor).life !== seen.life) return 'outdated';
    if (!complete) return 'unknown';
    const own = new Set(covers);
    return changes.some((change) => coversOfChange(change).some((cover) => own.has(cover)))
      ? 'outdated'
      : 'current';
  }

  /** Of the entry only its identity is kept: it may be large. */
  function follow({ id, seen }: L1Entry, verdict: Verdict): void {
    const since = performance.now();
    const remaining = [...delays];
    followed += 1;
    const wait = (): void => {
      // Whoever was told may have closed the cache.
      if (stopped) return;
      const [delay] = remaining;
      if (delay === undefined) {
        followed -= 1;
        return;
      }
      const timer = setTimeout(
        () => {
          timers.delete(timer);
          // Timers may be early by a fraction of a millisecond.
          if (performance.now() - since >= delay) {
            remaining.shift();
            const isServed = options.fromMemory(id)?.seen === seen;
            const outcome = verdict === 'outdated' ? 'inconsistent' : 'unknown';
            tell(id, delay, isServed ? outcome : 'consistent');
          }
          wait();
        },
        Math.max(1, delay - (performance.now() - since)),
      );
      timers.add(timer);
    };
    wait();
  }

  return {
    count(entry) {
      untilNext -= 1;
      if (untilNext > 0) return;
      untilNext = distance();
      if (mayTake()) void check(entry);
    },
    stop() {
      stopped = true;
      for (const timer of timers) clearTimeout(timer);
      timers.clear();
    },
  };
}
