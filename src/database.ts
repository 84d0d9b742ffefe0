import { type ColumnType, Kysely } from 'kysely';
import { PostgresJSDialect } from 'kysely-postgres-js';
import type { Sql } from 'postgres';
import type { Headers } from './types.js';

/** Rows of the views, as postgres.js delivers them: `bigint` and `xid8` are strings, never numbers. */
export interface Database {
  'module_cache.artifacts': ArtifactsView;
  'module_cache.tombstones': TombstonesView;
  'module_cache.invalidations': InvalidationsView;
  'module_cache.tracked_tables': TrackedTablesView;
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
  scope: ReadOnly<'module' | 'realm' | 'global'>;
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

/** Typed queries over the operators' views. Closing it does not close `sql`. */
export function openKysely(sql: Sql): Kysely<Database> {
  return new Kysely<Database>({ dialect: new PostgresJSDialect({ postgres: sql }) });
}
