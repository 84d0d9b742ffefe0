import { type PeerRow, readFleet } from '../fleet.js';
import { bytes, count, duration, plural, printable, some } from '../text.js';
import { askJson, type Check, pass, type Result, warn } from './check.js';

/** How the processes that use the cache are, and whether its tables stay small. */

const LONG_TRANSACTION = '10 minutes';
const LAG_WARN_MS = 10_000;
/** Longer than any production is meant to take. */
const CLAIM_WARN_MS = 180_000;
/** What the collecting peer leaves alone at most because it is little beside a large cache. */
const LOG_KEPT_MS = 2 * 3_600_000;
const MUCH_LOG = 1_000;
/** Transactions that a slot may hold back before that is worth telling. */
const SLOT_AGE = 100_000;
const SHOWN = 5;

interface Transaction {
  readonly pid: number | null;
  readonly role: string | null;
  readonly application: string | null;
  readonly gid: string | null;
  readonly database: string | null;
  readonly state: string | null;
  readonly ageMs: number;
  readonly hasId: boolean;
}

/** @param olderThan as a Postgres interval */
export const longTransactions = (olderThan: string): Check => ({
  name: 'long transactions',
  async run(patient) {
    const { long, hidden } = await askJson<{ long: Transaction[]; hidden: boolean }>(patient, (sql) =>
      sql`select json_build_object(
        'hidden', coalesce((
          select bool_or(s.xact_start is null and (s.backend_xid is not null or s.backend_xmin is not null))
          from pg_stat_activity s where s.datid is not null), false),
        'long', coalesce((
          select json_agg(t order by t."ageMs" desc)
          from (
            select s.pid, s.usename as role, s.application_name as application, null as gid, s.datname as database,
              s.state, round(1000 * extract(epoch from clock_timestamp() - s.xact_start)) as "ageMs",
              s.backend_xid is not null as "hasId"
            from pg_stat_activity s
            where s.xact_start < clock_timestamp() - ${olderThan}::text::interval
              and (s.backend_xid is not null or s.backend_xmin is not null) and s.backend_type = 'client backend'
            union all
            select null, p.owner, null, p.gid, p.database, 'prepared',
              round(1000 * extract(epoch from clock_timestamp() - p.prepared)), true
            from pg_prepared_xacts p
            where p.prepared < clock_timestamp() - ${olderThan}::text::interval
          ) t), '[]'))::text`.values(),
    );
    const unseen = hidden ? ' (those of other roles cannot be seen without pg_read_all_stats)' : '';
    if (long.length === 0) return pass(`none older than ${olderThan}${unseen}`);
    const who = long.map(({ pid, role, application, gid, database, state, ageMs, hasId }) => {
      const what = gid === null ? `session ${pid}` : `prepared transaction ${gid}`;
      const name = application ? `, ${application}` : '';
      return `${what} of ${role}${name} in ${database}: ${duration(ageMs)}, ${state}, holds back ${hasId ? 'garbage collection and VACUUM' : 'VACUUM'}`;
    });
    return warn(
      some(who, SHOWN) + unseen,
      'End it: select pg_terminate_backend(pid), or rollback prepared. idle_in_transaction_session_timeout ends idle ones by itself.',
    );
  },
});

const slots: Check = {
  name: 'replication',
  async run(patient) {
    const held = await askJson<{ name: string; age: number; active: boolean }[]>(patient, (sql) =>
      sql`select coalesce(json_agg(json_build_object('name', h.name, 'age', h.age, 'active', h.active)), '[]')::text
        from (
          select s.slot_name::text as name, greatest(age(s.xmin), age(s.catalog_xmin)) as age, s.active
          from pg_replication_slots s
          union all
          select 'standby ' || r.application_name, age(r.backend_xmin), true from pg_stat_replication r
        ) h
        where h.age > ${String(SLOT_AGE)}::text::integer`.values(),
    );
    if (held.length === 0) return pass('no slot or standby holds much back');
    return warn(
      some(
        held.map(
          ({ name, age, active }) =>
            `${name}${active ? '' : ' (inactive)'} is ${count(age)} transactions behind`,
        ),
        SHOWN,
      ),
      'VACUUM cannot remove what it might still need: drop a slot that nobody uses, or see what its standby waits for.',
    );
  },
};

const peers: Check = {
  name: 'peers',
  needsSchema: true,
  async run(patient) {
    const { peers } = await patient.questions.ask(readFleet);
    return judgePeers(peers);
  },
};

