import type { Change } from './calls.js';
import * as calls from './calls.js';
import type { CacheEmitter } from './events.js';
import type { Journal } from './journal.js';
import { coversOfRealm, GLOBAL_COVER, moduleCover, normalizeRealm, PRIVATE_COVER } from './keys.js';
import type { L1 } from './l1.js';
import type { Session } from './session.js';
import { isVisible, parseCoherenceToken, parseSnapshotToken, type SeenUpTo } from './snapshot.js';

/**
 * Keeps the memory of this process coherent (DESIGN.md section 3): notifications are hints, the log is what counts.
 * The cursor says up to where the log was applied; how long ago that began decides whether memory may be served.
 */
export interface Coherence {
  /** True while the last completed catch-up began less than `maxStalenessMs` ago. */
  isFresh(): boolean;
  /** Ms since the last completed catch-up began, by the clock that says more; infinite before the first. */
  ageMs(): number;
  /** The life that entries in memory have to be of; undefined before the first catch-up. */
  life(): string | undefined;
  /** Asks the log. Resolves to whether it could be asked; a catch-up that began before this call does not count. */
  catchUp(): Promise<boolean>;
  /** True once the cursor has seen the transaction that the token names; false if only a strong read can tell. */
  satisfies(token: string): Promise<boolean>;
  /** What the last completed catch-up has seen; undefined before the first. */
  seen(): SeenUpTo | undefined;
  /** The newest transaction that the log has shown to have invalidated; a later one if it may hold more. */
  newestInvalidation(): bigint;
  /** The coherence token of an answer that comes from this snapshot, and still holds at the cursor. */
  tokenOf(seen: SeenUpTo): string;
  /** Applies an invalidation that this process knows to be committed; an `x` in it is of this `life`. */
  apply(change: Change): void;
  onNotification(payload: string): void;
  onConnected(): void;
  start(): Promise<void>;
  stop(): void;
}

export interface CoherenceOptions {
  session(): Session;
  l1: L1;
  journal: Journal;
  events: CacheEmitter;
  heartbeatMs: number;
  maxStalenessMs: number;
  /** Called for each applied invalidation, after memory dropped what it covers. */
  onApplied(covers: readonly string[], xid: bigint | undefined): void;
  onDroppedAll(): void;
}

/**
 * How many notifications are taken one by one within a second; past that the log is asked instead, once for all that
 * come meanwhile. Anybody who can log in can send them, in any number and with any transaction in them.
 */
const PER_SECOND = { byHand: 50, ofTransactions: 1_000 };
/** How often the log is asked at most because of more. */
const OVERFLOW_MS = 50;
/** How many invalidations are remembered so that each is announced once. */
const RECENT = 1_000;

