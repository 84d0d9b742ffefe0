import { expect, test } from '@jest/globals';
import { trap } from '../sql/support/guard.js';
import {
  ISOLATIONS,
  OTHER_REALM,
  pair,
  REALM,
  type Read,
  type Session,
  session,
} from '../sql/support/session.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import {
  CHECK_AT_PUT,
  CHECK_AT_READ,
  DEPENDENCIES,
  FLOOR,
  FLOOR_AT_READ,
  GLOBAL_KEY,
  INDEX_OF_A_CLEARED_REALM,
  KIND_AT_READ,
  MODULE_OF_A_URL,
  NEWER_STAYS,
  NO_TOKEN_IN_A_WRITER,
  NOT_FROM_THE_FUTURE,
  OWN_TRANSACTION,
  PUT_XID,
  REALM_KEY,
  REALMS_INSIDE_THE_OWN,
  REALMS_OF_A_KEY,
  TRANSITIVE_WALK,
  VARIANT_AT_READ,
} from './support/guards.js';

/** Invalidations and puts that overlap in time (DESIGN.md section 3, invariants 1 and 2). */

const expectMiss = (read: Read): void => {
  expect(read.status).toBe('miss');
  expect(read.body).toBeNull();
};

trap('an invalidation that is not yet committed while put checks is not lost', CHECK_AT_READ, async (db) => {
  const [writer, producer] = pair(db);
  const { token } = await producer.get('a.ts');
  await writer.begin();
  await writer.invalidate(['a.ts']);
  expect(await producer.put('a.ts', 'old', { token })).toEqual({ stored: true, reason: 'stored' });
  expect((await producer.get('a.ts')).status).toBe('hit');
  await writer.commit();
  expectMiss(await producer.get('a.ts'));
});

trap('a put that is not yet committed while invalidate runs is not lost', CHECK_AT_READ, async (db) => {
  const [writer, producer] = pair(db);
  const { token } = await producer.get('a.ts');
  await producer.begin();
  await producer.put('a.ts', 'old', { token });
  await writer.invalidate(['a.ts']);
  await producer.commit();
  expectMiss(await producer.get('a.ts'));
});

trap('a late writer is told that its result is outdated', CHECK_AT_PUT, async (db) => {
  const cache = session(db);
  const { token } = await cache.get('a.ts');
  await cache.invalidate(['a.ts']);
  expect(await cache.put('a.ts', 'old', { token })).toEqual({ stored: false, reason: 'stale' });
  expectMiss(await cache.get('a.ts'));
});

trap(
  'a change of a dependency while its consumer is produced for the first time outdates the consumer',
  DEPENDENCIES,
  async (db) => {
    const [writer, producer] = pair(db);
    const { token } = await producer.get('consumer.ts');
    await writer.invalidate(['dependency.ts']);
    // Nobody knew of the edge at that time: neither has a row.
    const put = await producer.put('consumer.ts', 'old', { token, dependencies: ['./dependency'.slice(2)] });
    expect(put).toEqual({ stored: false, reason: 'stale' });
    expectMiss(await producer.get('consumer.ts'));
  },
);

test('a change of a dependency that commits after the put of its first consumer outdates the consumer', async () => {
  const db = await createDatabase();
  try {
    const [writer, producer] = pair(db);
    const { token } = await producer.get('consumer.ts');
    await writer.begin();
    await writer.invalidate(['dependency.ts']);
    await producer.put('consumer.ts', 'old', { token, dependencies: ['dependency.ts'] });
    expect((await producer.get('consumer.ts')).status).toBe('hit');
    await writer.commit();
    expectMiss(await producer.get('consumer.ts'));
  } finally {
    await db.drop();
  }
});

trap(
  'a realm that is cleared while a path without a row is being produced stays cleared',
  REALM_KEY,
  async (db) => {
    const cache = session(db);
    const { token } = await cache.get('never-stored.ts');
    await cache.clearRealm();
    expect((await cache.put('never-stored.ts', 'old', { token })).reason).toBe('stale');
    expectMiss(await cache.get('never-stored.ts'));
  },
);

trap(
  'everything that is cleared while a path without a row is being produced stays cleared',
  GLOBAL_KEY,
  async (db) => {
    const cache = session(db);
    const { token } = await cache.get('never-stored.ts');
    await cache.clearAll();
    expect((await cache.put('never-stored.ts', 'old', { token })).reason).toBe('stale');
    expectMiss(await cache.get('never-stored.ts'));
  },
);

