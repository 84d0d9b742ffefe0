import postgres from 'postgres';
import { only } from '../../calls.js';
import { duration, percent, plural } from '../text.js';
import { askJson, type Check, fail, pass, type Result, warn } from './check.js';

/** The server and this role's way to it, whatever is installed there. */

const OLDEST_SERVER = 150_000;
const CLOCK_WARN_MS = 1_000;

const version: Check = {
  name: 'server',
  async run(patient) {
    const began = performance.now();
    const [version, number] = only(
      await patient.questions.ask((sql) =>
        sql`select current_setting('server_version'), current_setting('server_version_num')`.values(),
      ),
    );
    const figure = `PostgreSQL ${version}, answers in ${duration(performance.now() - began)}`;
    return Number(number) >= OLDEST_SERVER ? pass(figure) : fail(figure, 'Use PostgreSQL 15 or newer.');
  },
};

const primary: Check = {
  name: 'primary',
  async run(patient) {
    const { standby, readOnly } = await askJson<{ standby: boolean; readOnly: string }>(patient, (sql) =>
      sql`select json_build_object(
        'standby', pg_is_in_recovery(), 'readOnly', current_setting('default_transaction_read_only'))::text`.values(),
    );
    if (standby) return fail('a standby', 'Connect to the primary: the cache cannot be read on a standby.');
    return readOnly === 'on'
      ? warn(
          'the primary, but transactions of this role are read-only unless they say otherwise',
          'Set default_transaction_read_only to off for this role or database: SQL that invalidates would fail.',
        )
      : pass('the primary');
  },
};

const settings: Check = {
  name: 'settings',
  async run(patient) {
    const off = await askJson<string[]>(patient, (sql) =>
      sql`select coalesce(json_agg(name order by name), '[]')::text
        from pg_settings
        where name in ('autovacuum', 'track_activities', 'track_counts') and setting = 'off'`.values(),
    );
    if (off.length === 0) return pass('autovacuum, track_activities and track_counts are on');
    return warn(
      `off: ${off.join(', ')}`,
      'Switch it on: without autovacuum and track_counts the tables of the cache only grow; without track_activities a silent peer is noticed late.',
    );
  },
};

interface Connections {
  readonly most: number;
  readonly used: number;
}

const connections: Check = {
  name: 'connections',
  async run(patient) {
    const { most, used } = await askJson<Connections>(patient, (sql) =>
      sql`select json_build_object(
        'most', current_setting('max_connections')::integer
          - current_setting('superuser_reserved_connections')::integer
          - coalesce(current_setting('reserved_connections', true), '0')::integer,
        'used', (select coalesce(sum(numbackends), 0) from pg_stat_database where datid <> 0))::text`.values(),
    );
    const left = most - used;
    const figure = `${used} of ${most} used`;
    if (left > Math.max(3, most / 10)) return pass(figure);
    return warn(
      figure,
      'Raise max_connections, make pools smaller, or put PgBouncer in front of them: each peer needs one connection besides its pool.',
    );
  },
};

interface Locks {
  readonly most: number;
  readonly used: number;
  readonly advisory: number;
}

const locks: Check = {
  name: 'lock table',
  async run(patient) {
    const { most, used, advisory } = await askJson<Locks>(patient, (sql) =>
      sql`select json_build_object(
        'most', current_setting('max_locks_per_transaction')::bigint
          * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint),
        'used', count(*) filter (where not fastpath), 'advisory', count(*) filter (where locktype = 'advisory'))::text
        from pg_locks`.values(),
    );
    const figure = `${percent((100 * used) / most)} of ${most} locks held, ${advisory} of them advisory`;
    const advice =
      'Raise max_locks_per_transaction (needs a restart): each claim and each peer holds a lock.';
    if (used > 0.9 * most) return fail(figure, advice);
    return used > 0.5 * most ? warn(figure, advice) : pass(figure);
  },
};

const clock: Check = {
  name: 'clock',
  async run(patient) {
    let best = { difference: 0, roundTrip: Number.POSITIVE_INFINITY };
    for (let round = 0; round < 3; round += 1) {
      const before = Date.now();
      const began = performance.now();
      const [at] = only(
        await patient.questions.ask((sql) =>
          sql`select (extract(epoch from clock_timestamp()) * 1000)::text`.values(),
        ),
      );
      const roundTrip = performance.now() - began;
      // The server looked at its clock somewhere in between.
      if (roundTrip < best.roundTrip) best = { difference: Number(at) - (before + roundTrip / 2), roundTrip };
    }
    return judgeClock(best.difference, best.roundTrip);
  },
};

/**
 * @param differenceMs of the server's clock to this one's, as exact as half of the round trip, in ms
 */
export function judgeClock(differenceMs: number, roundTripMs: number): Result {
  const certain = Math.max(0, Math.abs(differenceMs) - roundTripMs / 2);
  const figure = `the server's clock is ${duration(Math.abs(differenceMs))} ${differenceMs < 0 ? 'behind' : 'ahead'}`;
  return certain > CLOCK_WARN_MS
    ? warn(
        figure,
        'Synchronise both clocks (NTP). The cache does not depend on them, but times in logs do not match.',
      )
    : pass(figure);
}

/** In the order in which one would ask. */
export const serverChecks: readonly Check[] = [version, primary, settings, connections, locks, clock];

/** Where the URL leads, for people, without anything secret. */
export function describeServer(url: string | undefined): string {
  // Opens nothing before it is asked.
  const { host, port, path, database, user } = (url === undefined ? postgres() : postgres(url))
    .options as unknown as {
    host: string[];
    port: number[];
    path?: string | false;
    database: string;
    user: string;
  };
  const where = path || host.map((name, index) => `${name}:${port[index]}`).join(', ');
  return `${database} at ${where} as ${user}${host.length > 1 ? ` (${plural(host.length, 'host')})` : ''}`;
}