export function judgePeers(peers: readonly PeerRow[]): Result {
  const silent = peers.filter(({ status }) => status === 'silent');
  const late = peers.filter(({ status, lagMs }) => status !== 'silent' && lagMs > LAG_WARN_MS);
  const versions = [...new Set(peers.map(({ version }) => version))];
  const longest = Math.max(0, ...peers.map(({ lagMs }) => lagMs));
  const figure = `${plural(peers.length, 'peer')}${versions.length === 0 ? '' : `, version ${versions.map(printable).join(' and ')}, lag ${duration(longest)}`}`;
  if (silent.length + late.length === 0) return pass(figure);
  const who = [
    ...silent.map(
      ({ name, host, processId, silentForMs }) =>
        `${name} (${host}:${processId}) is silent for ${duration(silentForMs)}`,
    ),
    ...late.map(
      ({ name, host, processId, lagMs }) => `${name} (${host}:${processId}) lags by ${duration(lagMs)}`,
    ),
  ];
  return warn(
    `${figure}: ${some(who, SHOWN)}`,
    'Its process is stopped, overloaded or cut off: it stops trusting its memory by itself, and garbage is kept for it. Look at that process, or end it.',
  );
}

/** @param olderThanMs is worth telling */
export const oldClaims = (olderThanMs: number): Check => ({
  name: 'claims',
  needsSchema: true,
  async run(patient) {
    const { claims } = await patient.questions.ask(readFleet);
    const old = claims.filter(({ ageMs }) => ageMs > olderThanMs);
    if (old.length === 0) return pass(`${plural(claims.length, 'module')} being produced`);
    return warn(
      some(
        old.map(
          ({ realm, path, kind, producer, ageMs, waiting, backendPid }) =>
            `${kind} of ${realm}${path} by ${producer} (session ${backendPid}) for ${duration(ageMs)}, ${waiting.length} waiting`,
        ),
        SHOWN,
      ),
      'The producer hangs, or is slow: others produce by themselves after claimPatienceMs. select pg_terminate_backend(session) frees the claim.',
    );
  },
});

const garbage: Check = {
  name: 'garbage',
  needsSchema: true,
  async run(patient) {
    const { rows, oldestMs } = await askJson<{ rows: number; oldestMs: number | null }>(patient, (sql) =>
      sql`select json_build_object(
        'rows', count(*),
        'oldestMs', round(1000 * extract(epoch from clock_timestamp() - min(i.invalidated_at))))::text
        from module_cache.invalidations i`.values(),
    );
    const figure = `${plural(rows, 'row')} in the log${oldestMs === null ? '' : `, the oldest ${duration(oldestMs)} old`}`;
    if (rows <= MUCH_LOG || (oldestMs ?? 0) <= LOG_KEPT_MS) return pass(figure);
    return warn(
      `${figure}: nobody has collected for long, or something holds it back`,
      'Run "module-cache gc"; a peer with the option garbage, which is the default, does it by itself. See also long transactions and peers.',
    );
  },
};

interface Table {
  readonly name: string;
  readonly live: number;
  readonly dead: number;
  readonly bytes: number;
  readonly vacuumed: string | null;
}

const MUCH_DEAD = 10_000;

const tables: Check = {
  name: 'tables',
  needsSchema: true,
  async run(patient) {
    const all = await askJson<Table[]>(patient, (sql) =>
      sql`select coalesce(json_agg(json_build_object(
          'name', ltrim(t.relname, '_'), 'live', t.n_live_tup, 'dead', t.n_dead_tup,
          'bytes', pg_total_relation_size(t.relid),
          'vacuumed', greatest(t.last_vacuum, t.last_autovacuum)) order by t.relname), '[]')::text
        from pg_stat_user_tables t
        where t.schemaname = 'module_cache'`.values(),
    );
    const of = (name: string): number => all.find((table) => table.name === name)?.live ?? 0;
    const size = all.reduce((sum, table) => sum + table.bytes, 0);
    const figure = `${bytes(size)}: about ${plural(of('artifacts'), 'artifact')}, ${plural(of('generations'), 'generation')}, ${plural(of('invalidations'), 'log row')}`;
    const bloated = all.filter(({ live, dead }) => dead > MUCH_DEAD && dead > 2 * live);
    if (bloated.length === 0) return pass(figure);
    return warn(
      `${figure}; ${some(
        bloated.map(
          ({ name, dead, vacuumed }) =>
            `${name} has ${count(dead)} dead rows, vacuumed ${vacuumed ?? 'never'}`,
        ),
        SHOWN,
      )}`,
      'See that autovacuum keeps up and nothing holds it back (long transactions, replication); or run: vacuum module_cache._artifacts and the others.',
    );
  },
};

export const fleetChecks: readonly Check[] = [
  longTransactions(LONG_TRANSACTION),
  slots,
  peers,
  oldClaims(CLAIM_WARN_MS),
  garbage,
  tables,
];
