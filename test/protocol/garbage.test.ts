import { expect, test } from '@jest/globals';
import { trap } from '../sql/support/guard.js';
import { pair, type Session, session } from '../sql/support/session.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import {
  FLOOR_AT_READ,
  NEWEST_LOG_ROW,
  OLDER_THAN,
  ONLY_WITH_GARBAGE,
  OWN_TRANSACTION_IN_GARBAGE,
  RENEWAL,
} from './support/guards.js';

/** Garbage collection is invisible (DESIGN.md section 3, invariant 6). */

const inDatabase = (work: (db: TestDatabase) => Promise<void>) => async (): Promise<void> => {
  const db = await createDatabase();
  try {
    await work(db);
  } finally {
    await db.drop();
  }
};

const count = async (cache: Session, what: string): Promise<number> => {
  const [row] = await cache.run(`select count(*)::integer as count from module_cache.${what}`);
  return row?.count as number;
};

trap('a live artifact outlives the garbage around it', RENEWAL, async (db) => {
  const cache = session(db);
  await cache.publish('live.ts', 'live', { dependencies: ['dependency.ts'], headers: { a: 1 } });
  const before = await cache.get('live.ts');
  await cache.invalidate(['other.ts']);
  await cache.invalidate(['another.ts']);
  await cache.collectAll();
  const after = await cache.get('live.ts');
  expect(after).toEqual({ ...before, token: after.token });
  // What was read before is still current, and an invalidation reaches it as before.
  expect(await cache.isCurrent('live.ts', before.token as string)).toBe(true);
  await cache.invalidate(['dependency.ts']);
  expect((await cache.get('live.ts')).status).toBe('miss');
});

trap("a slow producer's token survives what is collected meanwhile", OLDER_THAN, async (db) => {
  const cache = session(db);
  const token = await cache.token();
  for (const path of ['x.ts', 'y.ts', 'z.ts']) await cache.invalidate([path]);
  await cache.othersEnded();
  for (let round = 0; round < 3; round += 1) await cache.collect('150 seconds');
  expect((await cache.put('a.ts', 'slow', { token })).reason).toBe('stored');
  expect((await cache.get('a.ts')).body).toBe('slow');
});

trap(
  'on a database where nothing happens, tokens and artifacts stay as they are',
  ONLY_WITH_GARBAGE,
  async (db) => {
    const [cache, elsewhere] = pair(db);
    await cache.publish('a.ts', 'a');
    const token = await cache.token();
    const { cursor } = await cache.changesSince(null);
    for (let round = 0; round < 3; round += 1) {
      await elsewhere.othersEnded();
      expect(await cache.collect()).toMatchObject({ artifacts: '0', renewed: '0', complete: true });
    }
    expect((await cache.put('b.ts', 'b', { token })).reason).toBe('stored');
    expect((await cache.get('a.ts')).status).toBe('hit');
    expect((await cache.changesSince(cursor)).complete).toBe(true);
  },
);

trap('the floor holds although the log is empty otherwise', NEWEST_LOG_ROW, async (db) => {
  const [cache, holder] = pair(db);
  const { token } = await cache.get('a.ts');
  await cache.invalidate(['a.ts']);
  // An artifact with a token from before: its put was open when the floor was raised.
  await holder.run(`set session_replication_role = replica`);
  await cache.invalidate(['b.ts']);
  await cache.collectAll();
  await until(
    async () => {
      await cache.collect();
      const [{ floor }] = (await cache.run(`
          select coalesce(max(floor), '0')::text::bigint >= (select max(xid)::text::bigint from module_cache._invalidations) as floor
          from module_cache._floors`)) as [{ floor: boolean }];
      return floor === true || (await count(cache, '_invalidations')) === 0;
    },
    { timeoutMs: 30_000, what: 'the floor has reached the newest invalidation' },
  );
  await holder.run(`
      insert into module_cache._artifacts
      select 'https://app.example/', 'a.ts', 'transpile', '', 'old', '{}', '{}', false, null, e.epoch,
        split_part('${token}', '/', 2)::pg_snapshot, pg_current_xact_id(),
        module_cache._module_hash('https://app.example/', 'a.ts'), module_cache._realm_hash('https://app.example/'), '{}',
        now(), null
      from module_cache._epoch() e`);
  expect((await cache.get('a.ts')).status).toBe('miss');
  const [{ status }] = (await cache.run('select status from module_cache.artifacts')) as [{ status: string }];
  expect(status).toBe('dead');
});

trap('the floor is asked for when reading, too', FLOOR_AT_READ, async (db) => {
  const cache = session(db);
  const { token } = await cache.get('a.ts');
  await cache.invalidate(['a.ts']);
  await cache.invalidate(['b.ts']);
  await cache.collectAll();
  await cache.run(`
    insert into module_cache._artifacts
    select 'https://app.example/', 'a.ts', 'transpile', '', 'old', '{}', '{}', false, null, e.epoch,
      split_part('${token}', '/', 2)::pg_snapshot, pg_current_xact_id(),
      module_cache._module_hash('https://app.example/', 'a.ts'), module_cache._realm_hash('https://app.example/'), '{}',
      now(), null
    from module_cache._epoch() e`);
  expect((await cache.get('a.ts')).status).toBe('miss');
});

trap(
  'an artifact that is renewed by a transaction which then invalidates it does not survive that',
  OWN_TRANSACTION_IN_GARBAGE,
  async (db) => {
    const [writer, other] = pair(db);
    await other.publish('a.ts', 'old');
    await other.invalidate(['x.ts']);
    await other.collect();
    await other.invalidate(['y.ts']);
    await writer.begin();
    await writer.run('select pg_current_xact_id()');
    await other.run('select pg_current_xact_id()');
    await until(async () => (await writer.collect()).renewed === '1', {
      timeoutMs: 30_000,
      what: 'the artifact was renewed',
    });
    await writer.invalidate(['a.ts']);
    await writer.commit();
    expect((await other.get('a.ts')).status).toBe('miss');
  },
);

