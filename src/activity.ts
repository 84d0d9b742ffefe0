import { ModuleCacheError } from './errors.js';
import type { CacheEvents } from './events.js';

/**
 * What this process serves and produces, counted by realm and kind, so that operators see it in the database. It is
 * counted where events are emitted, at the price of a few nanoseconds for an answer from memory.
 */
export interface Activity {
  observe<E extends keyof CacheEvents>(event: E, payload: CacheEvents[E][0]): void;
  /** What was counted since it was last taken; at most 100 entries, the others come next time. */
  take(): ReportedActivity[];
  readonly changed: boolean;
  /** What was counted since the beginning, whether or not it was taken. */
  totals(): ReportedActivity[];
  /** Answers from memory since the beginning. */
  readonly hits: number;
  /** Answers from memory, and reads, within the last minute as far as `tick` was called. */
  minute(): { hits: number; reads: number };
  /** To be called every few seconds. */
  tick(): void;
}

/** Counts of `_activity` in the database. */
export interface Counts {
  l1_hits: number;
  l2_hits: number;
  misses: number;
  productions: number;
  production_ms: number;
  failures: number;
  coalesced: number;
  stale: number;
  other_epoch: number;
  older: number;
  contended: number;
}

export interface ReportedActivity {
  /** Null for all beyond what is counted apart, of each kind together. */
  readonly realm: string | null;
  readonly kind: string;
  readonly counts: Partial<Counts>;
}

/** A server for many tenants has any number of realms. */
const COUNTED_APART = 1_000;
/** Kinds beyond that: few applications have as many. */
const OTHER_KINDS = 20;
/** Stands for the kinds beyond these. */
export const ANY_KIND = 'any';
const TAKEN_AT_ONCE = 100;
const MINUTE_MS = 60_000;

interface Cell {
  readonly realm: string | null;
  readonly kind: string;
  counts: Counts;
  /** What was taken. */
  readonly taken: Counts;
  /** Counted since then. */
  isChanged: boolean;
}

const nothing = (): Counts => ({
  l1_hits: 0,
  l2_hits: 0,
  misses: 0,
  productions: 0,
  production_ms: 0,
  failures: 0,
  coalesced: 0,
  stale: 0,
  other_epoch: 0,
  older: 0,
  contended: 0,
});

const newCell = (realm: string | null, kind: string): Cell => ({
  realm,
  kind,
  counts: nothing(),
  taken: nothing(),
  isChanged: false,
});

function add(sum: Counts, counts: Counts): void {
  for (const name of Object.keys(counts) as (keyof Counts)[]) sum[name] += counts[name];
}

export function createActivity(): Activity {
  const cells = new Map<string, Map<string, Cell>>();
  const changed = new Set<Cell>();
  const total = { hits: 0, reads: 0 };
  const ticks = [{ at: performance.now(), ...total }];
  /** By kind. */
  const others = new Map<string, Cell>();
  let count = 0;
  let last = newCell(null, ANY_KIND);

  /** Most questions are about the realm and kind of the one before. */
  function cellOf({ realm, kind }: { realm: string; kind: string }): Counts {
    if (last.realm !== realm || last.kind !== kind)
      last = cells.get(realm)?.get(kind) ?? addCell(realm, kind);
    if (!last.isChanged) {
      last.isChanged = true;
      changed.add(last);
    }
    return last.counts;
  }

  function otherCell(kind: string): Cell {
    const apart = others.has(kind) || others.size < OTHER_KINDS ? kind : ANY_KIND;
    const cell = others.get(apart) ?? newCell(null, apart);
    others.set(apart, cell);
    return cell;
  }

  function addCell(realm: string, kind: string): Cell {
    if (count >= COUNTED_APART) return otherCell(kind);
    count += 1;
    const cell = newCell(realm, kind);
    const ofRealm = cells.get(realm) ?? new Map<string, Cell>();
    cells.set(realm, ofRealm.set(kind, cell));
    return cell;
  }

  function onHit({ id, source }: CacheEvents['hit'][0]): void {
    total.reads += 1;
    if (source === 'l1') {
      total.hits += 1;
      cellOf(id).l1_hits += 1;
    } else cellOf(id).l2_hits += 1;
  }

  const observers: { [E in keyof CacheEvents]?: (payload: CacheEvents[E][0]) => void } = {
    miss({ id }) {
      total.reads += 1;
      cellOf(id).misses += 1;
    },
    coalesced({ id }) {
      cellOf(id).coalesced += 1;
    },
    failed({ id }) {
      cellOf(id).failures += 1;
    },
    produced({ id, ms, reason }) {
      const counts = cellOf(id);
      counts.productions += 1;
      counts.production_ms += ms;
      if (reason === 'stale' || reason === 'older' || reason === 'contended') counts[reason] += 1;
      else if (reason === 'epoch') counts.other_epoch += 1;
    },
  };

  return {
    observe(event, payload) {
      // By far the most.
      if (event === 'hit') onHit(payload as CacheEvents['hit'][0]);
      else observers[event]?.(payload);
    },
    take() {
      const taken: ReportedActivity[] = [];
      for (const cell of changed) {
        if (taken.length >= TAKEN_AT_ONCE) break;
        changed.delete(cell);
        cell.isChanged = false;
        const counts = Object.fromEntries(Object.entries(cell.counts).filter(([, value]) => value > 0));
        taken.push({ realm: cell.realm, kind: cell.kind, counts });
        add(cell.taken, cell.counts);
        cell.counts = nothing();
      }
      return taken;
    },
    totals() {
      const all = [...cells.values()].flatMap((ofRealm) => [...ofRealm.values()]);
      all.push(...others.values());
      return all.map(({ realm, kind, counts, taken }) => {
        const sum = { ...taken };
        add(sum, counts);
        return { realm, kind, counts: sum };
      });
    },
    get hits() {
      return total.hits;
    },
    get changed() {
      return changed.size > 0;
    },
    minute() {
      const from = ticks[0] as (typeof ticks)[0];
      return { hits: total.hits - from.hits, reads: total.reads - from.reads };
    },
    tick() {
      const now = performance.now();
      ticks.push({ at: now, ...total });
      while (ticks.length > 1 && now - (ticks[1] as (typeof ticks)[0]).at >= MINUTE_MS) ticks.shift();
    },
  };
}

const activities = new WeakMap<object, Activity>();

/** Lets those who observe a cache find what it counts; a cache that wraps another one shares it. */
export function shareActivity(cache: object, activity: Activity): void {
  activities.set(cache, activity);
}

/** @throws ModuleCacheError MC107 for what neither openModuleCache nor a wrapper of this package has made */
export function activityOf(cache: object): Activity {
  const activity = activities.get(cache);
  if (activity !== undefined) return activity;
  throw new ModuleCacheError('MC107', 'not a cache that can be observed', {
    hint: 'Pass what openModuleCache resolved to, or what traceModuleCache made of it.',
  });
}
