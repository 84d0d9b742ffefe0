import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createUnguardedDatabase } from '../sql/support/guard.js';
import { pair, type Session, session } from '../sql/support/session.js';
import { connect, disconnect, type TestDatabase } from '../support/database.js';
import type { Guard } from '../support/install-script.js';
import { startServer, type TestServer } from '../support/server.js';
import { until } from '../support/wait.js';
import { NULL_EPOCH, PREPARED_TRANSACTIONS, SERVER_START } from './support/guards.js';

/**
 * One life of the unlogged tables ends, another begins (DESIGN.md section 3, invariant 5): fails empty, never stale.
 * A server of its own, to be stopped and killed.
 */

let server: TestServer;
beforeAll(async () => {
  server = await startServer({ settings: { max_prepared_transactions: 10 } });
});
afterAll(() => server?.remove());

/** A database for each guard that is taken out, beside one with all of them. */
async function withDatabases<Before>(
  guards: readonly (Guard | readonly Guard[])[],
  before: (db: TestDatabase) => Promise<Before>,
  event: () => Promise<void>,
  after: (db: TestDatabase, before: Before) => Promise<void>,
): Promise<void> {
  const databases: TestDatabase[] = [];
  try {
    for (const without of [[], ...guards.map((guard) => [guard].flat())]) {
      databases.push(await createUnguardedDatabase(without, server.url));
    }
    const states: Before[] = [];
    for (const db of databases) states.push(await before(db));
    for (const db of databases) await disconnect(db.url);
    await event();
    const [whole, ...holed] = databases as [TestDatabase, ...TestDatabase[]];
    await after(whole, states[0] as Before);
    for (const [index, db] of holed.entries()) {
      await expect(after(db, states[index + 1] as Before)).rejects.toThrow();
    }
  } finally {
    for (const db of databases) {
      await endPrepared(db);
      await db.drop();
    }
  }
}

async function endPrepared(db: TestDatabase): Promise<void> {
  const sql = connect(db.url, { max: 1 });
  const rows = await sql`select gid from pg_prepared_xacts where database = current_database()`;
  for (const { gid } of rows) await sql.unsafe(`rollback prepared '${gid}'`);
}

const reconnect = async (): Promise<void> => {
  const sql = connect(server.url, { max: 1 });
  await until(
    () =>
      sql`select 1`.then(
        () => true,
        () => false,
      ),
    { what: 'the server is up' },
  );
  await disconnect(server.url);
};

describe('after a crash', () => {
  const crashes: [string, () => Promise<void>][] = [
    ['pg_ctl stop -m immediate', () => server.restart('immediate')],
    [
      'kill -9 of the postmaster',
      async () => {
        await server.kill();
        await server.up();
      },
    ],
    [
      'the death of one backend, which restarts all without the postmaster',
      async () => {
        const sql = connect(server.url, { max: 1 });
        const [row] = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
        process.kill(row?.pid as number, 'SIGKILL');
        await sql`select 1`.catch(() => {});
        await disconnect(server.url);
        await reconnect();
      },
    ],
  ];

  test.each(crashes)('(%s) nothing comes back, and the tokens and cursors of before are void', (_, crash) =>
    withDatabases(
      [],
      async (db) => {
        const cache = session(db);
        await cache.publish('a.ts', 'before');
        await cache.invalidate(['b.ts']);
        return { token: await cache.token(), cursor: (await cache.changesSince(null)).cursor };
      },
      crash,
      async (db, { token, cursor }) => {
        const cache = session(db);
        expect(await cache.get('a.ts')).toMatchObject({ status: 'miss', token: null });
        expect(await cache.put('a.ts', 'old', { token })).toEqual({ stored: false, reason: 'epoch' });
        expect((await cache.get('a.ts')).status).toBe('miss');
        expect(await cache.changesSince(cursor)).toMatchObject({ complete: false, changes: [] });
        expect(await cache.isCurrent('a.ts', token)).toBe(false);
        // And a new life has begun.
        await cache.publish('a.ts', 'after');
        expect((await cache.get('a.ts')).body).toBe('after');
      },
    ),
  );

  test('with writers in flight nothing comes back', () =>
    withDatabases(
      [],
      async (db) => {
        const [writer, producer] = pair(db);
        const { token } = await producer.get('a.ts');
        await writer.begin();
        await writer.invalidate(['a.ts']);
        await producer.begin();
        await producer.put('a.ts', 'old', { token });
        return token;
      },
      () => server.restart('immediate'),
      async (db, token) => {
        const cache = session(db);
        expect((await cache.get('a.ts')).status).toBe('miss');
        expect((await cache.put('a.ts', 'old', { token })).reason).toBe('epoch');
        expect((await cache.put('a.ts', 'old', { token })).reason).toBe('epoch');
        expect((await cache.get('a.ts')).status).toBe('miss');
      },
    ));
});