test(
  'an open transaction that invalidated keeps its generation although everything around it is collected',
  inDatabase(async (db) => {
    const [writer, other] = pair(db);
    const { token } = await other.get('a.ts');
    await writer.begin();
    await writer.invalidate(['a.ts']);
    for (let round = 0; round < 5; round += 1) {
      await other.invalidate([`x${round}.ts`]);
      await other.collect();
    }
    expect((await other.put('a.ts', 'old', { token })).reason).toBe('stored');
    await writer.commit();
    expect((await other.get('a.ts')).status).toBe('miss');
    for (let round = 0; round < 3; round += 1) await other.collect();
    expect((await other.get('a.ts')).status).toBe('miss');
    expect((await other.put('a.ts', 'old', { token })).reason).toBe('stale');
  }),
);

test(
  'a reader in an old snapshot sees what it saw before the garbage went',
  inDatabase(async (db) => {
    const [reader, other] = pair(db);
    await other.publish('a.ts', 'a');
    await other.publish('b.ts', 'b');
    await reader.begin('repeatable read');
    expect((await reader.get('a.ts')).body).toBe('a');
    await other.invalidate(['a.ts']);
    await other.invalidate(['x.ts']);
    await other.collectAll();
    expect((await reader.get('a.ts')).body).toBe('a');
    expect((await reader.get('b.ts')).body).toBe('b');
    await reader.commit();
    expect((await reader.get('a.ts')).status).toBe('miss');
    expect((await reader.get('b.ts')).body).toBe('b');
  }),
);

test(
  'what is dead, expired or of another life goes, what is live stays, and tombstones go with their generations',
  inDatabase(async (db) => {
    const cache = session(db);
    await cache.publish('live.ts', 'live');
    await cache.publish('dead.ts', 'dead');
    await cache.publish('short.ts', 'short', { expiresIn: '1 millisecond' });
    await cache.publish('elsewhen.ts', 'of another life');
    await cache.run(
      `update module_cache._artifacts set epoch = gen_random_uuid() where canonical_path = 'elsewhen.ts'`,
    );
    await cache.invalidate(['dead.ts']);
    expect(await count(cache, 'tombstones')).toBe(1);
    await cache.invalidate(['later.ts']);
    await cache.collectAll();
    const rows = await cache.run('select canonical_path, status from module_cache.artifacts');
    expect(rows).toEqual([{ canonical_path: 'live.ts', status: 'live' }]);
    expect(
      (await cache.run('select canonical_path from module_cache.tombstones')).map(
        (row) => row.canonical_path,
      ),
    ).toEqual(['later.ts']);
    expect(await count(cache, '_invalidations')).toBe(1);
  }),
);

test(
  'garbage goes in batches, and complete says when it is over',
  inDatabase(async (db) => {
    const cache = session(db);
    for (let i = 0; i < 25; i += 1) {
      await cache.publish(`m${i}.ts`, 'x');
      await cache.invalidate([`m${i}.ts`]);
    }
    await cache.invalidate(['last.ts']);
    let rounds = 0;
    await until(
      async () => {
        const counts = await cache.collect('0 s', 10);
        for (const key of ['artifacts', 'generations', 'invalidations'] as const) {
          expect(Number(counts[key])).toBeLessThanOrEqual(10);
        }
        rounds += 1;
        return (
          counts.complete &&
          (await count(cache, '_artifacts')) === 0 &&
          (await count(cache, '_generations')) <= 1
        );
      },
      { timeoutMs: 30_000, what: 'all batches are collected' },
    );
    expect(rounds).toBeGreaterThanOrEqual(3);
  }),
);

test(
  'two collectors at once do not wait for each other',
  inDatabase(async (db) => {
    const one = session(db);
    const other = session(db, { statement_timeout: '2s' });
    await one.begin();
    await one.collect();
    expect(await other.collect()).toEqual({
      artifacts: '0',
      renewed: '0',
      generations: '0',
      invalidations: '0',
      complete: false,
    });
    await one.commit();
    expect((await other.collect()).complete).toBe(true);
  }),
);

test(
  'an artifact that somebody holds while garbage is collected costs a miss at most',
  inDatabase(async (db) => {
    const [holder, cache] = pair(db);
    await cache.publish('held.ts', 'held');
    await cache.publish('free.ts', 'free');
    await cache.invalidate(['x.ts']);
    await cache.invalidate(['y.ts']);
    await holder.begin();
    await holder.run(`select from module_cache._artifacts where canonical_path = 'held.ts' for update`);
    await until(async () => (await cache.collect()).renewed === '1', {
      timeoutMs: 30_000,
      what: 'the other was renewed',
    });
    await holder.rollback();
    expect((await cache.get('free.ts')).status).toBe('hit');
    expect((await cache.get('held.ts')).status).toBe('miss');
    await cache.publish('held.ts', 'again');
    expect((await cache.get('held.ts')).body).toBe('again');
  }),
);

test.each([
  ['a negative retention', "'-1 second'", '10'],
  ['no retention', 'null', '10'],
  ['an empty batch', "'1 hour'", '0'],
  ['no batch', "'1 hour'", 'null'],
])('garbage collection with %s is refused with a hint', async (_, olderThan, batch) => {
  const db = await createDatabase();
  try {
    await expect(
      session(db).run(`select module_cache.collect_garbage(${olderThan}, ${batch})`),
    ).rejects.toMatchObject({ code: 'MC003', hint: expect.stringContaining('interval from 0') });
  } finally {
    await db.drop();
  }
});
