import type { Sql } from 'postgres';
import { only } from '../calls.js';
import { ModuleCacheError } from '../errors.js';
import { normalizePath, requireRealm } from '../keys.js';
import { hashOf } from './hash.js';
import { candidatesOf, isModulePath, type ModuleSource, type SourceFile } from './source.js';
import { findTable } from './table-columns.js';

export interface TableOptions {
  /** The primary: a standby may not have a change yet whose invalidation has been heard. Not a transaction. */
  sql: Sql;
  /** As SQL spells it (`app.files`, `"Odd name"`), or just the name. */
  table: string;
  /** Holds canonical paths; found by its name unless given. */
  pathColumn?: string;
  /** Found by its name unless given. A row without a source is no module. */
  sourceColumn?: string;
  /** URL of the realm that the modules are of. */
  realm: string;
  /** Holds the realm's URL, where a table has several. */
  realmColumn?: string;
  /** That triggers invalidate what changes (`module_cache.track_table`). */
  tracked?: boolean;
}

const PAGE = 2_000;

/**
 * The modules of a table or view. Each read is a statement of its own, in a snapshot of its own: what is not committed
 * is not there. Paths in it that are not canonical name no module.
 *
 * @throws ModuleCacheError MC001 for a realm that is none, MC005 for a standby, MC107 if there is no such table, or if
 *   its columns are not there, hold no text or cannot be told apart
 */
export async function openTable(options: TableOptions): Promise<ModuleSource> {
  const { sql } = options;
  const realm = requireRealm(options.realm);
  if (typeof sql !== 'function' || typeof sql.begin !== 'function') {
    throw new ModuleCacheError('MC107', 'sql is no postgres.js instance', {
      hint: 'Pass what postgres() returned, not a transaction: modules are made from committed sources only.',
    });
  }
  const found = await findTable(options);
  const { modified } = found;
  // Names that Postgres has quoted, so that neither a transform of the instance nor an odd name changes them.
  const table = () => sql.unsafe(found.table);
  const path = () => sql.unsafe(`t.${found.path.quoted}::text`);
  const source = () => sql.unsafe(`t.${found.source.quoted}::text`);
  const inRealm = () =>
    found.realm === undefined
      ? sql`true`
      : sql`${sql.unsafe(`t.${found.realm.quoted}::text`)} = ${realm}::text`;
  // Twice, because an index has the column's own collation, and only "C" has no two spellings of one name.
  const isPath = (value: unknown) =>
    sql`${path()} = ${value as string}::text and ${path()} collate "C" = ${value as string}::text
      and ${source()} is not null and ${inRealm()}`;
  const isModule = (name: string): boolean => isModulePath(name) && normalizePath(realm, name) === name;

  /** The only row of a module. */
  function one(rows: readonly unknown[], canonicalPath: string): readonly (string | null | undefined)[] {
    if (rows.length > 1) {
      throw new ModuleCacheError('MC107', 'the table has two sources for one module', {
        detail: `table: ${found.table}, path: ${canonicalPath}`,
        hint: 'Name the column that tells realms apart (realmColumn), or a view that has one row for each module.',
      });
    }
    return rows.length === 0 ? [] : only(rows);
  }

  return {
    isTransactional: options.tracked === true,
    async resolve(requested) {
      const candidates = candidatesOf(requested).filter(isModule);
      if (candidates.length === 0) return undefined;
      const rows = await sql`
        select c.path
        from jsonb_array_elements_text(${JSON.stringify(candidates)}::text::jsonb) with ordinality c (path, place)
        where exists (
          select from ${table()} t
          where ${path()} = c.path and ${path()} collate "C" = c.path and ${source()} is not null and ${inRealm()})
        order by c.place
        limit 1`.values();
      return rows.length === 0 ? undefined : (only(rows)[0] ?? undefined);
    },
    async read(canonicalPath): Promise<SourceFile | undefined> {
      if (!isModule(canonicalPath)) return undefined;
      const date = sql.unsafe(modified === undefined ? 'null::text' : epochMs(`t.${modified.quoted}`));
      const rows = await sql`
        select ${source()}, ${date} from ${table()} t where ${isPath(canonicalPath)} limit 2`.values();
      const [text, changedAt] = one(rows, canonicalPath);
      if (text == null) return undefined;
      const file = { text, hash: hashOf(text) };
      return changedAt == null ? file : { ...file, lastModified: new Date(Number(changedAt)) };
    },
    async *list() {
      for (let last = ''; ; ) {
        const rows = await sql`
          select ${path()} collate "C" as path from ${table()} t
          where ${path()} collate "C" > ${last}::text and ${source()} is not null and ${inRealm()}
          group by 1 order by 1 limit ${String(PAGE)}::text::integer`.values();
        const names = rows.map((row) => row[0] as string);
        for (const name of names) if (isModule(name)) yield name;
        if (names.length < PAGE) return;
        last = names[names.length - 1] as string;
      }
    },
    async stamp(canonicalPath) {
      if (!isModule(canonicalPath)) return undefined;
      const rows = await sql`
        select encode(sha256(convert_to(${source()}, 'UTF8')), 'hex') from ${table()} t where ${isPath(canonicalPath)} limit 2`.values();
      return one(rows, canonicalPath)[0] ?? undefined;
    },
  };
}

/** Null for the ends of time, which no date can hold. */
const epochMs = (column: string): string =>
  `case when isfinite(${column}) then trunc(extract(epoch from ${column}) * 1000)::text end`;