/** Invalidations of a path that has never had a row, and what a later one needs to make garbage of the first. */
const clears: [string, (cache: Session) => Promise<unknown>][] = [
  ['module', (cache) => cache.invalidate(['never-stored.ts'])],
  ['realm', (cache) => cache.clearRealm()],
  ['everything', (cache) => cache.clearAll()],
  ['dependency', (cache) => cache.invalidate(['dependency.ts'])],
];
for (const [what, clear] of clears) {
  trap(
    `an invalidation (${what}) is remembered for a slow writer although its garbage was collected in between`,
    FLOOR,
    async (db) => {
      const cache = session(db);
      const { token } = await cache.get('never-stored.ts');
      await clear(cache);
      await cache.invalidate(['something/else.ts']);
      await cache.collectAll();
      const [{ left }] = (await cache.run(`
        select count(*) as left from module_cache.tombstones
        where canonical_path in ('never-stored.ts', 'dependency.ts')`)) as [{ left: string }];
      expect(left).toBe('0');
      const put = await cache.put('never-stored.ts', 'old', { token, dependencies: ['dependency.ts'] });
      expect(put).toEqual({ stored: false, reason: 'stale' });
      expectMiss(await cache.get('never-stored.ts'));
    },
  );
}

trap(
  'an artifact whose put was open while its invalidation was collected does not come back',
  FLOOR_AT_READ,
  async (db) => {
    const [writer, producer] = pair(db);
    const [collector, later] = pair(db);
    const { token } = await producer.get('a.ts');
    // The invalidation has an id before the open put has one, so that the put does not hold back the floor.
    await writer.begin();
    await writer.invalidate(['a.ts']);
    await producer.begin();
    expect((await producer.put('a.ts', 'old', { token })).stored).toBe(true);
    await writer.commit();
    await producer.run('select 1');
    await later.begin();
    await later.run('select pg_current_xact_id()');
    await producer.commit();
    await later.commit();
    await writer.invalidate(['b.ts']);
    await writer.invalidate(['c.ts']);
    // Held, so that garbage collection has to leave the row where it is.
    await producer.begin();
    await producer.run(`select from module_cache._artifacts where canonical_path = 'a.ts' for update`);
    await until(
      async () => {
        await collector.collect();
        const [left] = await collector.run(
          `select from module_cache._generations where canonical_path = 'a.ts'`,
        );
        return left === undefined;
      },
      { timeoutMs: 30_000, what: 'the generation of a.ts was collected' },
    );
    await producer.rollback();
    expectMiss(await producer.get('a.ts'));
  },
);

trap(
  'a token taken inside a transaction that invalidated and then rolls back stores nothing',
  NO_TOKEN_IN_A_WRITER,
  async (db) => {
    const [writer, other] = pair(db);
    await writer.run('create table sources (path text, version integer)');
    await writer.run(`insert into sources values ('a.ts', 1)`);
    await writer.begin();
    await writer.run('update sources set version = 2');
    await writer.invalidate(['a.ts']);
    await other.run('select pg_current_xact_id()');
    const { token } = await writer.get('a.ts');
    const [{ version }] = (await writer.run('select version from sources')) as [{ version: number }];
    await writer.rollback();
    await other.put('a.ts', String(version), { token });
    expectMiss(await other.get('a.ts'));
    expect(token).toBeNull();
  },
);

trap(
  'a cursor taken inside a transaction that then commits does not skip its invalidation',
  OWN_TRANSACTION,
  async (db) => {
    const [writer, other] = pair(db);
    const start = await other.changesSince(null);
    await writer.begin();
    await writer.invalidate(['a.ts']);
    await other.run('select pg_current_xact_id()');
    const inside = await writer.changesSince(start.cursor);
    expect(inside).toMatchObject({ complete: true, changes: [] });
    await writer.commit();
    const after = await other.changesSince(inside.cursor);
    expect(after).toMatchObject({ complete: true, changes: [{ k: 'module', r: REALM, m: ['a.ts'] }] });
  },
);

trap(
  'an artifact that was read before another one took its place does not pass for current',
  PUT_XID,
  async (db) => {
    const cache = session(db);
    await cache.publish('a.ts', 'first');
    const read = await cache.get('a.ts');
    expect(await cache.isCurrent('a.ts', read.token as string)).toBe(true);
    await cache.publish('a.ts', 'second');
    expect(await cache.isCurrent('a.ts', read.token as string)).toBe(false);
  },
);

