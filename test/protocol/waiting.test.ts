import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { trap } from '../sql/support/guard.js';
import { ISOLATIONS, type Isolation, pair, type Session, session } from '../sql/support/session.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import {
  CONTENDED_IN_OLD_SNAPSHOTS,
  GARBAGE_IN_OLD_SNAPSHOTS,
  INSERT_TIMEOUT,
  NO_LOCK_FOR_EACH_MODULE,
  NO_READ_OF_GENERATIONS,
  NO_WAIT_FOR_A_HELD_ROW,
  SKIP_LOCKED,
} from './support/guards.js';

/**
 * The caller's write is safe (DESIGN.md section 3, invariant 7): nobody waits, nothing deadlocks, no isolation level
 * sees an error that it would not have seen without the cache. A statement that waits runs into its timeout here.
 */

const PATIENCE = { statement_timeout: '1s' };
const impatient = (db: TestDatabase): Session => session(db, PATIENCE);

async function publishCycle(cache: Session): Promise<void> {
  await cache.publish('common.ts', 'common', { dependencies: ['a.ts', 'b.ts'] });
  await cache.publish('a.ts', 'a', { dependencies: ['b.ts'] });
  await cache.publish('b.ts', 'b', { dependencies: ['a.ts'] });
}

describe('while a long transaction that has invalidated a module is open', () => {
  let db: TestDatabase;
  let long: Session;
  let other: Session;
  beforeAll(async () => {
    db = await createDatabase();
    long = session(db);
    other = impatient(db);
    // importer -> module -> imported
    await other.publish('importer.ts', 'importer', { dependencies: ['module.ts'] });
    await other.publish('module.ts', 'module', { dependencies: ['imported.ts'] });
    await other.publish('imported.ts', 'imported');
    await long.begin();
    await long.invalidate(['module.ts']);
  });
  afterAll(() => db.drop());
  beforeEach(async () => {
    await other.run('rollback').catch(() => {});
  });

  test.each(['module.ts', 'importer.ts', 'imported.ts'])('reads of %s go on', async (path) => {
    expect((await other.get(path)).status).toMatch(/hit|miss/);
  });

  test.each(['module.ts', 'importer.ts', 'imported.ts', 'new.ts'])(
    'a put of %s does not wait',
    async (path) => {
      const put = await other.put(path, 'again', { token: await other.token() });
      expect(put.stored).toBe(true);
    },
  );

  for (const isolation of ISOLATIONS) {
    test.each([
      ['the same module', ['module.ts']],
      ['its importer', ['importer.ts']],
      ['what it imports', ['imported.ts']],
    ])(`another invalidation of %s does not wait (${isolation})`, async (_, paths) => {
      await other.begin(isolation);
      expect((await other.invalidate(paths)).length).toBeGreaterThan(0);
      await other.commit();
    });
  }

  test('clearing the realm or everything does not wait', async () => {
    await other.clearRealm();
    await other.clearAll();
  });

  test('collecting garbage does not wait', async () => {
    await other.collect();
  });

  test('an operator deletes through the view without waiting', async () => {
    await other.run(`delete from module_cache.artifacts where canonical_path = 'importer.ts'`);
  });

  test('changes are read without waiting, and this one is not among them yet', async () => {
    const { cursor } = await other.changesSince(null);
    expect(await other.changesSince(cursor)).toMatchObject({ complete: true, changes: [] });
    await long.commit();
    const [change] = (await other.changesSince(cursor)).changes;
    expect(change?.m?.sort()).toEqual(['importer.ts', 'module.ts']);
  });
});