export function createCoherence(options: CoherenceOptions): Coherence {
  const { l1, journal, events } = options;
  const askTimeoutMs = Math.min(Math.max(options.maxStalenessMs, 2_000), 10_000);
  let cursor: { text: string; seen: SeenUpTo } | undefined;
  let freshUntil = { monotonic: Number.NEGATIVE_INFINITY, wall: Number.NEGATIVE_INFINITY };
  let running: Promise<boolean> | undefined;
  let queued: Promise<boolean> | undefined;
  let heartbeat: NodeJS.Timeout | undefined;
  let overflow: NodeJS.Timeout | undefined;
  let newest = 0n;
  let stopped = false;
  let reconnected = false;
  const recent = new Set<string>();
  let budget = { since: 0, byHand: 0, ofTransactions: 0 };

  /** The log repeats what notifications have told, and this process hears its own. */
  function announced(change: Change): boolean {
    if (change.x === undefined) return false;
    const name = [change.x, change.k, change.r, change.m?.[0]].join(' ');
    if (recent.has(name)) return true;
    recent.add(name);
    if (recent.size > RECENT) recent.delete(recent.values().next().value as string);
    return false;
  }

  function dropAll(reason: string): void {
    l1.clear();
    journal.recordDropAll();
    options.onDroppedAll();
    events.emit('dropped', { reason });
  }

  /** @param sameLife whether its transaction is known to be of the life that memory is of */
  function apply(change: Change, sameLife: boolean): void {
    if (change.k === 'log') {
      void catchUp();
      return;
    }
    const xid = change.x === undefined || !sameLife ? undefined : BigInt(change.x);
    const covers = coversOfChange(change);
    journal.record(covers, xid);
    const dropped = l1.drop(covers, xid);
    options.onApplied(covers, xid);
    if (!announced(change)) {
      events.emit('invalidated', {
        scope: change.k,
        dropped,
        ...(change.r === undefined ? {} : { realm: change.r }),
        ...(change.m === undefined ? {} : { paths: change.m }),
        ...(change.x === undefined ? {} : { xid: change.x }),
      });
    }
  }

  async function ask(): Promise<boolean> {
    const began = { monotonic: performance.now(), wall: Date.now() };
    const row = await options
      .session()
      .run((sql) => calls.changesSince(sql, cursor?.text ?? null), askTimeoutMs);
    if (stopped || row.cursor === null) return false;
    if (row.complete) for (const change of row.changes) apply(change, true);
    else dropAll(cursor === undefined ? 'start' : 'the log does not reach back to the cursor');
    const seen = parseSnapshotToken(row.cursor);
    if (!row.complete) newest = seen.snapshot.xmax;
    for (const { x = '0' } of row.changes) if (BigInt(x) > newest) newest = BigInt(x);
    cursor = { text: row.cursor, seen };
    freshUntil = {
      monotonic: began.monotonic + options.maxStalenessMs,
      wall: began.wall + options.maxStalenessMs,
    };
    const answered = {
      changes: row.changes.length,
      complete: row.complete,
      ms: performance.now() - began.monotonic,
    };
    events.emit('asked', answered);
    if (reconnected || !row.complete) {
      reconnected = false;
      events.emit('caught-up', answered);
    }
    return true;
  }

  const askQuietly = (): Promise<boolean> =>
    ask().catch((error) => {
      if (!stopped) events.emit('warning', { message: 'the log could not be asked', error });
      return false;
    });

  function catchUp(): Promise<boolean> {
    if (stopped) return Promise.resolve(false);
    if (running === undefined) {
      running = askQuietly().finally(() => {
        running = undefined;
      });
      return running;
    }
    // Whoever asks now needs an answer that begins after now; all of them share it.
    queued ??= running.then(() => {
      queued = undefined;
      return catchUp();
    });
    return queued;
  }

  function scheduleHeartbeat(): void {
    if (stopped) return;
    heartbeat = setTimeout(() => {
      void catchUp().finally(scheduleHeartbeat);
    }, options.heartbeatMs);
  }

  function mayTake(kind: keyof typeof PER_SECOND): boolean {
    const now = performance.now();
    if (now - budget.since > 1000) budget = { since: now, byHand: 0, ofTransactions: 0 };
    budget[kind] += 1;
    return budget[kind] <= PER_SECOND[kind];
  }

  return {
    isFresh: () => performance.now() < freshUntil.monotonic && Date.now() < freshUntil.wall,
    ageMs() {
      const monotonic = performance.now() - freshUntil.monotonic;
      return options.maxStalenessMs + Math.max(monotonic, Date.now() - freshUntil.wall);
    },
    life: () => cursor?.seen.life,
    seen: () => cursor?.seen,
    newestInvalidation: () => newest,
    catchUp,
    async satisfies(token) {
      const { life, xid } = parseCoherenceToken(token);
      const seen = (): boolean => cursor?.seen.life === life && isVisible(xid, cursor.seen.snapshot);
      if (seen()) return true;
      await catchUp();
      return seen();
    },
    tokenOf(seen) {
      // The later of both, so that a client which passes on what it got last never goes back.
      if (cursor === undefined || cursor.seen.life !== seen.life) return seen.token;
      return cursor.seen.snapshot.xmax >= seen.snapshot.xmax ? cursor.seen.token : seen.token;
    },
    apply: (change) => apply(change, true),
    onNotification(payload) {
      const change = parseChange(payload);
      if (change === undefined) {
        if (!mayTake('byHand')) return;
        events.emit('warning', { message: `a malformed notification was ignored: ${payload.slice(0, 200)}` });
      } else if (mayTake(change.x === undefined ? 'byHand' : 'ofTransactions')) {
        // The server that is there again may have been set back, and counts the same ids anew.
        apply(change, !reconnected);
      } else {
        overflow ??= setTimeout(() => {
          overflow = undefined;
          void catchUp();
        }, OVERFLOW_MS);
      }
    },
    onConnected() {
      reconnected = true;
      void catchUp();
    },
    async start() {
      await ask();
      reconnected = false;
      scheduleHeartbeat();
    },
    stop() {
      stopped = true;
      clearTimeout(heartbeat);
      clearTimeout(overflow);
      freshUntil = { monotonic: Number.NEGATIVE_INFINITY, wall: Number.NEGATIVE_INFINITY };
      l1.clear();
    },
  };
}

/** Keys whose entries the change drops. */
export function coversOfChange(change: Change): string[] {
  if (change.k === 'global') return [GLOBAL_COVER];
  if (change.k === 'private') return [PRIVATE_COVER];
  const realm = change.r as string;
  if (change.k === 'realm') return coversOfRealm(realm);
  return [...new Set((change.m ?? []).map((path) => moduleCover(realm, path)))];
}

/** Anybody who can log in can notify, so nothing about a payload is taken for granted. */
export function parseChange(payload: string): Change | undefined {
  let value: unknown;
  try {
    value = JSON.parse(payload);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { k, r, m, x } = value as Record<string, unknown>;
  if (x !== undefined && !(typeof x === 'string' && /^\d{1,20}$/.test(x))) return undefined;
  const xid = x === undefined ? {} : { x };
  if (k === 'global' || k === 'log') return { k, ...xid };
  const realm = typeof r === 'string' ? normalizeRealm(r) : null;
  if (realm === null) return undefined;
  if (k === 'realm') return { k, r: realm, ...xid };
  if (k !== 'module' || !Array.isArray(m) || !m.every((path) => typeof path === 'string')) return undefined;
  return { k, r: realm, m, ...xid };
}
