/** What the server of the page tells the browser. Times are in ms, instants as ISO 8601 text, sizes in bytes. */

/** Of processes, claims, and counts: if there are more, one more is told. */
export const MAX_ROWS = 500;

/** One row of the view `peers`. */
export interface PeerRow {
  readonly name: string | null;
  readonly status: 'listening' | 'polling' | 'silent';
  /** Transactions of the log that it may not have applied yet. */
  readonly behind: number;
  readonly lagMs: number;
  /** Percent; null without any read in the last minute. */
  readonly hitRate: number | null;
  readonly reads: number | null;
  readonly entries: number | null;
  readonly bytes: number | null;
  readonly silentMs: number;
  readonly version: string | null;
  readonly since: string | null;
  readonly host: string | null;
  readonly processId: number | null;
  readonly applicationName: string | null;
}

/** One row of the view `claims`. */
export interface ClaimRow {
  readonly realm: string;
  readonly path: string;
  readonly kind: string;
  readonly variant: string;
  readonly ageMs: number;
  readonly producer: string;
  readonly waiting: readonly string[];
}

/** One row of the view `stats`. */
export interface StatsRow {
  /** Null for what is beyond the realms and kinds that a process counts apart. */
  readonly realm: string | null;
  /** Null for a realm of which nothing is stored or was read. */
  readonly kind: string | null;
  readonly artifacts: number;
  readonly bytes: number;
  readonly l1Hits: number;
  readonly l2Hits: number;
  readonly misses: number;
  readonly productions: number;
  readonly productionMs: number | null;
  readonly coalesced: number;
  readonly rejected: number;
  readonly failures: number;
  readonly invalidations: number;
}

/** One row of the view `invalidations`. */
export interface InvalidationRow {
  readonly id: string;
  readonly at: string;
  readonly xid: string;
  readonly scope: 'module' | 'realm' | 'global' | 'closed';
  readonly realm: string | null;
  /** The first of what was named. */
  readonly named: readonly string[];
  readonly namedCount: number;
  /** How many modules it reached. */
  readonly modules: number;
  /** The first of them. */
  readonly reached: readonly string[];
  readonly role: string;
  readonly applicationName: string;
  /** Null if the session came by a Unix socket. */
  readonly address: string | null;
}

/** Percent of all answers in the time since the sample before; null if there were none. */
export interface RateSample {
  /** Ms since the epoch, by the clock of the server of the page. */
  readonly at: number;
  /** From the memory of a process. */
  readonly memory: number | null;
  /** From memory or from the database. */
  readonly cache: number | null;
}

export interface Fleet {
  readonly peers: readonly PeerRow[];
  readonly claims: readonly ClaimRow[];
}

/** What is sent as events; a snapshot comes first, and after each reconnection. */
export type Message =
  | {
      readonly type: 'snapshot';
      readonly fleet: Fleet | null;
      readonly stats: readonly StatsRow[] | null;
      readonly samples: readonly RateSample[];
      /** Null before the log has been looked at. */
      readonly invalidations: readonly InvalidationRow[] | null;
      readonly trouble: string | null;
    }
  | { readonly type: 'fleet'; readonly fleet: Fleet }
  | { readonly type: 'stats'; readonly stats: readonly StatsRow[]; readonly sample: RateSample | null }
  | {
      readonly type: 'invalidations';
      readonly invalidations: readonly InvalidationRow[];
      /** More happened than is told here. */
      readonly missed: boolean;
    }
  /** The database cannot be asked, in words; the next `fleet` means that it can again. */
  | { readonly type: 'trouble'; readonly trouble: string };

/** The modules of a realm and their declared dependencies in it. */
export interface RealmGraph {
  readonly realm: string;
  readonly paths: readonly string[];
  /** Of each path, the best of its artifacts. */
  readonly statuses: readonly ModuleStatus[];
  /** Pairs of positions in `paths`: a module and one that it depends on. */
  readonly edges: readonly number[];
  /** There are more modules than are told here. */
  readonly isTruncated: boolean;
}

export type ModuleStatus = 'live' | 'error' | 'dead';

/** What `explain` answers for one kind and variant of a module. */
export interface ExplanationRow {
  readonly kind: string | null;
  readonly variant: string | null;
  readonly status: 'hit' | 'error' | 'tombstone' | 'miss';
  readonly reason: string;
  readonly dependencies: readonly string[] | null;
  readonly dependents: readonly string[];
  readonly dependentCount: number;
  readonly createdAt: string | null;
  readonly expiresAt: string | null;
  readonly bytes: number | null;
}
