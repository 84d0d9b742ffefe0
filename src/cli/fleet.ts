import type { Sql } from 'postgres';
import { only } from '../calls.js';
import { bytes, type Column, count, duration, percent, printable } from './text.js';

/** What the views `peers`, `claims`, `stats` and `invalidations` say, for the commands that show it. */

/** One process that uses the cache. Times are in ms. */
export interface PeerRow {
  readonly name: string;
  readonly status: 'listening' | 'polling' | 'silent';
  /** Transactions of the log that it may not have applied yet. */
  readonly behind: number;
  readonly lagMs: number;
  /** Percent of its reads in the last minute that its memory answered; null without any. */
  readonly hitRate: number | null;
  readonly reads: number;
  readonly entries: number;
  readonly bytes: number;
  readonly silentForMs: number;
  readonly version: string;
  readonly since: string;
  readonly host: string;
  readonly processId: number;
  readonly role: string;
  readonly application: string;
  readonly clientAddress: string | null;
  readonly backendPid: number;
}

/** What is being produced. */
export interface ClaimRow {
  readonly ageMs: number;
  readonly producer: string;
  readonly realm: string;
  readonly path: string;
  readonly kind: string;
  readonly variant: string;
  /** Peers that have waited for more than a second. */
  readonly waiting: readonly string[];
  readonly backendPid: number;
}

/** A realm and kind, with what all processes have done in this life of the tables. */
export interface RealmRow {
  readonly realm: string | null;
  readonly kind: string | null;
  readonly artifacts: number;
  readonly bytes: number;
  readonly hits: number;
  readonly misses: number;
  readonly productions: number;
  readonly productionMs: number | null;
  readonly coalesced: number;
  readonly rejected: number;
  readonly failures: number;
  /** The same for each kind of a realm. */
  readonly invalidations: number;
}

export interface InvalidationRow {
  readonly at: string;
  readonly agoMs: number;
  readonly xid: string;
  readonly scope: 'module' | 'realm' | 'global' | 'closed';
  readonly realm: string | null;
  readonly named: readonly string[];
  readonly modules: number;
  readonly role: string;
  readonly application: string;
  readonly clientAddress: string | null;
}

export interface Fleet {
  readonly peers: readonly PeerRow[];
  readonly claims: readonly ClaimRow[];
  readonly realms: readonly RealmRow[];
}

const ms = (interval: string): string => `round(1000 * extract(epoch from ${interval}))`;

const FLEET = `
  'peers', (
    select coalesce(json_agg(json_build_object(
      'name', p.name, 'status', p.status, 'behind', p.behind, 'lagMs', ${ms('p.lag')}, 'hitRate', p.hit_rate,
      'reads', p.reads, 'entries', p.entries, 'bytes', p.bytes, 'silentForMs', ${ms('p.silent_for')},
      'version', p.version, 'since', p.since, 'host', p.host, 'processId', p.process_id, 'role', p.role_name,
      'application', p.application_name, 'clientAddress', host(p.client_address), 'backendPid', p.backend_pid)), '[]')
    from module_cache.peers p),
  'claims', (
    select coalesce(json_agg(json_build_object(
      'ageMs', ${ms('c.age')}, 'producer', c.producer, 'realm', c.realm_url, 'path', c.canonical_path, 'kind', c.kind,
      'variant', c.variant, 'waiting', c.waiting_peers, 'backendPid', c.backend_pid)), '[]')
    from module_cache.claims c),
  'realms', (
    select coalesce(json_agg(json_build_object(
      'realm', s.realm_url, 'kind', s.kind, 'artifacts', s.artifacts, 'bytes', s.bytes, 'hits', s.hits,
      'misses', s.misses, 'productions', s.productions, 'productionMs', round(s.production_ms), 'coalesced', s.coalesced,
      'rejected', s.rejected, 'failures', s.failures, 'invalidations', s.invalidations)), '[]')
    from module_cache.stats s)`;

/** @throws the server's error 42501 for a role that may not see it, 42P01 for a schema without these views */
export async function readFleet(sql: Sql): Promise<Fleet> {
  return JSON.parse(only(await sql.unsafe(`select json_build_object(${FLEET})::text`).values())[0] as string);
}

