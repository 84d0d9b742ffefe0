import type { Sql } from 'postgres';
import { ModuleCacheError } from '../errors.js';
import { connectForMigration } from './connect.js';
import { committedMigrations } from './files.js';
import { type InstalledState, ROLES, readInstalledState } from './history.js';

export interface UninstallOptions {
  /** Without it the `PG*` environment variables tell. */
  databaseUrl?: string;
  /** Says what would go and what would stay, and changes nothing. */
  dryRun?: boolean;
}

export interface UninstallResult {
  /** What is gone, for example `triggers of table files` or `schema module_cache 0.2.0`; empty if there was nothing. */
  readonly removed: readonly string[];
  /** What stays, because somebody else uses it, and why. */
  readonly kept: readonly { readonly what: string; readonly because: string }[];
}

/** Uninstalling waits this long for transactions that use the cache or a tracked table, and meanwhile holds up those that come after. */
const LOCK_TIMEOUT_MS = 5_000;

/**
 * Takes everything out again, in one transaction: the triggers of tracked tables, the schema or extension, the history
 * of its migrations, and the three roles as far as nobody else uses them. Nothing is lost that cannot be made again.
 *
 * @throws ModuleCacheError MC004 if the schema is not ours, if something outside of it depends on it, if it is in use,
 *   or if the role may not drop it; and the errors of postgres.js if the database cannot be reached
 */