const both = async (work: (db: TestDatabase) => Promise<void>): Promise<void> => {
  const db = await createDatabase();
  try {
    await work(db);
  } finally {
    await db.drop();
  }
};

test.each(ISOLATIONS)(
  'an invalidation and a put in one transaction (%s): the put is refused, and committing keeps it so',
  (isolation) =>
    both(async (db) => {
      const cache = session(db);
      const { token } = await cache.get('a.ts');
      await cache.begin(isolation);
      await cache.invalidate(['a.ts']);
      expect((await cache.put('a.ts', 'old', { token })).reason).toBe('stale');
      await cache.commit();
      expectMiss(await cache.get('a.ts'));
    }),
);

test.each(ISOLATIONS)(
  'a put followed by an invalidation in one transaction (%s) is never readable',
  (isolation) =>
    both(async (db) => {
      const cache = session(db);
      const { token } = await cache.get('a.ts');
      await cache.begin(isolation);
      expect((await cache.put('a.ts', 'old', { token, dependencies: ['b.ts'] })).reason).toBe('stored');
      expect((await cache.get('a.ts')).status).toBe('hit');
      await cache.invalidate(['b.ts']);
      expectMiss(await cache.get('a.ts'));
      await cache.commit();
      expectMiss(await cache.get('a.ts'));
    }),
);

test.each(ISOLATIONS)('a savepoint rolled back around invalidate (%s) leaves no trace', (isolation) =>
  both(async (db) => {
    const [writer, reader] = pair(db);
    await reader.publish('a.ts', 'kept');
    await reader.publish('b.ts', 'gone');
    const { cursor } = await reader.changesSince(null);
    await writer.begin(isolation);
    await writer.run('savepoint before');
    await writer.invalidate(['a.ts']);
    expectMiss(await writer.get('a.ts'));
    await writer.run('rollback to savepoint before');
    expect(await writer.get('a.ts')).toMatchObject({ status: 'hit', body: 'kept' });
    await writer.run('savepoint second');
    await writer.invalidate(['b.ts']);
    await writer.run('release savepoint second');
    await writer.commit();
    expect(await reader.get('a.ts')).toMatchObject({ status: 'hit', body: 'kept' });
    expectMiss(await reader.get('b.ts'));
    expect((await reader.changesSince(cursor)).changes).toMatchObject([{ k: 'module', m: ['b.ts'] }]);
  }),
);

trap('two variants of one module keep their own bodies and dependencies', VARIANT_AT_READ, async (db) => {
  const cache = session(db);
  await cache.publish('a.ts', 'old options', { variant: 'one', dependencies: ['x.ts'] });
  await cache.publish('a.ts', 'new options', { variant: 'two', dependencies: ['y.ts'] });
  expect(await cache.get('a.ts', { variant: 'one' })).toMatchObject({
    body: 'old options',
    dependency_keys: ['x'],
  });
  expect(await cache.get('a.ts', { variant: 'two' })).toMatchObject({
    body: 'new options',
    dependency_keys: ['y'],
  });
  await cache.invalidate(['x.ts']);
  expectMiss(await cache.get('a.ts', { variant: 'one' }));
});

trap('two kinds of one module keep their own bodies and dependencies', KIND_AT_READ, async (db) => {
  const cache = session(db);
  await cache.publish('a.ts', 'code', { kind: 'transpile', dependencies: ['x.ts'] });
  await cache.publish('a.ts', '{}', { kind: 'definition', dependencies: ['y.ts'] });
  expect(await cache.get('a.ts', { kind: 'transpile' })).toMatchObject({
    body: 'code',
    dependency_keys: ['x'],
  });
  expect(await cache.get('a.ts', { kind: 'definition' })).toMatchObject({
    body: '{}',
    dependency_keys: ['y'],
  });
  await cache.invalidate(['x.ts']);
  expectMiss(await cache.get('a.ts', { kind: 'transpile' }));
});

