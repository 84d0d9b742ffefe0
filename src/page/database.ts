import { isAbsence } from '../away.js';
import type { Queryable } from '../calls.js';
import type { Connection } from '../connection.js';
import { ModuleCacheError } from '../errors.js';
import { createLanes } from '../lanes.js';
import { openPool, type Pool } from '../pool.js';
import { type InvalidationRow, MAX_ROWS, type StatsRow } from './messages.js';

/**
 * What the page asks, all of it granted to `module_cache_operator`. Most answers are JSON that Postgres has put together
 * and the browser reads: nothing in between looks into it. They reject with MC108 if the database is away, MC109 if too
 * many questions wait.
 */
export interface PageDatabase {
  /** `{"peers": […], "claims": […]}` as JSON. */
  fleet(): Promise<string>;
  stats(): Promise<StatsRow[]>;
  /** Transactions that invalidated since the cursor, and the next cursor; null starts one. */
  changesSince(cursor: string | null): Promise<Changes>;
  /** The newest of the log, or those of these transactions; the oldest first. */
  invalidations(xids: readonly string[] | null, limit: number): Promise<InvalidationRow[]>;
  artifacts(realm: string, limit: number): Promise<ArtifactRow[]>;
  /** An array of `ExplanationRow` as JSON. */
  explain(realm: string, path: string): Promise<string>;
  /** An array of paths as JSON. */
  search(realm: string, text: string): Promise<string>;
  close(): Promise<void>;
}

export interface Changes {
  readonly cursor: string;
  /** False if what happened since cannot be told. */
  readonly complete: boolean;
  readonly xids: readonly string[];
}

export interface ArtifactRow {
  readonly path: string;
  readonly status: 'live' | 'error' | 'dead';
  readonly dependencies: readonly string[];
}

const TIMEOUT_MS = 10_000;
/** A pool of the page's own is closed when nothing was asked for so long. */
const IDLE_MS = 30_000;
const MAX_WAITING = 50;
const MAX_DEPENDENTS = 500;
const MAX_FOUND = 30;
const MAX_NAMED = 20;
const MAX_REACHED = 50;

