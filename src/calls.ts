import type { Sql, TransactionSql } from 'postgres';
import type { ReportedActivity } from './activity.js';
import { type ArtifactId, isText } from './keys.js';
import type { Headers } from './types.js';

/**
 * The stored functions, one call each: arguments in, row out. Rows come as arrays and nested values as JSON text, so
 * that no transform or type parser of a connection that the user hands in can change them.
 */

export type Queryable = Sql | TransactionSql;

/**
 * The one row of an answer. It is the last one: after an error in the middle of a result postgres.js 3.4 leaves holes
 * at the beginning of the next result on that connection, whoever asked.
 */
export const only = (rows: readonly unknown[]): readonly (string | null | undefined)[] =>
  rows[rows.length - 1] as readonly (string | null | undefined)[];

export interface ReadRow {
  status: 'hit' | 'error' | 'miss';
  body: string;
  headers: Headers;
  dependencyKeys: string[];
  generation: string | null;
  token: string | null;
  /** What is left of its life in ms, null for no end. */
  expiresInMs: number | null;
}

export async function get(sql: Queryable, id: ArtifactId): Promise<ReadRow> {
  const rows = await sql`
    select status, body, headers::text, array_to_json(dependency_keys)::text, generation::text, token,
      (extract(epoch from expires_in) * 1000)::text
    from module_cache.get(${id.realm}, ${id.path}, ${id.kind}, ${id.variant})`.values();
  return readRowOf(only(rows));
}

/**
 * Many reads in one statement, which is one snapshot for all of them: so their tokens differ only in their end, and what
 * they have in common is sent once, because it can be long. Rows come in any order; those that belong here are the last
 * ones (see `only`).
 */
export async function getMany(sql: Queryable, ids: readonly ArtifactId[]): Promise<ReadRow[]> {
  const wanted = ids.map(({ realm, path, kind, variant }) => [realm, path, kind, variant]);
  const rows = await sql`
    select g.status, g.body, g.headers::text, array_to_json(g.dependency_keys)::text, g.generation::text,
      case w.position when 1 then g.token else substring(g.token from '/private$') end,
      (extract(epoch from g.expires_in) * 1000)::text, w.position::text
    from jsonb_array_elements(${JSON.stringify(wanted)}::text::jsonb) with ordinality w (id, position),
      lateral module_cache.get(w.id->>0, w.id->>1, w.id->>2, w.id->>3) g`.values();
  const found = inOrder(rows, ids.length).map(readRowOf);
  const token = found[0]?.token ?? null;
  if (token === null) return found.map((row) => ({ ...row, token }));
  const common = token.replace(/\/private$/, '');
  return found.map((row, index) => ({ ...row, token: index === 0 ? token : common + (row.token ?? '') }));
}

function readRowOf(row: ReturnType<typeof only>): ReadRow {
  const [status, body, headers, keys, generation, token, expires] = row;
  return {
    status: status as ReadRow['status'],
    body: body ?? '',
    headers: headers == null ? {} : JSON.parse(headers),
    dependencyKeys: keys == null ? [] : JSON.parse(keys),
    generation: generation ?? null,
    token: token ?? null,
    expiresInMs: expires == null ? null : Number(expires),
  };
}

/** The last `count` rows of an answer, by the position, from 1, that stands at the end of each. */
function inOrder(rows: readonly unknown[], count: number): ReturnType<typeof only>[] {
  const ordered: ReturnType<typeof only>[] = [];
  for (const row of rows.slice(-count) as ReturnType<typeof only>[]) ordered[Number(row.at(-1)) - 1] = row;
  return ordered;
}

/** What is stored now, with a digest in place of the body. */
export interface DigestRow extends Omit<ReadRow, 'body' | 'expiresInMs'> {
  /** SHA-256 of the body, in hexadecimal digits. */
  digest: string;
}

export async function getDigest(sql: Queryable, id: ArtifactId): Promise<DigestRow> {
  const rows = await sql`
    select status, encode(sha256(convert_to(body, 'UTF8')), 'hex'), headers::text, array_to_json(dependency_keys)::text,
      generation::text, token, null
    from module_cache.get(${id.realm}, ${id.path}, ${id.kind}, ${id.variant})`.values();
  const { body, ...row } = readRowOf(only(rows));
  return { ...row, digest: body };
}