for (const isolation of ISOLATIONS) {
  trap(
    `two transactions that invalidate the same modules in opposite orders both commit without waiting (${isolation})`,
    NO_LOCK_FOR_EACH_MODULE,
    async (db) => {
      await publishCycle(session(db));
      const [one, two] = [impatient(db), impatient(db)];
      await one.begin(isolation);
      await two.begin(isolation);
      await one.invalidate(['a.ts']);
      await two.invalidate(['b.ts']);
      await one.invalidate(['b.ts']);
      await two.invalidate(['a.ts']);
      await one.commit();
      await two.commit();
    },
  );

  trap(
    `two transactions that invalidate modules with a common importer both commit without waiting (${isolation})`,
    NO_LOCK_FOR_EACH_MODULE,
    async (db) => {
      await publishCycle(session(db));
      const [one, two] = [impatient(db), impatient(db)];
      await one.begin(isolation);
      await two.begin(isolation);
      for (const modules of [await one.invalidate(['a.ts']), await two.invalidate(['b.ts'])]) {
        expect(modules.map(({ canonical_path }) => canonical_path)).toContain('common.ts');
      }
      await two.commit();
      await one.commit();
    },
  );
}

trap(
  'SERIALIZABLE transactions that only invalidate never conflict with each other',
  NO_READ_OF_GENERATIONS,
  async (db) => {
    await publishCycle(session(db));
    const writers = Array.from({ length: 8 }, () => impatient(db));
    const all = (work: (writer: Session, index: number) => Promise<unknown>): Promise<unknown[]> =>
      Promise.all(writers.map(work));
    for (let round = 0; round < 15; round += 1) {
      await all((writer) => writer.begin('serializable'));
      await all((writer, index) => {
        if (index === 6) return writer.clearRealm();
        if (index === 7) return writer.clearAll();
        return writer.invalidate([['a.ts', 'b.ts', 'c.ts'][index % 3] as string]);
      });
      await all((writer, index) => writer.invalidate([`m${index}.ts`, 'a.ts']));
      await all((writer) => writer.commit());
    }
  },
);

trap('trap: a put waits for whoever holds the row that it wants', NO_WAIT_FOR_A_HELD_ROW, async (db) => {
  const [cache, other] = [session(db), session(db)];
  await cache.publish('a.ts', 'first');
  const token = await cache.token();
  await other.begin();
  await other.put('a.ts', 'second', { token });
  // What it would wait takes longer than this, and a busy machine is not busy each time.
  await cache.run("set statement_timeout = '100ms'");
  const reasons: string[] = [];
  while (reasons.length < 5 && !reasons.includes('contended')) {
    const { reason } = await cache
      .put('a.ts', 'third', { token })
      .catch((error: { code: string }) => ({ reason: error.code }));
    reasons.push(reason);
  }
  expect(reasons).toContain('contended');
});

for (const isolation of ISOLATIONS) {
  trap(`a put of a row that another put holds does not wait (${isolation})`, SKIP_LOCKED, async (db) => {
    const [holder, other] = [session(db), impatient(db)];
    await holder.publish('a.ts', 'first');
    const token = await other.token();
    await holder.begin();
    await holder.put('a.ts', 'second', { token });
    await other.begin(isolation);
    expect(await other.put('a.ts', 'third', { token })).toEqual({ stored: false, reason: 'contended' });
    await other.commit();
    await holder.commit();
    expect((await other.get('a.ts')).body).toBe('second');
  });

  trap(`a put of a row that another put inserts does not wait (${isolation})`, INSERT_TIMEOUT, async (db) => {
    const [holder, other] = [session(db), impatient(db)];
    const token = await other.token();
    await holder.begin();
    await holder.put('a.ts', 'first', { token });
    await other.begin(isolation);
    expect(await other.put('a.ts', 'second', { token })).toEqual({ stored: false, reason: 'contended' });
    await other.commit();
    await holder.rollback();
    expect((await other.put('a.ts', 'second', { token })).reason).toBe('stored');
  });
}

