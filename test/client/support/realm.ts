import type { Sql } from 'postgres';
import { until } from '../../support/wait.js';

/** What a deployment or an editor does in a session of its own, beside every cache. */
export async function invalidate(sql: Sql, realm: string, ...paths: string[]): Promise<void> {
  await sql`select module_cache.invalidate(${realm}, ${paths})`;
}

/** Nobody is told: only the log can tell. */
export async function invalidateSilently(sql: Sql, realm: string, ...paths: string[]): Promise<void> {
  await sql.begin(async (tx) => {
    await tx`set local module_cache.notify = off`;
    await tx`select module_cache.invalidate(${realm}, ${paths})`;
  });
}

/** What is stored, whether live or not. */
export async function stored(
  sql: Sql,
  realm: string,
): Promise<{ path: string; status: string; body: string }[]> {
  return sql`
    select canonical_path as path, status, body
    from module_cache.artifacts where realm_url = ${realm} order by canonical_path`;
}

/**
 * Garbage collection as it is after a long while: no cursor of before reaches back. Returns once those of after do:
 * transactions that were running, of whatever database of the server, have ended.
 */
export async function loseTheLog(sql: Sql): Promise<void> {
  const [row] = await sql`
    insert into module_cache._floors select epoch, pg_current_xact_id() from module_cache._epoch() returning floor::text`;
  await sql`delete from module_cache._invalidations`;
  await until(
    async () => {
      const [now] =
        await sql`select pg_snapshot_xmin(pg_current_snapshot()) >= ${row?.floor}::text::xid8 as past`;
      return now?.past === true;
    },
    { timeoutMs: 60_000, what: 'the transactions that were running have ended' },
  );
}
