import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Connection } from './connection.js';
import { ModuleCacheError } from './errors.js';
import { isText } from './keys.js';
import type { ReadOptions } from './types.js';

export interface ModuleCacheOptions {
  /** A URL, postgres.js options, or an existing postgres.js instance, which stays the caller's. */
  connection: Connection;
  /**
   * Where the dedicated connection goes: not through a pooler in transaction mode. `connection` unless given. The
   * process opens exactly one dedicated connection besides its pool.
   */
  listenConnection?: Connection;
  /** Bound of the memory cache in bytes; 64 MB unless given. */
  l1?: { maxBytes?: number };
  /** Nothing in memory is served for longer than this after the last completed catch-up began; 5,000 unless given. */
  maxStalenessMs?: number;
  /**
   * For how long after that memory is still served while the database is away, to bounded reads, with `staleMs` in the
   * answer; 0 unless given.
   */
  graceMs?: number;
  /**
   * What `getOrProduce` does while the database is away: fail with MC108, or have the producer work here, for this
   * process only and without keeping the result. `fail` unless given: without the database each process of a fleet
   * produces for itself.
   */
  withoutDatabase?: 'fail' | 'produce';
  /** A read that the database has not answered for so long fails with MC108; 10,000 unless given. */
  callTimeoutMs?: number;
  /** How often the log is asked: 1,000 with notifications, 250 without, unless given. */
  heartbeatMs?: number;
  /** `log`: nothing notifies, every peer asks the log at each heartbeat. */
  broadcast?: 'notify' | 'log';
  /** Longest wait of a call; 180,000 unless given. */
  deadlineMs?: number;
  /** How long a call waits for another producer before it produces without a claim; 30,000 unless given. */
  claimPatienceMs?: number;
  /**
   * One process of the fleet, elected among those that do not say `false`, removes what nobody needs any more: every
   * `everyMs` (60,000), what is older than `keepMs` (300,000, at least 60,000) and needed by no process, and what is
   * older than `keepAtMostMs` (a day, at least an hour) in any case. Only its own numbers count.
   */
  garbage?: false | { everyMs?: number; keepMs?: number; keepAtMostMs?: number };
  /**
   * Checks a share of the answers from memory against the database, and tells of it with the event `rechecked`: one in
   * 1 / `share` (0.0001 unless given) of them, and at most `perSecond` (5). Not done unless given.
   */
  staleness?: { share?: number; perSecond?: number };
  /** Shown to operators; host and process id unless given. */
  name?: string;
}

/**
 * The options with their defaults.
 *
 * @throws ModuleCacheError MC107 for what cannot be used
 */
export function checkOptions(options: ModuleCacheOptions) {
  const { connection } = options ?? {};
  // An unset DATABASE_URL must not lead to whatever server happens to run here.
  if (!connection || !['string', 'object', 'function'].includes(typeof connection)) {
    throw misuse(
      `connection is ${JSON.stringify(connection)}`,
      'Pass a URL such as postgres://user:password@host/database, options of postgres.js, or an instance of it.',
    );
  }
  const broadcast = options.broadcast ?? 'notify';
  const settings = {
    broadcast,
    maxBytes: Math.floor(options.l1?.maxBytes ?? 64_000_000),
    maxStalenessMs: options.maxStalenessMs ?? 5_000,
    heartbeatMs: options.heartbeatMs ?? (broadcast === 'log' ? 250 : 1_000),
    graceMs: options.graceMs ?? 0,
    withoutDatabase: options.withoutDatabase ?? 'fail',
    callTimeoutMs: options.callTimeoutMs ?? 10_000,
    deadlineMs: options.deadlineMs ?? 180_000,
    claimPatienceMs: options.claimPatienceMs ?? 30_000,
    name: options.name ?? `pg-module-cache ${hostname()} ${process.pid} ${randomUUID().slice(0, 4)}`,
  };
  const { maxBytes, maxStalenessMs, graceMs, withoutDatabase, callTimeoutMs } = settings;
  const { heartbeatMs, deadlineMs, claimPatienceMs } = settings;
  for (const [name, value] of Object.entries({
    maxBytes,
    maxStalenessMs,
    callTimeoutMs,
    heartbeatMs,
    deadlineMs,
    claimPatienceMs,
  })) {
    if (!(Number.isFinite(value) && value > 0))
      throw misuse(`${name} is ${value}`, 'Pass a positive number.');
  }
  if (heartbeatMs >= maxStalenessMs) {
    throw misuse(
      `heartbeatMs ${heartbeatMs}, maxStalenessMs ${maxStalenessMs}`,
      'Memory could never be served between two heartbeats: make maxStalenessMs larger than heartbeatMs.',
    );
  }
  if (!(Number.isFinite(graceMs) && graceMs >= 0)) {
    throw misuse(`graceMs is ${String(graceMs)}`, 'Pass a number of milliseconds, or 0 for none.');
  }
  if (withoutDatabase !== 'fail' && withoutDatabase !== 'produce') {
    throw misuse(`withoutDatabase is ${String(withoutDatabase)}`, 'Pass "fail" or "produce".');
  }
  const garbage = checkGarbage(options.garbage);
  const staleness = checkStaleness(options.staleness);
  if (typeof settings.name !== 'string' || !isText(settings.name)) {
    throw misuse(`name is ${String(settings.name)}`, 'Pass text without NUL.');
  }
  if (broadcast !== 'notify' && broadcast !== 'log') {
    throw misuse(`broadcast is ${String(broadcast)}`, 'Pass "notify" or "log".');
  }
  return { ...settings, garbage, staleness };
}