trap(
  'a clear of one realm reaches artifacts of other realms that depend on it',
  REALMS_OF_A_KEY,
  async (db) => {
    const cache = session(db);
    await cache.publish('a.ts', 'uses the library', { dependencies: [`${OTHER_REALM}deep/down/library.ts`] });
    await cache.publish('b.ts', 'does not', { dependencies: ['c.ts'] });
    await cache.clearRealm(OTHER_REALM);
    expectMiss(await cache.get('a.ts'));
    expect((await cache.get('b.ts')).status).toBe('hit');
  },
);

/** Lies in the URL of the first one. */
const INNER = `${REALM}inner/`;

trap(
  'a clear of a realm reaches artifacts of the realm around it that depend on it, by URL or by key',
  REALMS_INSIDE_THE_OWN,
  async (db) => {
    const cache = session(db);
    await cache.publish('url.ts', 'uses the library', { dependencies: [`${INNER}deep/down/library.ts`] });
    await cache.publish('key.ts', 'uses the library', { dependencies: ['inner/library.ts'] });
    await cache.publish('other.ts', 'does not', {
      dependencies: ['innermost/library.ts', 'deep/down/library'],
    });
    await cache.publish('inner/own.ts', 'does not');
    const { token } = await cache.get('new.ts');
    await cache.clearRealm(INNER);
    expectMiss(await cache.get('url.ts'));
    expectMiss(await cache.get('key.ts'));
    expect((await cache.get('other.ts')).status).toBe('hit');
    // Whatever its path, a module belongs to the realm that it was published in.
    expect((await cache.get('inner/own.ts')).status).toBe('hit');
    const put = await cache.put('new.ts', 'old', { token, dependencies: ['inner/a'] });
    expect(put.reason).toBe('stale');
  },
);

const INDEXES = [INNER, `${INNER}index.ts`, 'inner', 'inner/', 'inner/index.gts'];

trap(
  'a clear of a realm reaches artifacts of the realm around it that depend on its index, by whatever name',
  INDEX_OF_A_CLEARED_REALM,
  async (db) => {
    const cache = session(db);
    for (const [n, name] of INDEXES.entries()) await cache.publish(`${n}.ts`, 'x', { dependencies: [name] });
    await cache.publish('folder.ts', 'x', { dependencies: ['three.js/index.js'] });
    await cache.publish('other.ts', 'x', { dependencies: ['index', 'inner.css'] });
    await cache.clearRealm(INNER);
    await cache.clearRealm(`${REALM}three.js/`);
    for (const n of INDEXES.keys()) expectMiss(await cache.get(`${n}.ts`));
    expectMiss(await cache.get('folder.ts'));
    expect((await cache.get('other.ts')).status).toBe('hit');
  },
);

trap(
  'an invalidation of the index of a realm reaches the realm around it, by whatever name and through others',
  MODULE_OF_A_URL,
  async (db) => {
    const cache = session(db);
    for (const [n, name] of INDEXES.entries()) await cache.publish(`${n}.ts`, 'x', { dependencies: [name] });
    await cache.publish('index.ts', 'x', { realm: INNER, dependencies: ['library.ts'] });
    const { token } = await cache.get('new.ts');
    const reached = await cache.invalidate(['library.ts'], INNER);
    expect(reached.map((module) => module.realm_url + module.canonical_path).sort()).toEqual(
      [...[...INDEXES.keys()].map((n) => `${REALM}${n}.ts`), `${INNER}index.ts`, `${INNER}library.ts`].sort(),
    );
    for (const n of INDEXES.keys()) expectMiss(await cache.get(`${n}.ts`));
    // Nobody had to know of them.
    await cache.invalidate(['index.ts'], INNER);
    for (const name of INDEXES) {
      expect((await cache.put('new.ts', 'old', { token, dependencies: [name] })).reason).toBe('stale');
    }
  },
);

trap(
  'a delete typed by an operator reaches the realm around the one that it deletes from',
  MODULE_OF_A_URL,
  async (db) => {
    const cache = session(db);
    await cache.publish('a.ts', 'x', { dependencies: ['inner'] });
    await cache.publish('index.ts', 'x', { realm: INNER });
    await cache.run(`delete from module_cache.artifacts where realm_url = '${INNER}'`);
    expectMiss(await cache.get('a.ts'));
  },
);