export async function isCurrent(sql: Queryable, id: ArtifactId, token: string): Promise<boolean> {
  const rows = await sql`
    select module_cache.is_current(${id.realm}, ${id.path}, ${id.kind}, ${id.variant}, ${token})::text`.values();
  return only(rows)[0] === 'true';
}

export async function areCurrent(
  sql: Queryable,
  entries: readonly { readonly id: ArtifactId; readonly token: string }[],
): Promise<boolean[]> {
  const asked = entries.map(({ id: { realm, path, kind, variant }, token }) => [
    realm,
    path,
    kind,
    variant,
    token,
  ]);
  const rows = await sql`
    select module_cache.is_current(w.entry->>0, w.entry->>1, w.entry->>2, w.entry->>3, w.entry->>4)::text, w.position::text
    from jsonb_array_elements(${JSON.stringify(asked)}::text::jsonb) with ordinality w (entry, position)`.values();
  return inOrder(rows, entries.length).map(([current]) => current === 'true');
}

export interface PutArguments {
  body: string;
  headers: Headers;
  dependencyKeys: readonly string[];
  token: string | null;
  expiresInMs: number | null;
  isError: boolean;
}

export type PutReason = 'stored' | 'stale' | 'epoch' | 'older' | 'contended';

export async function put(sql: Queryable, id: ArtifactId, product: PutArguments): Promise<PutReason> {
  const rows = await sql`
    select reason
    from module_cache.put(
      ${id.realm}, ${id.path}, ${id.kind}, ${id.variant}, ${product.body},
      ${JSON.stringify(product.headers)}::text::jsonb,
      array(select jsonb_array_elements_text(${JSON.stringify(product.dependencyKeys)}::text::jsonb)),
      ${product.token},
      ${intervalOf(product.expiresInMs)}::text::interval,
      ${String(product.isError)}::text::boolean)`.values();
  return only(rows)[0] as PutReason;
}

/** Text that Postgres reads as an interval, whatever the number: not zero, and no end that a timestamp cannot hold. */
const intervalOf = (ms: number | null): string | null =>
  ms === null ? null : `${Math.min(Math.max(ms, 0.001), 1e15).toFixed(3)} milliseconds`;

export interface InvalidateRow {
  token: string;
  modules: { realm: string; path: string }[];
}

/**
 * Leaves the news of a transaction to the log, in the very statement that makes them: a transaction of its own for it
 * would end the process if its connection were lost meanwhile (postgres.js 3.4, `begin`).
 */
const muting = (sql: Queryable, mute: boolean) => sql`
  muted as materialized (
    select case when ${String(mute)}::text::boolean then set_config('module_cache.notify', 'off', true) else '' end as setting
  )`;

export async function invalidate(
  sql: Queryable,
  realm: string,
  paths: readonly string[],
  mute = false,
): Promise<InvalidateRow> {
  // What JSON cannot carry to Postgres can name no module either: it is passed as a path that is ignored and counted.
  const sendable = paths.map((path) => (isText(path) ? path : ''));
  const rows = await sql`
    with ${muting(sql, mute)}
    select module_cache.coherence_token(), i.modules
    from muted, lateral (
      select coalesce(json_agg(json_build_array(m.realm_url, m.canonical_path)), '[]')::text as modules
      from module_cache.invalidate(
        case when muted.setting is not null then ${realm} end,
        array(select jsonb_array_elements_text(${JSON.stringify(sendable)}::text::jsonb))) m
    ) i`.values();
  const [token, list] = only(rows);
  const modules = JSON.parse(list as string) as [string, string][];
  return {
    token: token as string,
    modules: modules.map(([realmUrl, path]) => ({ realm: realmUrl, path })),
  };
}

/** Resolves to the coherence token of the transaction. */
export async function clearRealm(sql: Queryable, realm: string, mute = false): Promise<string> {
  const rows = await sql`
    with ${muting(sql, mute)}
    select module_cache.coherence_token(), module_cache.clear_realm(case when muted.setting is not null then ${realm} end)::text
    from muted`.values();
  return only(rows)[0] as string;
}

/** Resolves to the coherence token of the transaction. */
export async function clearAll(sql: Queryable, mute = false): Promise<string> {
  const rows = await sql`
    with ${muting(sql, mute)}
    select module_cache.coherence_token(), case when muted.setting is not null then module_cache.clear_all()::text end
    from muted`.values();
  return only(rows)[0] as string;
}

/** One entry of the log, or one notification: which keys a transaction invalidated. */
export interface Change {
  k: 'module' | 'realm' | 'global' | 'private' | 'log';
  r?: string;
  m?: string[];
  x?: string;
}

