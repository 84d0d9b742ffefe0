import type { Sql } from 'postgres';

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

/** Garbage collection as it is after a long while: no cursor of before reaches back. */
export async function loseTheLog(sql: Sql): Promise<void> {
  await sql`insert into module_cache._floors select epoch, pg_current_xact_id() from module_cache._epoch()`;
  await sql`delete from module_cache._invalidations`;
}