function checkStaleness(staleness: ModuleCacheOptions['staleness']) {
  if (staleness === undefined) return undefined;
  const { share = 0.0001, perSecond = 5 } = staleness;
  if (!(share > 0 && share <= 1))
    throw misuse(`staleness.share is ${share}`, 'Pass a number above 0, at most 1.');
  if (!(perSecond >= 1 && perSecond <= 1_000)) {
    throw misuse(`staleness.perSecond is ${perSecond}`, 'Pass a number from 1 to 1,000.');
  }
  return { share, perSecond };
}

const MINUTE = 60_000;
const MOST = 365 * 24 * 60 * MINUTE;

function checkGarbage(garbage: ModuleCacheOptions['garbage']) {
  if (garbage === false) return undefined;
  const { everyMs = MINUTE, keepMs = 5 * MINUTE, keepAtMostMs = 24 * 60 * MINUTE } = garbage ?? {};
  const limits = [
    ['everyMs', everyMs, 1, 24 * 60 * MINUTE],
    ['keepMs', keepMs, MINUTE, MOST],
    ['keepAtMostMs', keepAtMostMs, Math.max(keepMs, 60 * MINUTE), MOST],
  ] as const;
  for (const [name, value, least, most] of limits) {
    if (!(Number.isFinite(value) && value >= least && value <= most)) {
      throw misuse(`garbage.${name} is ${value}`, `Pass a number of ms from ${least} to ${most}.`);
    }
  }
  return { everyMs, keepMs, keepAtMostMs };
}

function misuse(detail: string, hint: string): ModuleCacheError {
  return new ModuleCacheError('MC107', 'an option of openModuleCache cannot be used', { detail, hint });
}

/** @throws ModuleCacheError MC003 */
export function checkRead({ consistency, after, signal, deadlineMs, claimPatienceMs }: ReadOptions): void {
  if (consistency !== undefined && consistency !== 'bounded' && consistency !== 'strong') {
    throw wrongShape(`consistency is ${String(consistency)}`, 'Pass "bounded" or "strong".');
  }
  if (after !== undefined && typeof after !== 'string') {
    throw wrongShape('after is no text', 'Pass a token exactly as invalidate returned it.');
  }
  if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
    throw wrongShape('signal is no AbortSignal', 'Pass the signal of an AbortController.');
  }
  if (deadlineMs !== undefined && !(deadlineMs > 0)) {
    throw wrongShape(`deadlineMs is ${String(deadlineMs)}`, 'Pass a positive number of milliseconds.');
  }
  if (claimPatienceMs !== undefined && !(claimPatienceMs > 0)) {
    throw wrongShape(
      `claimPatienceMs is ${String(claimPatienceMs)}`,
      'Pass a positive number of milliseconds.',
    );
  }
}

export function wrongShape(detail: string, hint: string): ModuleCacheError {
  return new ModuleCacheError('MC003', 'an argument cannot be used', { detail, hint });
}