export async function uninstall(options: UninstallOptions = {}): Promise<UninstallResult> {
  const sql = await connectForMigration(options.databaseUrl);
  try {
    await sql`begin`;
    await sql.unsafe(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`);
    const result = await removeAll(sql, await readInstalledState(sql));
    await (options.dryRun ? sql`rollback` : sql`commit`);
    return result;
  } finally {
    // Ends a transaction that failed as well.
    await sql.end({ timeout: 1 });
  }
}

async function removeAll(sql: Sql, state: InstalledState): Promise<UninstallResult> {
  const removed: string[] = [];
  const kept: { what: string; because: string }[] = [];
  if (state.schema !== null) {
    if (state.schema.version === null) throw foreignSchema();
    for (const table of await listTrackedTables(sql)) {
      await change(sql, `select module_cache.untrack_table(${table.oid}::regclass)`);
      removed.push(`triggers of table ${table.name}`);
    }
    const dependents = await listDependents(sql);
    if (dependents.length > 0) throw stillNeeded(dependents);
    await change(
      sql,
      `drop ${state.schema.extension ? 'extension module_cache' : 'schema module_cache cascade'}`,
    );
    removed.push(`${state.schema.extension ? 'extension' : 'schema'} module_cache ${state.schema.version}`);
  }
  if (state.history.length > 0) {
    const ours = new Set(committedMigrations().map(({ hash }) => hash));
    if (state.history.every((hash) => ours.has(hash))) {
      await change(sql, 'drop schema graphile_migrate cascade');
      removed.push('schema graphile_migrate');
    } else {
      kept.push({
        what: 'schema graphile_migrate',
        because: 'it holds migrations that are not ours, or newer',
      });
    }
  }
  for (const role of await existingRoles(sql)) {
    const because = await whyKept(sql, role);
    if (because === undefined) removed.push(`role ${role}`);
    else kept.push({ what: `role ${role}`, because });
  }
  return { removed, kept };
}

async function change(sql: Sql, statement: string): Promise<void> {
  try {
    await sql.unsafe(statement);
  } catch (cause) {
    const { code, message, detail } = cause as Error & { code?: string; detail?: string };
    if (code === '55P03') {
      throw new ModuleCacheError('MC004', 'the schema is in use', {
        detail: `transactions that use the cache did not end within ${LOCK_TIMEOUT_MS} ms`,
        hint: 'Stop the processes that use the cache, and run it again; nothing was removed.',
        cause,
      });
    }
    throw new ModuleCacheError('MC004', 'the schema could not be removed', {
      detail: detail ? `${message}: ${detail}` : message,
      hint: 'Its owner or an administrator can remove it; nothing was removed.',
      cause,
    });
  }
}

/** Partitions are taken along with their parents. The first release could not track. */
async function listTrackedTables(sql: Sql): Promise<{ oid: number; name: string }[]> {
  const [found] = await sql<{ view: boolean }[]>`
    select to_regclass('module_cache.tracked_tables') is not null as view`;
  if (!found?.view) return [];
  return sql<{ oid: number; name: string }[]>`
    select source::oid as oid, source::text as name from module_cache.tracked_tables order by name`;
}

/** What others have built on top: views, columns, functions and triggers outside of the schema. */
async function listDependents(sql: Sql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    with ours (classid, objid) as (
      select 'pg_class'::regclass, oid from pg_class where relnamespace = 'module_cache'::regnamespace
      union all
      select 'pg_proc'::regclass, oid from pg_proc where pronamespace = 'module_cache'::regnamespace
      union all
      select 'pg_type'::regclass, oid from pg_type where typnamespace = 'module_cache'::regnamespace
    ), users as (
      select d.classid, d.objid, d.objsubid, coalesce(r.ev_class, a.adrelid, t.tgrelid, k.conrelid) as relation
      from pg_depend d
      join ours o on o.classid = d.refclassid and o.objid = d.refobjid
      left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
      left join pg_attrdef a on d.classid = 'pg_attrdef'::regclass and a.oid = d.objid
      left join pg_trigger t on d.classid = 'pg_trigger'::regclass and t.oid = d.objid
      left join pg_constraint k on d.classid = 'pg_constraint'::regclass and k.oid = d.objid
      where d.deptype in ('n', 'a')
    )
    select distinct
      coalesce(
        pg_describe_object('pg_class'::regclass, nullif(u.relation, 0), 0),
        pg_describe_object(u.classid, u.objid, u.objsubid)) as name
    from users u
    where (u.classid, u.objid) not in (select classid, objid from ours)
      and not exists (select from ours o where o.classid = 'pg_class'::regclass and o.objid = u.relation)
      and u.classid <> 'pg_extension'::regclass
    order by 1`;
  return rows.map(({ name }) => name);
}

async function existingRoles(sql: Sql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select rolname::text as name from pg_roles where rolname = any (string_to_array(${ROLES.join()}, ',')) order by 1`;
  return rows.map(({ name }) => name);
}

/** Drops the role; or tells who else needs it. */
async function whyKept(sql: Sql, role: string): Promise<string | undefined> {
  // Since Postgres 16 who creates a role becomes a member of it.
  const members = await sql<{ name: string }[]>`
    select m.member::regrole::text as name
    from pg_auth_members m
    where m.roleid = ${role}::text::regrole and m.member <> current_user::regrole
    order by 1`;
  if (members.length > 0) return `its members are ${members.map(({ name }) => name).join(', ')}`;
  await sql`savepoint role`;
  try {
    await sql.unsafe(`drop role ${role}`);
    await sql`release savepoint role`;
    return undefined;
  } catch (error) {
    await sql`rollback to savepoint role`;
    const { code, message } = error as Error & { code?: string };
    if (code === '2BP01') return 'it has rights elsewhere, for example in another database with this schema';
    if (code === '42501') return 'this user may not drop it';
    return message;
  }
}

const foreignSchema = (): ModuleCacheError =>
  new ModuleCacheError('MC004', 'the schema module_cache holds something else', {
    detail: 'there is a schema of that name without a function module_cache.schema_version()',
    hint: 'It is not removed, because it is not ours.',
  });

const stillNeeded = (dependents: readonly string[]): ModuleCacheError =>
  new ModuleCacheError('MC004', 'something outside of the schema depends on it', {
    detail: dependents.join(', '),
    hint: 'Drop that first; nothing was removed.',
  });