const OLD_SNAPSHOTS: readonly Isolation[] = ['repeatable read', 'serializable'];
for (const isolation of OLD_SNAPSHOTS) {
  trap(
    `a put from an old snapshot is contended, not an error (${isolation})`,
    CONTENDED_IN_OLD_SNAPSHOTS,
    async (db) => {
      const [old, other] = pair(db);
      const token = await old.token();
      await other.publish('there.ts', 'first');
      await old.begin(isolation);
      await old.run('select 1 from module_cache._epochs');
      await other.publish('there.ts', 'second');
      await other.publish('new.ts', 'first');
      await old.run('create temporary table work (id integer)');
      for (const path of ['there.ts', 'new.ts']) {
        expect(await old.put(path, 'late', { token })).toEqual({ stored: false, reason: 'contended' });
      }
      // What the caller did in this transaction is still there.
      await old.run('insert into work values (1)');
      await old.commit();
      expect((await other.get('there.ts')).body).toBe('second');
    },
  );

  trap(
    `garbage collection from an old snapshot gives up quietly (${isolation})`,
    GARBAGE_IN_OLD_SNAPSHOTS,
    async (db) => {
      const [old, other] = pair(db);
      await other.publish('a.ts', 'a', { expiresIn: '1 millisecond' });
      await other.run('select pg_sleep(0.002)');
      await old.begin(isolation);
      await old.run('select 1 from module_cache._epochs');
      await other.publish('a.ts', 'again');
      expect(await old.collect()).toMatchObject({ artifacts: '0', complete: false });
      await old.commit();
      expect((await other.get('a.ts')).body).toBe('again');
    },
  );
}

describe.each(ISOLATIONS)('inside a transaction at %s', (isolation) => {
  let db: TestDatabase;
  beforeAll(async () => {
    db = await createDatabase();
  });
  afterAll(() => db.drop());

  test('each function does what it does elsewhere, and the transaction commits', async () => {
    const [cache, other] = pair(db);
    const { cursor } = await other.changesSince(null);
    await cache.begin(isolation);
    const read = await cache.get('a.ts');
    expect(read.status).toBe('miss');
    expect((await cache.put('a.ts', 'a', { token: read.token })).reason).toBe('stored');
    expect((await cache.get('a.ts')).status).toBe('hit');
    expect(await cache.isCurrent('a.ts', read.token as string)).toBe(false);
    expect(await cache.claim('a.ts')).toBe(true);
    expect(await cache.release('a.ts')).toBe(true);
    expect((await cache.changesSince(cursor)).complete).toBe(true);
    expect(await cache.invalidate(['b.ts'])).toHaveLength(1);
    await cache.clearRealm('https://elsewhere.example/');
    await cache.collect();
    await cache.commit();
    expect((await other.get('a.ts')).status).toBe('hit');
    expect((await other.changesSince(cursor)).changes).toHaveLength(2);
    await cache.begin(isolation);
    await cache.clearAll();
    await cache.commit();
    expect((await other.get('a.ts')).status).toBe('miss');
  });

  test('a read keeps to its snapshot, so that it never mixes what was before an invalidation with what came after', async () => {
    const [cache, other] = pair(db);
    await other.publish('c.ts', 'before');
    await cache.begin(isolation);
    expect((await cache.get('c.ts')).body).toBe('before');
    await other.invalidate(['c.ts']);
    const later = await cache.get('c.ts');
    expect(later.status).toBe(isolation === 'read committed' ? 'miss' : 'hit');
    await cache.commit();
    expect((await cache.get('c.ts')).status).toBe('miss');
  });

  test('a token of an old snapshot stores nothing that an invalidation since then covers', async () => {
    const [cache, other] = pair(db);
    await cache.begin(isolation);
    const { token } = await cache.get('d.ts');
    await other.invalidate(['d.ts']);
    // An old snapshot cannot see the invalidation; the check at read does not need it to.
    await cache.put('d.ts', 'old', { token });
    await cache.commit();
    expect((await other.get('d.ts')).status).toBe('miss');
  });
});

test('a transaction that publishes 20,000 modules leaves room in the lock table for everybody else', async () => {
  const db = await createDatabase();
  try {
    const cache = session(db);
    const token = await cache.token();
    await cache.begin();
    const [{ stored }] = (await cache.sql`
      select count(*) filter (where p.stored) as stored
      from generate_series(1, 20000) i
      cross join lateral module_cache.put(
        'https://app.example/', 'm' || i || '.ts', 'transpile', '', 'x', '{}', '{}', ${token}) p`) as unknown as [
      { stored: string },
    ];
    expect(stored).toBe('20000');
    const [{ locks }] = (await cache.run('select count(*) as locks from pg_locks')) as [{ locks: string }];
    expect(Number(locks)).toBeLessThan(200);
    await cache.commit();
  } finally {
    await db.drop();
  }
});