describe('after a clean restart', () => {
  test('the cache is warm, and the tokens and cursors of before are void', () =>
    withDatabases(
      [SERVER_START],
      async (db) => {
        const cache = session(db);
        await cache.publish('a.ts', 'warm');
        return { token: await cache.token(), cursor: (await cache.changesSince(null)).cursor };
      },
      () => server.restart('fast'),
      async (db, { token, cursor }) => {
        const cache = session(db);
        // A volume could have been set back to an earlier copy.
        expect((await cache.put('b.ts', 'old', { token })).reason).toBe('epoch');
        expect((await cache.changesSince(cursor)).complete).toBe(false);
        expect(await cache.get('a.ts')).toMatchObject({ status: 'hit', body: 'warm' });
        expect((await cache.get('a.ts')).token).not.toBeNull();
      },
    ));

  test('an invalidation outdates what is warm even if nobody has confirmed the epoch before', () =>
    withDatabases(
      [NULL_EPOCH],
      async (db) => {
        await session(db).publish('a.ts', 'warm');
      },
      () => server.restart('fast'),
      async (db) => {
        const cache = session(db);
        expect((await cache.get('a.ts')).status).toBe('miss');
        await cache.invalidate(['a.ts']);
        const { cursor } = await cache.changesSince(null);
        expect(cursor).not.toBeNull();
        expect((await cache.get('a.ts')).status).toBe('miss');
      },
    ));

  test('a transaction that invalidated before anybody confirmed the epoch, and commits after, is seen', () =>
    withDatabases(
      [],
      async (db) => {
        await session(db).publish('a.ts', 'warm');
      },
      () => server.restart('fast'),
      async (db) => {
        const [writer, reader] = pair(db);
        await writer.begin();
        await writer.invalidate(['a.ts']);
        const { cursor } = await reader.changesSince(null);
        expect((await reader.get('a.ts')).status).toBe('hit');
        await writer.commit();
        expect((await reader.get('a.ts')).status).toBe('miss');
        expect((await reader.changesSince(cursor)).changes).toMatchObject([{ k: 'module', m: ['a.ts'] }]);
      },
    ));
});

describe('a prepared transaction that invalidated with notifications off', () => {
  const prepare = async (db: TestDatabase): Promise<string> => {
    const [writer, other] = pair(db);
    await other.run('create table sources (path text, version integer)');
    await other.run(`insert into sources values ('a.ts', 1)`);
    await writer.begin();
    await writer.run('set local module_cache.notify = off');
    await writer.run('update sources set version = 2');
    await writer.invalidate(['a.ts']);
    await writer.run(`prepare transaction '${db.name}'`);
    return db.name;
  };
  const producedAs = async (cache: Session): Promise<string> => {
    await cache.changesSince(null);
    const { token } = await cache.get('a.ts');
    const [{ version }] = (await cache.run('select version::text from sources')) as [{ version: string }];
    await cache.put('a.ts', version, { token });
    return version;
  };

  test('outlives a crash: its change commits although its generation is lost, and no artifact from before is served', () =>
    withDatabases(
      [PREPARED_TRANSACTIONS],
      prepare,
      () => server.restart('immediate'),
      async (db, transaction) => {
        const cache = session(db);
        try {
          expect(await producedAs(cache)).toBe('1');
        } finally {
          await cache.run(`commit prepared '${transaction}'`);
        }
        expect((await cache.get('a.ts')).status).toBe('miss');
      },
    ));

  test('outlives a crash: once it is over the cache is of use again', () =>
    withDatabases(
      [],
      prepare,
      () => server.restart('immediate'),
      async (db, transaction) => {
        const cache = session(db);
        expect(await producedAs(cache)).toBe('1');
        await cache.run(`commit prepared '${transaction}'`);
        await cache.publish('a.ts', '2');
        expect((await cache.get('a.ts')).body).toBe('2');
      },
    ));

  test('outlives a clean restart with its generation', () =>
    withDatabases(
      [],
      prepare,
      () => server.restart('fast'),
      async (db, transaction) => {
        const cache = session(db);
        expect(await producedAs(cache)).toBe('1');
        await cache.run(`commit prepared '${transaction}'`);
        expect((await cache.get('a.ts')).status).toBe('miss');
      },
    ));
});