trap(
  'a table that is tracked in a realm reaches the realm around it',
  [REALMS_INSIDE_THE_OWN, INDEX_OF_A_CLEARED_REALM],
  async (db) => {
    const cache = session(db);
    await cache.run('create table files (path text)');
    await cache.run(`select module_cache.track_table('files', '${INNER}', 'path')`);
    await cache.run(`insert into files values ('index.ts'), ('b.ts')`);
    const publish = async (): Promise<void> => {
      await cache.publish('a.ts', 'x', { dependencies: ['inner'] });
      await cache.publish('b.ts', 'x', { dependencies: ['inner/b'] });
    };
    await publish();
    await cache.run('update files set path = path');
    expectMiss(await cache.get('a.ts'));
    expectMiss(await cache.get('b.ts'));
    await publish();
    await cache.run('truncate files');
    expectMiss(await cache.get('a.ts'));
    expectMiss(await cache.get('b.ts'));
  },
);

test('a writer of another realm is outdated by a clear of the realm that it read from, although no row knows of it', () =>
  both(async (db) => {
    const cache = session(db);
    const { token } = await cache.get('a.ts');
    await cache.clearRealm(OTHER_REALM);
    const put = await cache.put('a.ts', 'old', { token, dependencies: [`${OTHER_REALM}library.ts`] });
    expect(put.reason).toBe('stale');
  }));

trap(
  'modules published before what they import are reached all the same (x3, x2, x1)',
  TRANSITIVE_WALK,
  async (db) => {
    const cache = session(db);
    await cache.publish('x3.ts', '3', { dependencies: ['x2.ts'] });
    await cache.publish('x2.ts', '2', { dependencies: ['x1.ts'] });
    await cache.publish('x1.ts', '1');
    const reached = await cache.invalidate(['x1.ts']);
    expect(reached.map(({ canonical_path }) => canonical_path).sort()).toEqual(['x1.ts', 'x2.ts', 'x3.ts']);
    for (const path of ['x1.ts', 'x2.ts', 'x3.ts']) expectMiss(await cache.get(path));
  },
);

test('an import dropped from a cycle no longer carries invalidations', () =>
  both(async (db) => {
    const cache = session(db);
    const names = (modules: { canonical_path: string }[]): string[] =>
      modules.map(({ canonical_path }) => canonical_path).sort();
    await cache.publish('a.ts', 'a', { dependencies: ['b.ts'] });
    await cache.publish('b.ts', 'b', { dependencies: ['c.ts'] });
    await cache.publish('c.ts', 'c', { dependencies: ['a.ts'] });
    expect(names(await cache.invalidate(['b.ts']))).toEqual(['a.ts', 'b.ts', 'c.ts']);
    await cache.publish('c.ts', 'c without a', { dependencies: [] });
    await cache.publish('a.ts', 'a', { dependencies: ['b.ts'] });
    await cache.publish('b.ts', 'b', { dependencies: ['c.ts'] });
    expect(names(await cache.invalidate(['a.ts']))).toEqual(['a.ts']);
    expect((await cache.get('c.ts')).status).toBe('hit');
    expect((await cache.get('b.ts')).status).toBe('hit');
    expect(names(await cache.invalidate(['c.ts']))).toEqual(['a.ts', 'b.ts', 'c.ts']);
  }));

trap('a token from the future does not make its artifact immune', NOT_FROM_THE_FUTURE, async (db) => {
  const cache = session(db);
  const token = await cache.token();
  const future = token.replace(/\/.*/, '/999999999:999999999:');
  await expect(cache.put('a.ts', 'immune', { token: future })).rejects.toMatchObject({ code: 'MC002' });
  expectMiss(await cache.get('a.ts'));
});

trap('a slow writer does not replace what a quicker one made of newer sources', NEWER_STAYS, async (db) => {
  const cache = session(db);
  const slow = await cache.token();
  await cache.run('select pg_current_xact_id()');
  await cache.publish('a.ts', 'newer');
  expect(await cache.put('a.ts', 'older', { token: slow })).toEqual({ stored: false, reason: 'older' });
  expect((await cache.get('a.ts')).body).toBe('newer');
});

test('a newer artifact that has expired does not keep an older writer out', () =>
  both(async (db) => {
    const cache = session(db);
    const token = await cache.token();
    await cache.run('select pg_current_xact_id()');
    await cache.publish('a.ts', 'newer', { expiresIn: '1 millisecond' });
    await until(async () => (await cache.get('a.ts')).status === 'miss', { what: 'the artifact expired' });
    expect((await cache.put('a.ts', 'older', { token })).reason).toBe('stored');
    expect((await cache.get('a.ts')).body).toBe('older');
  }));
