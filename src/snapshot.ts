import { ModuleCacheError } from './errors.js';

/** A Postgres snapshot: which top-level transactions a reader has seen. */
export interface Snapshot {
  readonly xmin: bigint;
  readonly xmax: bigint;
  /** In progress when the snapshot was taken. */
  readonly xip: ReadonlySet<bigint>;
}

/** What a snapshot token or a cursor says: in which life of the tables, and what had been seen. */
export interface SeenUpTo {
  /** Epoch and server start, opaque. */
  readonly life: string;
  readonly snapshot: Snapshot;
  /** It came with something from a private realm, or for it. */
  readonly isPrivate: boolean;
  /**
   * A coherence token for "not older than this": it names the first transaction that the snapshot knows nothing of.
   * Snapshots of one life are one after the other and their xmax never sinks, so one that has seen this transaction is a
   * later one, and has seen all that this one has. An id further down would not do: a transaction that began earlier
   * may have committed last.
   */
  readonly token: string;
}

/** What a coherence token says: one transaction of one life of the tables. */
export interface TransactionId {
  readonly life: string;
  readonly xid: bigint;
}

const noTransactions: ReadonlySet<bigint> = new Set();
const snapshotToken = /^([0-9a-f]{32}-[0-9a-f]{1,16})\/(\d{1,20}):(\d{1,20}):([\d,]*)(\/private)?$/;
const coherenceToken = /^([0-9a-f]{32}-[0-9a-f]{1,16})@(\d{1,20})$/;

/** @throws ModuleCacheError MC002 for text that is no snapshot token. */
export function parseSnapshotToken(token: string): SeenUpTo {
  const parts = snapshotToken.exec(token);
  if (parts === null) throw notAToken(token, 'get, changes_since');
  const xip = parts[4] as string;
  return {
    life: parts[1] as string,
    token: `${parts[1]}@${parts[3]}`,
    snapshot: {
      xmin: BigInt(parts[2] as string),
      xmax: BigInt(parts[3] as string),
      xip: xip === '' ? noTransactions : new Set(xip.split(',').map(BigInt)),
    },
    isPrivate: parts[5] !== undefined,
  };
}

/** @throws ModuleCacheError MC002 for text that is no coherence token. */
export function parseCoherenceToken(token: string): TransactionId {
  const parts = coherenceToken.exec(token);
  if (parts === null) throw notAToken(token, 'invalidate, coherence_token');
  return { life: parts[1] as string, xid: BigInt(parts[2] as string) };
}

/** The rule of Postgres' `pg_visible_in_snapshot`. */
export function isVisible(xid: bigint, snapshot: Snapshot): boolean {
  if (xid < snapshot.xmin) return true;
  return xid < snapshot.xmax && !snapshot.xip.has(xid);
}

function notAToken(token: string, from: string): ModuleCacheError {
  return new ModuleCacheError('MC002', 'not a token', {
    detail: `token: ${String(token).slice(0, 200)}`,
    hint: `Pass a token exactly as it was returned (${from}).`,
  });
}