export interface ChangesRow {
  cursor: string | null;
  complete: boolean;
  changes: Change[];
}

export async function changesSince(sql: Queryable, cursor: string | null): Promise<ChangesRow> {
  const rows = await sql`
    select cursor, complete::text, changes::text from module_cache.changes_since(${cursor})`.values();
  const [next, complete, changes] = only(rows);
  return { cursor: next ?? null, complete: complete === 'true', changes: JSON.parse(changes ?? '[]') };
}

/** `key` is what `module_cache_populated` carries when the claim ends. */
export async function claim(sql: Queryable, id: ArtifactId): Promise<{ claimed: boolean; key: string }> {
  const rows = await sql`
    select
      module_cache.claim(${id.realm}, ${id.path}, ${id.kind}, ${id.variant})::text,
      module_cache._claim_key(${id.realm}, ${id.path}, ${id.kind}, ${id.variant})::text`.values();
  const [claimed, key] = only(rows);
  return { claimed: claimed === 'true', key: key as string };
}

export async function release(sql: Queryable, id: ArtifactId): Promise<boolean> {
  const rows = await sql`
    select module_cache.release(${id.realm}, ${id.path}, ${id.kind}, ${id.variant})::text`.values();
  return only(rows)[0] === 'true';
}

/** Whether a private function is there and may be called: older schemas lack some. */
export async function mayCall(sql: Queryable, signature: string): Promise<boolean> {
  const rows = await sql`
    select has_function_privilege(to_regprocedure(${`module_cache.${signature}`}::text), 'execute')::text`.values();
  return only(rows)[0] === 'true';
}

/** What a peer says of itself; all of it is shown to operators. */
export interface AboutPeer {
  name: string;
  host: string;
  process_id: number;
  version: string;
  uptime_ms: number;
  broadcast: 'notify' | 'log';
  heartbeat_ms: number;
  /** Transaction id: all invalidations of earlier ones are applied. */
  cursor: string;
  l1_entries: number;
  l1_bytes: number;
  minute_reads: number;
  minute_hits: number;
}

/** `needs` is `life@xid`. False if that is of another life. */
export async function reportPeer(
  sql: Queryable,
  needs: string,
  about: AboutPeer,
  activity: readonly ReportedActivity[],
): Promise<boolean> {
  const rows = await sql`
    select module_cache._report_peer(
      ${needs}, ${JSON.stringify(about)}::text::jsonb, ${JSON.stringify(activity)}::text::jsonb)::text`.values();
  return only(rows)[0] === 'true';
}

/** Takes or gives back the lock that shows this session as one that waits for the end of a claim. */
export async function showWaiting(sql: Queryable, claimKey: string, isWaiting: boolean): Promise<boolean> {
  const rows = await sql`
    select module_cache._show_waiting(${claimKey}::text::bigint, ${String(isWaiting)}::text::boolean)::text`.values();
  return only(rows)[0] === 'true';
}

export async function electCollector(sql: Queryable, patienceMs: number): Promise<boolean> {
  const rows = await sql`
    select module_cache._elect_collector(${intervalOf(patienceMs)}::text::interval)::text`.values();
  return only(rows)[0] === 'true';
}

export async function resignCollector(sql: Queryable): Promise<void> {
  await sql`select module_cache._resign_collector()`;
}

export interface CollectedRow {
  artifacts: number;
  renewed: number;
  generations: number;
  invalidations: number;
  complete: boolean;
}

export async function collectForFleet(
  sql: Queryable,
  keepMs: number,
  keepAtMostMs: number,
  batch: number,
): Promise<CollectedRow> {
  const rows = await sql`
    select artifacts::text, renewed::text, generations::text, invalidations::text, complete::text
    from module_cache._collect_for_fleet(
      ${intervalOf(keepMs)}::text::interval, ${intervalOf(keepAtMostMs)}::text::interval, ${String(batch)}::text::integer)`.values();
  const [artifacts, renewed, generations, invalidations, complete] = only(rows);
  return {
    artifacts: Number(artifacts),
    renewed: Number(renewed),
    generations: Number(generations),
    invalidations: Number(invalidations),
    complete: complete === 'true',
  };
}

/** Sends an empty notification. */
export async function notify(sql: Queryable, channel: string): Promise<void> {
  await sql`select pg_notify(${channel}, '')`;
}