/** A moment of the whole fleet. */
export interface Sample extends Fleet {
  /** By the server's clock. */
  readonly at: string;
  readonly server: string;
  readonly database: string;
  /** The latest first. */
  readonly invalidations: readonly InvalidationRow[];
  readonly invalidationsPerSecond: number;
  /** How full the notification queue of the server is, from 0 to 1. */
  readonly queue: number;
  /** The transaction that has been open longest, of those that this role may see; null without any. */
  readonly oldestTransaction: {
    readonly ageMs: number;
    readonly pid: number;
    readonly application: string;
  } | null;
  /** Whether there are transactions of other roles that this one may not look at. */
  readonly hiddenTransactions: boolean;
}

const RATE_SECONDS = 10;
const LATEST = 200;

/** @throws as `readFleet` */
export async function readSample(sql: Sql): Promise<Sample> {
  const rows = await sql
    .unsafe(`
    select json_build_object(
      'at', clock_timestamp(),
      'server', current_setting('server_version'),
      'database', current_database(),
      ${FLEET},
      'invalidations', (
        select coalesce(json_agg(json_build_object(
          'at', i.invalidated_at, 'agoMs', ${ms('clock_timestamp() - i.invalidated_at')}, 'xid', i.xid::text,
          'scope', i.scope, 'realm', i.realm_url, 'named', i.named_paths[1:20], 'modules', coalesce(i.modules, 0),
          'role', i.role_name, 'application', i.application_name, 'clientAddress', host(i.client_address))), '[]')
        from (select * from module_cache.invalidations order by invalidated_at desc limit ${LATEST}) i),
      'invalidationsPerSecond', (
        select count(distinct i.xid)::real / ${RATE_SECONDS}
        from module_cache.invalidations i
        where i.invalidated_at > clock_timestamp() - interval '${RATE_SECONDS} s'),
      'queue', pg_notification_queue_usage(),
      'oldestTransaction', (
        select json_build_object('ageMs', ${ms('clock_timestamp() - t.xact_start')}, 'pid', t.pid, 'application', t.application_name)
        from pg_stat_activity t
        where t.xact_start is not null and t.pid <> pg_backend_pid() and t.backend_type = 'client backend'
        order by t.xact_start
        limit 1),
      'hiddenTransactions', exists (
        select
        from pg_stat_activity t
        where t.datid is not null and t.xact_start is null
          and (t.backend_xid is not null or t.backend_xmin is not null)))::text`)
    .values();
  return JSON.parse(only(rows)[0] as string);
}

export const PEER_COLUMNS: readonly Column<PeerRow>[] = [
  { title: 'peer', isWide: true, keeps: 'end', text: ({ name }) => name ?? '' },
  { title: 'status', text: ({ status }) => status },
  { title: 'behind', isNumber: true, text: ({ behind }) => count(behind), sortBy: ({ behind }) => behind },
  {
    title: 'lag',
    isNumber: true,
    text: ({ lagMs }) => (lagMs === 0 ? '0' : duration(lagMs)),
    sortBy: ({ lagMs }) => lagMs,
  },
  {
    title: 'hits',
    isNumber: true,
    text: ({ hitRate }) => (hitRate === null ? '-' : percent(hitRate)),
    sortBy: ({ hitRate }) => hitRate ?? -1,
  },
  {
    title: 'reads/min',
    isNumber: true,
    text: ({ reads }) => count(reads ?? 0),
    sortBy: ({ reads }) => reads ?? 0,
  },
  {
    title: 'entries',
    isNumber: true,
    text: ({ entries }) => count(entries ?? 0),
    sortBy: ({ entries }) => entries ?? 0,
  },
  {
    title: 'memory',
    isNumber: true,
    text: (peer) => bytes(peer.bytes ?? 0),
    sortBy: (peer) => peer.bytes ?? 0,
  },
  {
    title: 'heard',
    isNumber: true,
    text: ({ silentForMs }) => duration(silentForMs),
    sortBy: ({ silentForMs }) => silentForMs,
  },
  { title: 'version', text: ({ version }) => version ?? '' },
  { title: 'process', isWide: true, text: ({ host, processId }) => `${host ?? ''}:${processId ?? ''}` },
];

export const CLAIM_COLUMNS: readonly Column<ClaimRow>[] = [
  { title: 'age', isNumber: true, text: ({ ageMs }) => duration(ageMs), sortBy: ({ ageMs }) => ageMs },
  { title: 'module', isWide: true, keeps: 'end', text: ({ realm, path }) => realm + path },
  { title: 'kind', text: ({ kind }) => kind },
  { title: 'producer', isWide: true, text: ({ producer }) => producer },
  {
    title: 'waiting',
    isNumber: true,
    text: ({ waiting }) => count(waiting.length),
    sortBy: ({ waiting }) => waiting.length,
  },
  {
    title: 'session',
    isNumber: true,
    text: ({ backendPid }) => String(backendPid),
    sortBy: ({ backendPid }) => backendPid,
  },
];

