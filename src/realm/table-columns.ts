import type { Sql } from 'postgres';
import { only } from '../calls.js';
import { ModuleCacheError } from '../errors.js';
import type { TableOptions } from './table.js';

/** Names as SQL has to spell them. */
export interface FoundTable {
  readonly table: string;
  readonly path: string;
  readonly source: string;
  readonly realm: string | undefined;
  /** When a row was changed; undefined if no column says so. */
  readonly modified: string | undefined;
}

const PATH_NAMES = ['path', 'canonical_path', 'file_path', 'filename', 'name'];
const SOURCE_NAMES = ['source', 'content', 'contents', 'body', 'code', 'text'];
const MODIFIED_NAMES = ['updated_at', 'modified_at'];

interface Column {
  name: string;
  quoted: string;
  type: string;
  isText: boolean;
}

/** @throws ModuleCacheError MC005 or MC107 */
export async function findTable(options: TableOptions): Promise<FoundTable> {
  const { table, columns } = await describeTable(options.sql, options.table);
  const textColumn = (names: readonly string[], given: string | undefined, option: string): string => {
    const candidates = given === undefined ? names : [given];
    const matching = columns.filter(({ name, isText }) => isText && candidates.includes(name));
    if (matching.length === 1) return (matching[0] as Column).quoted;
    const choices = (matching.length > 1 ? matching : columns.filter(({ isText }) => isText)).map(
      (c) => c.name,
    );
    throw new ModuleCacheError('MC107', problemOf(matching.length, given), {
      detail: `table: ${table}, ${option}: ${given ?? candidates.join(' or ')}`,
      hint:
        choices.length === 0
          ? 'No column of this table holds text.'
          : `Pass ${option}, one of: ${choices.join(', ')}.`,
    });
  };
  return {
    table,
    path: textColumn(PATH_NAMES, options.pathColumn, 'pathColumn'),
    source: textColumn(SOURCE_NAMES, options.sourceColumn, 'sourceColumn'),
    realm: options.realmColumn === undefined ? undefined : textColumn([], options.realmColumn, 'realmColumn'),
    // Without a time zone nobody knows which moment it means.
    modified: columns.find(
      ({ name, type }) => MODIFIED_NAMES.includes(name) && type === 'timestamp with time zone',
    )?.quoted,
  };
}

function problemOf(matching: number, given: string | undefined): string {
  if (matching > 1) return 'more than one column of the table could be meant';
  return given === undefined
    ? 'no column of the table could be meant'
    : 'the table has no such column of text';
}

async function describeTable(sql: Sql, name: string): Promise<{ table: string; columns: Column[] }> {
  const named = (await lookUp(sql, name)) ?? (await lookUp(sql, quoted(name)));
  if (named === undefined) {
    throw new ModuleCacheError('MC107', 'no such table', {
      detail: `table: ${name}`,
      hint: 'Name a table or view that this role can see, with its schema if that is not in the search_path.',
    });
  }
  if (named.standby) {
    throw new ModuleCacheError('MC005', 'the server is a standby', {
      hint: 'Connect to the primary: a standby may not have a change yet whose invalidation has been heard.',
    });
  }
  return named;
}

/** Undefined for what names no table. */
async function lookUp(
  sql: Sql,
  name: string,
): Promise<{ table: string; columns: Column[]; standby: boolean } | undefined> {
  try {
    const rows = await sql`
      select
        format('%I.%I', n.nspname, c.relname),
        (
          select json_agg(json_build_object(
            'name', a.attname,
            'quoted', quote_ident(a.attname),
            'type', format_type(a.atttypid, null),
            'isText', t.typcategory = 'S') order by a.attnum)
          from pg_catalog.pg_attribute a
          join pg_catalog.pg_type t on t.oid = a.atttypid
          where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        )::text,
        pg_is_in_recovery()::text
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.oid = to_regclass(${name}::text) and c.relkind in ('r', 'p', 'v', 'm', 'f')`.values();
    if (rows.length === 0) return undefined;
    const [table, columns, standby] = only(rows);
    return { table: table as string, columns: JSON.parse(columns ?? '[]'), standby: standby === 'true' };
  } catch (error) {
    // What is no name (invalid_name, which PostgreSQL 16 and later return null for), or has too many parts.
    if (['42602', '42601', '0A000'].includes((error as { code?: string }).code ?? '')) return undefined;
    throw error;
  }
}

/** The parts of a name, each quoted as it stands. */
const quoted = (name: string): string =>
  name
    .split('.')
    .map((part) => `"${part.replaceAll('"', '""')}"`)
    .join('.');
