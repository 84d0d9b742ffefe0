import { type ColumnType, Kysely } from 'kysely';
import { PostgresJSDialect } from 'kysely-postgres-js';
import type { Sql } from 'postgres';
import type { Headers } from './types.js';

/** Rows of the views, as postgres.js delivers them: `bigint` and `xid8` are strings, never numbers. */
export interface Database {
  'module_cache.artifacts': ArtifactsView;
  'module_cache.tombstones': TombstonesView;
  'module_cache.invalidations': InvalidationsView;
  'module_cache.private_realms': PrivateRealmsView;
  'module_cache.tracked_tables': TrackedTablesView;
  'module_cache.peers': PeersView;
  'module_cache.claims': ClaimsView;
  'module_cache.stats': StatsView;
}

type ReadOnly<T> = ColumnType<T, never, never>;

export interface ArtifactsView {
  realm_url: ReadOnly<string>;
  canonical_path: ReadOnly<string>;
  kind: ReadOnly<string>;
  variant: ReadOnly<string>;
  status: ReadOnly<'live' | 'error' | 'dead'>;
  generation: ReadOnly<string | null>;
  /** Of the body. */
  bytes: ReadOnly<number>;
  created_at: ReadOnly<Date>;
  expires_at: ReadOnly<Date | null>;
  dependency_keys: ReadOnly<string[]>;
  headers: ReadOnly<Headers>;
  body: ReadOnly<string>;
  /** Transaction that stored the body. */
  put_xid: ReadOnly<string>;
}

export interface TombstonesView {
  realm_url: ReadOnly<string>;
  canonical_path: ReadOnly<string>;
  generation: ReadOnly<string>;
  invalidated_at: ReadOnly<Date | null>;
}

export interface InvalidationsView {
  invalidated_at: ReadOnly<Date>;
  xid: ReadOnly<string>;
  /** `closed`: a realm that became private, or was made to be forgotten again. */
  scope: ReadOnly<'module' | 'realm' | 'global' | 'closed'>;
  realm_url: ReadOnly<string | null>;
  named_paths: ReadOnly<string[]>;
  /** How many modules it reached. */
  modules: ReadOnly<number>;
  canonical_paths: ReadOnly<string[]>;
  /** Named paths that can name no module. */
  ignored: ReadOnly<string>;
  role_name: ReadOnly<string>;
  application_name: ReadOnly<string>;
  client_address: ReadOnly<string | null>;
  backend_pid: ReadOnly<number>;
}

/** Of realms that the role of the connection may read. */
export interface PrivateRealmsView {
  realm_url: ReadOnly<string>;
  role_name: ReadOnly<string>;
  /** False if there is no such role any more. */
  has_role: ReadOnly<boolean>;
}

export interface TrackedTablesView {
  /** With its schema where the `search_path` does not lead to it, and quoted where SQL wants that. */
  source: ReadOnly<string>;
  /** Null if each row names its realm. */
  realm_url: ReadOnly<string | null>;
  path_column: ReadOnly<string>;
  realm_column: ReadOnly<string | null>;
  /** The table with its partitions or children. */
  tables: ReadOnly<string>;
  /** What another `track_table` would mend. */
  problem: ReadOnly<string | null>;
}

/** Intervals are text, as Postgres writes them. */
export interface PeersView {
  name: ReadOnly<string | null>;
  status: ReadOnly<'listening' | 'polling' | 'silent'>;
  /** Transactions of the log that it may not have applied yet. */
  behind: ReadOnly<string>;
  /** How long ago the first of them invalidated. */
  lag: ReadOnly<string>;
  /** Percent of its reads in the last minute that memory answered; null without any. */
  hit_rate: ReadOnly<string | null>;
  reads: ReadOnly<string | null>;
  /** Artifacts in memory. */
  entries: ReadOnly<string | null>;
  bytes: ReadOnly<string | null>;
  silent_for: ReadOnly<string>;
  version: ReadOnly<string | null>;
  since: ReadOnly<Date | null>;
  host: ReadOnly<string | null>;
  process_id: ReadOnly<number | null>;
  role_name: ReadOnly<string>;
  application_name: ReadOnly<string>;
  client_address: ReadOnly<string | null>;
  backend_pid: ReadOnly<number>;
}

export interface ClaimsView {
  age: ReadOnly<string>;
  /** The peer, or the application_name of a session that is none. */
  producer: ReadOnly<string>;
  realm_url: ReadOnly<string>;
  canonical_path: ReadOnly<string>;
  /** Peers that have waited for more than a second. */
  waiting: ReadOnly<number>;
  kind: ReadOnly<string>;
  variant: ReadOnly<string>;
  since: ReadOnly<Date>;
  backend_pid: ReadOnly<number>;
  waiting_peers: ReadOnly<string[]>;
}

export interface StatsView {
  /** Null for what is beyond the realms and kinds that a process counts apart. */
  realm_url: ReadOnly<string | null>;
  /** Null for a realm that was only invalidated. */
  kind: ReadOnly<string | null>;
  artifacts: ReadOnly<string>;
  /** Of the stored bodies. */
  bytes: ReadOnly<string>;
  hits: ReadOnly<string>;
  misses: ReadOnly<string>;
  productions: ReadOnly<string>;
  coalesced: ReadOnly<string>;
  rejected: ReadOnly<string>;
  failures: ReadOnly<string>;
  invalidations: ReadOnly<string>;
  l1_hits: ReadOnly<string>;
  l2_hits: ReadOnly<string>;
  /** Ms that the productions took together; null without any. */
  production_ms: ReadOnly<number | null>;
  /** How often `put` answered what. */
  rejected_by: ReadOnly<Partial<Record<'stale' | 'epoch' | 'older' | 'contended', number>>>;
}

/** Typed queries over the operators' views. Closing it does not close `sql`. */
export function openKysely(sql: Sql): Kysely<Database> {
  return new Kysely<Database>({ dialect: new PostgresJSDialect({ postgres: sql }) });
}