export function createPageDatabase(connection: Connection): PageDatabase {
  const lanes = createLanes({ connections: 1, maxWaiting: MAX_WAITING });
  const closing = new Set<Promise<void>>();
  let opening: Promise<Pool> | undefined;
  let idle: NodeJS.Timeout | undefined;
  let asking = 0;
  let closed = false;

  function leave(): Promise<void> {
    const left = opening
      ?.then(
        (pool) => pool.close(),
        () => {},
      )
      .finally(() => closing.delete(left as Promise<void>));
    opening = undefined;
    if (left !== undefined) closing.add(left);
    return Promise.all(closing).then(() => {});
  }

  async function open(): Promise<Pool> {
    if (closed) throw new Error('the page is closed');
    opening ??= openPool(connection, 'module-cache page');
    const opened = opening;
    try {
      return await opened;
    } catch (error) {
      if (opening === opened) opening = undefined;
      throw error;
    }
  }

  /** Everything is text: a pool of its own does not know the types of Postgres. */
  async function ask(query: (sql: Queryable) => Promise<Iterable<unknown>>): Promise<Record<string, string>> {
    clearTimeout(idle);
    asking += 1;
    try {
      const [row] = await lanes.run(async () => (await open()).run(query, TIMEOUT_MS));
      return row as Record<string, string>;
    } catch (error) {
      if (closed || !isAbsence(error)) throw error;
      throw new ModuleCacheError('MC108', 'the database is away', {
        detail: String((error as Error).message || (error as { code?: unknown }).code),
        cause: error,
      });
    } finally {
      asking -= 1;
      if (asking === 0 && !closed) idle = setTimeout(leave, IDLE_MS).unref();
    }
  }
  const askJson = async (query: (sql: Queryable) => Promise<Iterable<unknown>>): Promise<string> =>
    (await ask(query)).json as string;

  return {
    fleet: () =>
      askJson(
        (sql) => sql`
          select json_build_object(
            'peers', coalesce(
              (
                select json_agg(p)
                from (
                  select
                    name, status, behind, extract(epoch from lag) * 1000 as "lagMs", hit_rate as "hitRate", reads,
                    entries, bytes, extract(epoch from silent_for) * 1000 as "silentMs", version, since, host,
                    process_id as "processId", application_name as "applicationName"
                  from module_cache.peers
                  order by name, process_id
                  limit ${MAX_ROWS + 1}) p),
              '[]'),
            'claims', coalesce(
              (
                select json_agg(c)
                from (
                  select
                    realm_url as realm, canonical_path as path, kind, variant, extract(epoch from age) * 1000 as "ageMs",
                    producer, waiting_peers as waiting
                  from module_cache.claims
                  order by since
                  limit ${MAX_ROWS + 1}) c),
              '[]'))::text as json`,
      ),
    stats: async () =>
      JSON.parse(
        await askJson(
          (sql) => sql`
            select coalesce(json_agg(s), '[]')::text as json
            from (
              select
                realm_url as realm, kind, artifacts, bytes, l1_hits as "l1Hits", l2_hits as "l2Hits", misses,
                productions, production_ms as "productionMs", coalesced, rejected, failures, invalidations
              from module_cache.stats
              limit ${MAX_ROWS + 1}) s`,
        ),
      ),
    async changesSince(cursor) {
      const row = await ask(
        (sql) => sql`
          select
            c.cursor,
            c.complete::text as complete,
            (select coalesce(json_agg(distinct e.x), '[]') from jsonb_to_recordset(c.changes) e (x text))::text as xids
          from module_cache.changes_since(${cursor}::text) c`,
      );
      return {
        cursor: row.cursor as string,
        complete: row.complete === 'true',
        xids: JSON.parse(row.xids as string),
      };
    },
    invalidations: async (xids, limit) =>
      JSON.parse(
        await askJson(
          (sql) => sql`
            select coalesce(json_agg(i order by i.at, i.xid), '[]')::text as json
            from (
              select
                concat_ws(' ', l.xid, extract(epoch from l.invalidated_at), l.realm_url) as id, l.invalidated_at as at,
                l.xid::text as xid, l.scope, l.realm_url as realm, l.named_paths[1:${MAX_NAMED}::integer] as named,
                cardinality(l.named_paths) as "namedCount", l.modules,
                l.canonical_paths[1:${MAX_REACHED}::integer] as reached, l.role_name as role,
                l.application_name as "applicationName", host(l.client_address) as address
              from module_cache.invalidations l
              where ${xids === null}::boolean
                or l.xid = any (
                  array(select x::xid8 from jsonb_array_elements_text(${JSON.stringify(xids ?? [])}::text::jsonb) x))
              order by l.invalidated_at desc
              limit ${limit}) i`,
        ),
      ),
    artifacts: async (realm, limit) =>
      JSON.parse(
        await askJson(
          (sql) => sql`
            select coalesce(json_agg(a), '[]')::text as json
            from (
              select p.path, s.status, s.dependencies
              from (
                select canonical_path as path, kind, variant
                from module_cache.artifacts
                where realm_url = ${realm}
                order by canonical_path, kind, variant
                limit ${limit}) p
              cross join lateral (
                -- Whether it is live takes long, and is asked only of those, one by one.
                select o.status, o.dependency_keys as dependencies
                from module_cache.artifacts o
                where (o.realm_url, o.canonical_path, o.kind, o.variant) = (${realm}, p.path, p.kind, p.variant)
                offset 0) s
              order by p.path, p.kind, p.variant) a`,
        ),
      ),
    explain: (realm, path) =>
      askJson(
        (sql) => sql`
          select coalesce(json_agg(e), '[]')::text as json
          from (
            select
              kind, variant, status, reason, dependencies, dependents[1:${MAX_DEPENDENTS}::integer] as dependents,
              cardinality(dependents) as "dependentCount", created_at as "createdAt", expires_at as "expiresAt", bytes
            from module_cache.explain(${realm}, ${path})) e`,
      ),
    search: (realm, text) =>
      askJson(
        (sql) => sql`
          select coalesce(json_agg(f.canonical_path), '[]')::text as json
          from (
            select a.canonical_path
            from module_cache.artifacts a
            where a.realm_url = ${realm} and strpos(lower(a.canonical_path), lower(${text}::text)) > 0
            group by a.canonical_path
            order by strpos(lower(a.canonical_path), lower(${text}::text)), length(a.canonical_path), a.canonical_path
            limit ${MAX_FOUND}) f`,
      ),
    close() {
      closed = true;
      clearTimeout(idle);
      lanes.failAll(new Error('the page is closed'));
      return leave();
    },
  };
}
