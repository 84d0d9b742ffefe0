import { expect, test } from '@jest/globals';
import { trap } from '../sql/support/guard.js';
import { type Collected, pair, REALM, type Session, session } from '../sql/support/session.js';
import { createDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import {
  KEPT_AT_MOST,
  LEAST_LIMIT,
  LEAST_RETENTION,
  LOCK_OF_A_PEER,
  NEEDS_OF_PEERS,
  NEEDS_OF_THIS_EPOCH,
  NEEDS_OF_THIS_LIFE,
  NOT_SWEPT_AT_ONCE,
  NOT_THINNED_TOO_MUCH,
  PEERS_THAT_ARE_THERE,
  REPORT_SKIPS_LOCKED,
  REPORT_TIMEOUT,
  STAND_IN,
  SWEPT_ONLY_IF_GONE,
  SWEPT_PEERS,
  THINNED_OUT,
  WORTH_IT,
  WORTH_IT_AFTER_A_CLEAR,
  WORTH_IT_AFTER_AN_HOUR,
  WORTH_IT_WITH_MUCH,
} from './support/guards.js';

/** What the fleet's own garbage collection keeps, and for whom (DESIGN.md section 3, invariant 6). */

const needsOf = (cursor: string | null): string => (cursor as string).replace(/\/(\d+):.*$/, '@$1');

const report = async (peer: Session, needs: string): Promise<boolean> => {
  const [row] = await peer.run(`select module_cache._report_peer('${needs}', '{"name": "test"}') as taken`);
  return row?.taken as boolean;
};

const age = (cache: Session, interval: string) =>
  cache.run(`update module_cache._snapshots set taken_at = taken_at - interval '${interval}'`);

const collect = async (
  cache: Session,
  keep = '5 minutes',
  atMost = '1 day',
  batch = 1_000,
): Promise<Collected> => {
  const [row] = await cache.run(
    `select * from module_cache._collect_for_fleet('${keep}', '${atMost}', ${batch})`,
  );
  return row as unknown as Collected;
};

/** Records a snapshot that has seen everything so far, as if it had been so long ago. */
async function recordLongAgo(cache: Session, interval: string): Promise<void> {
  await cache.othersEnded();
  await collect(cache);
  await age(cache, interval);
}

/** Makes garbage that is ten minutes old, and collects. */
async function tenMinutesOfGarbage(cache: Session): Promise<void> {
  for (const path of ['x.ts', 'y.ts', 'z.ts']) await cache.invalidate([path]);
  await recordLongAgo(cache, '10 minutes');
  expect((await collect(cache)).complete).toBe(true);
}

const isKept = async (cache: Session, cursor: string | null): Promise<boolean> =>
  (await cache.changesSince(cursor)).complete;

trap('what a slow peer needs is kept for as long as it is there', NEEDS_OF_PEERS, async (db) => {
  const [cache, peer] = pair(db);
  const { cursor } = await peer.changesSince(null);
  expect(await report(peer, needsOf(cursor))).toBe(true);
  for (let round = 0; round < 3; round += 1) await tenMinutesOfGarbage(cache);
  expect(await isKept(peer, cursor)).toBe(true);
  expect(await peer.changesSince(cursor)).toMatchObject({ complete: true });
  expect((await peer.put('a.ts', 'slow', { token: cursor })).reason).toBe('stored');
});

test('what a peer has let go of is not kept', async () => {
  const db = await createDatabase();
  try {
    const [cache, peer] = pair(db);
    const { cursor } = await peer.changesSince(null);
    await report(peer, needsOf(cursor));
    await tenMinutesOfGarbage(cache);
    const { cursor: later } = await peer.changesSince(cursor);
    await report(peer, needsOf(later));
    await collect(cache);
    expect(await isKept(peer, cursor)).toBe(false);
    expect(await isKept(peer, later)).toBe(true);
  } finally {
    await db.drop();
  }
});

trap(
  'a peer whose session has ended keeps nothing, however young its report',
  PEERS_THAT_ARE_THERE,
  async (db) => {
    const [cache, peer] = pair(db);
    const { cursor } = await peer.changesSince(null);
    await report(peer, needsOf(cursor));
    const pid = await peer.pid();
    await cache.run(`select pg_terminate_backend(${pid}, 10000)`);
    await tenMinutesOfGarbage(cache);
    expect(await isKept(cache, cursor)).toBe(false);
  },
);

trap(
  'a session that never took the lock of a peer is none, whatever its row says',
  LOCK_OF_A_PEER,
  async (db) => {
    const [cache, peer] = pair(db);
    const { cursor } = await peer.changesSince(null);
    await report(peer, needsOf(cursor));
    await tenMinutesOfGarbage(cache);
    expect(await isKept(peer, cursor)).toBe(true);
  },
);

trap('a peer that is stopped keeps nothing for longer than the limit', KEPT_AT_MOST, async (db) => {
  const [cache, peer] = pair(db);
  await peer.publish('live.ts', 'live');
  const { cursor } = await peer.changesSince(null);
  await report(peer, needsOf(cursor));
  await tenMinutesOfGarbage(cache);
  expect(await isKept(peer, cursor)).toBe(true);
  await cache.invalidate(['later.ts']);
  await recordLongAgo(cache, '1 day');
  await collect(cache);
  // Late, and told so: it drops its memory, and nothing that it holds from then is let in.
  expect(await isKept(peer, cursor)).toBe(false);
  expect((await peer.put('a.ts', 'old', { token: cursor })).reason).toBe('stale');
  expect((await peer.get('live.ts')).status).toBe('hit');
});

trap('a report of another epoch counts for nothing', NEEDS_OF_THIS_EPOCH, async (db) => {
  const [cache, peer] = pair(db);
  const { cursor } = await peer.changesSince(null);
  await report(peer, needsOf(cursor));
  await cache.run('update module_cache._peers set epoch = gen_random_uuid()');
  await tenMinutesOfGarbage(cache);
  expect(await isKept(cache, cursor)).toBe(false);
});

trap('a report of another life is not taken', NEEDS_OF_THIS_LIFE, async (db) => {
  const [cache] = pair(db);
  const { cursor } = await cache.changesSince(null);
  expect(await report(cache, needsOf(cursor).replace(/-[0-9a-f]+@/, '-0@'))).toBe(false);
  expect(await cache.run('select from module_cache._peers')).toHaveLength(0);
});

trap('rows of peers that are gone go', SWEPT_PEERS, async (db) => {
  const [cache, peer] = pair(db);
  const { cursor } = await peer.changesSince(null);
  await report(cache, needsOf(cursor));
  await report(peer, needsOf(cursor));
  await cache.run(`select pg_terminate_backend(${await peer.pid()}, 10000)`);
  await cache.run(`update module_cache._peers set reported_at = reported_at - interval '2 minutes'`);
  await collect(cache);
  expect(await cache.run('select backend_pid from module_cache._peers')).toEqual([
    { backend_pid: await cache.pid() },
  ]);
});

trap('the row of a peer that has long had nothing to report stays', SWEPT_ONLY_IF_GONE, async (db) => {
  const [cache, peer] = pair(db);
  const { cursor } = await peer.changesSince(null);
  await report(peer, needsOf(cursor));
  await cache.run(`update module_cache._peers set reported_at = reported_at - interval '2 days'`);
  await tenMinutesOfGarbage(cache);
  expect(await isKept(peer, cursor)).toBe(true);
});

trap(
  'what was reported right now is not swept, even if its session cannot be seen yet',
  NOT_SWEPT_AT_ONCE,
  async (db) => {
    const cache = session(db);
    const { cursor } = await cache.changesSince(null);
    await report(cache, needsOf(cursor));
    await cache.run('select pg_advisory_unlock_all()');
    await collect(cache);
    expect(await cache.run('select from module_cache._peers')).toHaveLength(1);
  },
);

trap('a report waits for nobody who holds its row', REPORT_SKIPS_LOCKED, async (db) => {
  const [holder, peer] = pair(db);
  const { cursor } = await peer.changesSince(null);
  await report(peer, needsOf(cursor));
  await holder.begin();
  await holder.run('select from module_cache._peers for update');
  expect(await report(peer, needsOf(cursor))).toBe(true);
  await holder.rollback();
  // Both rows are the peer's, until the next one of them is swept with it.
  const { cursor: later } = await peer.changesSince(cursor);
  await report(peer, needsOf(later));
  expect(await holder.run('select distinct needs from module_cache._peers')).toHaveLength(1);
});

trap('a report does not wait for who works on the table', REPORT_TIMEOUT, async (db) => {
  const holder = session(db);
  const peer = session(db, { statement_timeout: '5s' });
  const { cursor } = await peer.changesSince(null);
  await holder.begin();
  await holder.run('lock module_cache._peers');
  await expect(report(peer, needsOf(cursor))).rejects.toMatchObject({ code: '55P03' });
  await holder.rollback();
});

trap('snapshots do not pile up', THINNED_OUT, async (db) => {
  const cache = session(db);
  for (let hour = 0; hour < 30; hour += 1) {
    for (let n = 0; n < 30; n += 1) await collect(cache);
    await age(cache, '1 hour');
  }
  const [row] = await cache.run('select count(*)::integer as count from module_cache._snapshots');
  expect(row?.count).toBeLessThan(200);
});

trap(
  'what is kept is not much more than was asked for, however long ago that was',
  NOT_THINNED_TOO_MUCH,
  async (db) => {
    const cache = session(db);
    for (let n = 0; n < 200; n += 1) {
      await collect(cache);
      await age(cache, '1 minute');
    }
    for (const minutes of [5, 60, 180]) {
      const [row] = await cache.run(`
      select extract(epoch from clock_timestamp() - max(taken_at)) / 60 as minutes
      from module_cache._snapshots where taken_at <= clock_timestamp() - interval '${minutes} minutes'`);
      expect(Number(row?.minutes)).toBeLessThan(minutes * 1.15 + 2);
    }
  },
);

/** A hundred live artifacts, and one invalidation. */
async function muchBesideLittle(cache: Session): Promise<void> {
  for (let n = 0; n < 100; n += 1) await cache.publish(`m${n}.ts`, 'x');
  await cache.invalidate(['x.ts']);
}

trap('a large cache is not moved for a little garbage', WORTH_IT, async (db) => {
  const cache = session(db);
  await muchBesideLittle(cache);
  await recordLongAgo(cache, '10 minutes');
  expect(await collect(cache)).toMatchObject({ renewed: '0', invalidations: '0', complete: true });
  // An operator gets what she asks for.
  expect(await cache.collect('5 minutes')).toMatchObject({ renewed: '100' });
});

trap('but it is for much garbage', WORTH_IT_WITH_MUCH, async (db) => {
  const cache = session(db);
  await muchBesideLittle(cache);
  for (let n = 0; n < 10; n += 1) await cache.invalidate(['x.ts']);
  await recordLongAgo(cache, '10 minutes');
  expect(await collect(cache)).toMatchObject({ renewed: '100', invalidations: '10' });
});

trap('and for what is older than an hour', WORTH_IT_AFTER_AN_HOUR, async (db) => {
  const cache = session(db);
  await muchBesideLittle(cache);
  await recordLongAgo(cache, '2 hours');
  await cache.run(
    `update module_cache._invalidations set invalidated_at = invalidated_at - interval '2 hours'`,
  );
  expect(await collect(cache)).toMatchObject({ renewed: '100' });
});

trap('and after a clear, which leaves any number of dead artifacts', WORTH_IT_AFTER_A_CLEAR, async (db) => {
  const cache = session(db);
  await muchBesideLittle(cache);
  await cache.clearRealm();
  await recordLongAgo(cache, '10 minutes');
  expect(await collect(cache)).toMatchObject({ artifacts: '100' });
});

trap('who may only write cannot make others lose what is young', LEAST_RETENTION, async (db) => {
  for (const keep of ['0 s', '59 s', '-1 s']) {
    await expect(collect(session(db), keep)).rejects.toMatchObject({ code: 'MC003' });
  }
});

trap('nor what a slow peer needs for less than an hour', LEAST_LIMIT, async (db) => {
  await expect(collect(session(db), '1 minute', '59 minutes')).rejects.toMatchObject({ code: 'MC003' });
});

test('no retention, no limit, a limit below the retention, or an odd batch are refused with a hint', async () => {
  const db = await createDatabase();
  try {
    const cache = session(db);
    for (const call of [
      `null, '1 day', 10`,
      `'5 minutes', null, 10`,
      `'2 hours', '1 hour', 10`,
      `'5 minutes', '1001 years', 10`,
      `'5 minutes', '1 day', 0`,
      `'5 minutes', '1 day', 10001`,
      `'5 minutes', '1 day', null`,
    ]) {
      await expect(cache.run(`select module_cache._collect_for_fleet(${call})`)).rejects.toMatchObject({
        code: 'MC003',
        hint: expect.stringContaining('at least a minute'),
      });
    }
    for (const [call, code] of [
      [`null, '{}'`, 'MC002'],
      [`'nonsense', '{}'`, 'MC002'],
      [`'${needsOf((await cache.changesSince(null)).cursor)}', null`, 'MC003'],
      [`'${needsOf((await cache.changesSince(null)).cursor)}', to_jsonb(repeat('x', 8000))`, 'MC003'],
    ]) {
      await expect(cache.run(`select module_cache._report_peer(${call})`)).rejects.toMatchObject({ code });
    }
  } finally {
    await db.drop();
  }
});

test('one session is elected to collect, until it ends or resigns', async () => {
  const db = await createDatabase();
  try {
    const [one, other] = pair(db);
    const third = session(db);
    await collect(third);
    const elect = async (peer: Session) =>
      (await peer.run(`select module_cache._elect_collector('1 minute') as is`))[0]?.is;
    expect([await elect(one), await elect(one), await elect(other)]).toEqual([true, true, false]);
    await one.run('select module_cache._resign_collector()');
    await one.run('select module_cache._resign_collector()');
    expect([await elect(other), await elect(one)]).toEqual([true, false]);
    await third.run(`select pg_terminate_backend(${await other.pid()}, 10000)`);
    await until(() => elect(third), { what: 'the lock of a session that ended is free' });
  } finally {
    await db.drop();
  }
});

trap('a collector that hangs is stood in for', STAND_IN, async (db) => {
  const [hanging, other] = pair(db);
  const elect = async (peer: Session) =>
    (await peer.run(`select module_cache._elect_collector('5 minutes') as is`))[0]?.is;
  expect(await elect(hanging)).toBe(true);
  await collect(hanging);
  expect(await elect(other)).toBe(false);
  await age(other, '6 minutes');
  expect(await elect(other)).toBe(true);
  await collect(other);
  expect(await elect(other)).toBe(false);
});

test('whatever peers report, garbage that is collected lets nothing in that was to be rejected', async () => {
  const db = await createDatabase();
  try {
    const [cache, peer] = pair(db);
    const token = await cache.token();
    const [life] = needsOf(token).split('@');
    await cache.invalidate(['a.ts']);
    for (const needs of ['0', '3', '999999999999', '18446744073709551615']) {
      await report(peer, `${life}@${needs}`);
      await tenMinutesOfGarbage(cache);
      expect((await cache.put('a.ts', 'old', { token })).reason).toBe('stale');
      expect((await cache.get('a.ts', { realm: REALM })).status).toBe('miss');
    }
  } finally {
    await db.drop();
  }
});