export const REALM_COLUMNS: readonly Column<RealmRow>[] = [
  { title: 'realm', isWide: true, keeps: 'end', text: ({ realm }) => realm ?? '(others)' },
  { title: 'kind', text: ({ kind }) => kind ?? '' },
  {
    title: 'artifacts',
    isNumber: true,
    text: ({ artifacts }) => count(artifacts),
    sortBy: ({ artifacts }) => artifacts,
  },
  { title: 'stored', isNumber: true, text: (realm) => bytes(realm.bytes), sortBy: (realm) => realm.bytes },
  { title: 'hits', isNumber: true, text: ({ hits }) => count(hits), sortBy: ({ hits }) => hits },
  { title: 'misses', isNumber: true, text: ({ misses }) => count(misses), sortBy: ({ misses }) => misses },
  {
    title: 'produced',
    isNumber: true,
    text: ({ productions }) => count(productions),
    sortBy: ({ productions }) => productions,
  },
  {
    title: 'each',
    isNumber: true,
    text: ({ productions, productionMs }) =>
      productions === 0 || productionMs === null ? '-' : duration(productionMs / productions),
    sortBy: ({ productions, productionMs }) => (productions === 0 ? -1 : (productionMs ?? 0) / productions),
  },
  {
    title: 'coalesced',
    isNumber: true,
    text: ({ coalesced }) => count(coalesced),
    sortBy: ({ coalesced }) => coalesced,
  },
  {
    title: 'rejected',
    isNumber: true,
    text: ({ rejected }) => count(rejected),
    sortBy: ({ rejected }) => rejected,
  },
  {
    title: 'failed',
    isNumber: true,
    text: ({ failures }) => count(failures),
    sortBy: ({ failures }) => failures,
  },
  {
    title: 'invalidations',
    isNumber: true,
    text: ({ invalidations }) => count(invalidations),
    sortBy: ({ invalidations }) => invalidations,
  },
];

export const INVALIDATION_COLUMNS: readonly Column<InvalidationRow>[] = [
  { title: 'ago', isNumber: true, text: ({ agoMs }) => duration(agoMs), sortBy: ({ agoMs }) => agoMs },
  { title: 'what', isWide: true, keeps: 'end', text: describeNamed },
  {
    title: 'reached',
    isNumber: true,
    text: ({ scope, modules }) => (scope === 'module' ? count(modules) : 'all'),
    sortBy: ({ modules }) => modules,
  },
  { title: 'role', text: ({ role }) => role },
  { title: 'application', isWide: true, text: ({ application }) => application },
  { title: 'from', text: ({ clientAddress }) => clientAddress ?? 'local' },
  { title: 'transaction', isNumber: true, text: ({ xid }) => xid, sortBy: ({ xid }) => Number(xid) },
];

function describeNamed({ scope, realm, named, modules }: InvalidationRow): string {
  if (scope === 'global') return 'everything';
  if (scope === 'realm') return `${realm} (all)`;
  if (scope === 'closed') return `${realm} (made private)`;
  if (named.length === 0) return `${realm} (${count(modules)} importers)`;
  return `${realm}${named[0]}${named.length > 1 ? ', …' : ''}`;
}

/** Of all peers together, percent from memory; null without any answer. */
export function hitRateOf(peers: readonly PeerRow[]): number | null {
  let reads = 0;
  let hits = 0;
  for (const peer of peers) {
    reads += peer.reads ?? 0;
    hits += ((peer.hitRate ?? 0) * (peer.reads ?? 0)) / 100;
  }
  return reads === 0 ? null : (100 * hits) / reads;
}

export const storedOf = (realms: readonly RealmRow[]): { count: number; bytes: number } => ({
  count: realms.reduce((sum, { artifacts }) => sum + artifacts, 0),
  bytes: realms.reduce((sum, realm) => sum + realm.bytes, 0),
});

/** "2 listening, 1 silent" */
export function describeStatuses(peers: readonly PeerRow[]): string {
  const statuses = new Map<string, number>();
  for (const { status } of peers) statuses.set(status, (statuses.get(status) ?? 0) + 1);
  return [...statuses].map(([status, number]) => `${number} ${printable(status)}`).join(', ');
}
