import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createUnguardedDatabase, trap } from '../sql/support/guard.js';
import { type Observer, observe, pair, REALM, type Session, session } from '../sql/support/session.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import type { Guard } from '../support/install-script.js';
import { startServer, type TestServer } from '../support/server.js';
import { serverMajor } from '../support/server-major.js';
import { until } from '../support/wait.js';
import {
  BYTES_AS_ESCAPED,
  COLLECTING,
  DELETE_TRIGGER,
  EMPTY_SETTING,
  NOTIFY_OFF,
  PAYLOAD_LIMIT,
  QUEUE_USAGE,
} from './support/guards.js';

/** What an observer session hears, and that telling it never makes the caller's transaction fail. */

const CHANNEL_LIMIT = 7000;
const sizes = (payloads: readonly string[]): number[] =>
  payloads.map((payload) => Buffer.byteLength(payload));
const pathsOf = (payloads: readonly string[]): string[] =>
  payloads.flatMap((payload) => (JSON.parse(payload) as { m?: string[] }).m ?? []).sort();

describe('an observer session', () => {
  let db: TestDatabase;
  let observer: Observer;
  let cache: Session;
  let heardBefore: number;
  beforeAll(async () => {
    db = await createDatabase();
    observer = await observe(db);
    cache = session(db);
    await cache.run('create table sources (path text primary key, version integer)');
    await cache.run(`insert into sources values ('a.ts', 1)`);
  });
  afterAll(() => db.drop());
  const news = async (): Promise<string[]> => {
    const heard = await observer.heard();
    const fresh = heard.slice(heardBefore);
    heardBefore = heard.length;
    return fresh;
  };
  const transaction = async (): Promise<string> => {
    const [{ id }] = (await cache.run('select pg_current_xact_id()::text as id')) as [{ id: string }];
    return id;
  };

  test('hears nothing before the commit and nothing after a rollback', async () => {
    heardBefore = (await observer.heard()).length;
    await cache.begin();
    await cache.invalidate(['a.ts']);
    await cache.clearRealm();
    await cache.clearAll();
    expect(await news()).toEqual([]);
    await cache.rollback();
    expect(await news()).toEqual([]);
  });

  test('hears of a module, of a realm and of everything, each with the id of the transaction', async () => {
    await cache.begin();
    const x = await transaction();
    await cache.invalidate(['models/person.ts']);
    await cache.clearRealm();
    await cache.clearAll();
    await cache.commit();
    expect((await news()).map((payload) => JSON.parse(payload))).toEqual([
      { k: 'module', r: REALM, m: ['models/person.ts'], x },
      { k: 'realm', r: REALM, x },
      { k: 'global', x },
    ]);
  });

  test('sees the source, the tombstone, the log row and the notification appear in one commit', async () => {
    const other = session(db);
    const state = async (): Promise<unknown> => {
      const [row] = await other.run(`
        select
          (select version from sources) as version,
          (select count(*) from module_cache.tombstones where canonical_path = 'one.ts')::integer as tombstones,
          (select count(*) from module_cache.invalidations where canonical_paths = '{one.ts}')::integer as logged`);
      return { ...row, heard: (await news()).length };
    };
    await cache.begin();
    await cache.run('update sources set version = 2');
    await cache.invalidate(['one.ts']);
    expect(await state()).toEqual({ version: 1, tombstones: 0, logged: 0, heard: 0 });
    await cache.commit();
    expect(await state()).toEqual({ version: 2, tombstones: 1, logged: 1, heard: 1 });
  });

  test('hears identical news of one transaction once', async () => {
    await cache.begin();
    await cache.invalidate(['twice.ts']);
    await cache.invalidate(['twice.ts']);
    await cache.commit();
    expect(await news()).toHaveLength(1);
  });

  test('hears of the whole fan-out in one notification in the usual case', async () => {
    for (let i = 1; i <= 100; i += 1) {
      await cache.publish(`components/importer-${i}.ts`, 'x', { dependencies: ['lib/hub.ts'] });
    }
    await cache.invalidate(['lib/hub.ts']);
    const [payload, ...more] = await news();
    expect(more).toEqual([]);
    expect(pathsOf([payload as string])).toHaveLength(101);
  });

  test('hears of a delete through the view', async () => {
    await cache.publish('deleted.ts', 'x');
    await cache.run(`delete from module_cache.artifacts where canonical_path = 'deleted.ts'`);
    expect(pathsOf(await news())).toEqual(['deleted.ts']);
  });

  test('hears nothing of garbage collection', async () => {
    await cache.collectAll();
    expect(await news()).toEqual([]);
  });

  test('hears nothing from a transaction that switched notifications off, and from later ones as before', async () => {
    await cache.begin();
    await cache.run('set local module_cache.notify = off');
    await cache.invalidate(['quiet.ts']);
    await cache.commit();
    expect(await news()).toEqual([]);
    const [{ setting }] = (await cache.run(
      `select current_setting('module_cache.notify', true) as setting`,
    )) as [{ setting: string }];
    expect(setting).toBe('');
    await cache.invalidate(['loud.ts']);
    expect(pathsOf(await news())).toEqual(['loud.ts']);
  });

  test.each(['off', 'OFF', 'false', 'no', '0'])(
    'hears nothing with module_cache.notify = %s',
    async (value) => {
      await cache.run(`set module_cache.notify = '${value}'`);
      await cache.invalidate(['quiet.ts']);
      await cache.run('reset module_cache.notify');
      expect(await news()).toEqual([]);
    },
  );

  test.each(['on', 'true', '', 'offf', 'a typing error'])(
    'hears all with module_cache.notify = %j',
    async (value) => {
      await cache.run(`set module_cache.notify = '${value}'`);
      await cache.invalidate(['loud.ts']);
      await cache.run('reset module_cache.notify');
      expect(await news()).toHaveLength(1);
    },
  );

  test('is sent to the log when a fan-out takes more than a handful of parts', async () => {
    const paths = Array.from({ length: 2000 }, (_, i) => `some/quite/long/folder/name/module-${i}.ts`);
    const { cursor } = await cache.changesSince(null);
    expect(await cache.invalidate(paths)).toHaveLength(2000);
    const payloads = await news();
    expect(payloads.map((payload) => JSON.parse(payload))).toEqual([
      { k: 'log', x: expect.stringMatching(/^\d+$/) },
    ]);
    const { changes } = await cache.changesSince(cursor);
    expect(changes.flatMap(({ m }) => m ?? [])).toHaveLength(2000);
  });

  test('gets a fan-out of a few parts whole, and none of them too long', async () => {
    const paths = Array.from(
      { length: 300 },
      (_, i) => `some/quite/long/folder/name/${'x'.repeat(50)}-${i}.ts`,
    );
    await cache.invalidate(paths);
    const payloads = await news();
    expect(payloads.length).toBeGreaterThan(1);
    expect(payloads.length).toBeLessThanOrEqual(8);
    expect(pathsOf(payloads)).toEqual([...paths].sort());
    for (const size of sizes(payloads)) expect(size).toBeLessThanOrEqual(CHANNEL_LIMIT);
  });
});

const nasty: [string, string, Guard | Guard[]][] = [
  ['long paths', 'x'.repeat(1900), PAYLOAD_LIMIT],
  ['control characters that take six bytes each', '\u0001'.repeat(1900), BYTES_AS_ESCAPED],
  ['quotes and backslashes', '"\\'.repeat(900), BYTES_AS_ESCAPED],
  ['characters of four bytes', '🧨'.repeat(470), PAYLOAD_LIMIT],
];
for (const [what, filler, guard] of nasty) {
  trap(`a fan-out of ${what} does not overflow a payload and abort the caller`, guard, async (db) => {
    const cache = session(db);
    const observer = await observe(db);
    const paths = Array.from({ length: 9 }, (_, i) => `${i}${filler}.ts`);
    const { cursor } = await cache.changesSince(null);
    expect(await cache.invalidate(paths)).toHaveLength(9);
    const payloads = await observer.heard();
    for (const size of sizes(payloads)) expect(size).toBeLessThanOrEqual(CHANNEL_LIMIT);
    const told = pathsOf(payloads);
    if (!payloads.some((payload) => payload.startsWith('{"k":"log"')))
      expect(told).toEqual([...paths].sort());
    const { changes } = await cache.changesSince(cursor);
    expect(changes.flatMap(({ m }) => m ?? []).sort()).toEqual([...paths].sort());
  });
}

trap(
  'one path that does not fit into a payload once it is escaped sends the listeners to the log',
  BYTES_AS_ESCAPED,
  async (db) => {
    const cache = session(db);
    const observer = await observe(db);
    await cache.invalidate(['\u0002'.repeat(1900)]);
    expect((await observer.heard()).map((payload) => JSON.parse(payload).k)).toEqual(['log']);
  },
);

trap(
  'a transaction with notifications off can be prepared, and its invalidation is in the log',
  NOTIFY_OFF,
  async (db) => {
    const [writer, other] = pair(db);
    await other.publish('a.ts', 'old');
    const { cursor } = await other.changesSince(null);
    await writer.begin();
    await writer.run('set local module_cache.notify = off');
    await writer.invalidate(['a.ts']);
    await writer.run(`prepare transaction 'm'`);
    try {
      expect((await other.get('a.ts')).status).toBe('hit');
      expect((await other.changesSince(cursor)).changes).toEqual([]);
    } finally {
      await other.run(`commit prepared 'm'`);
    }
    expect((await other.get('a.ts')).status).toBe('miss');
    expect((await other.changesSince(cursor)).changes).toMatchObject([{ k: 'module', m: ['a.ts'] }]);
  },
);

trap(
  'a setting that reads back as an empty string means nothing, and raises nothing',
  EMPTY_SETTING,
  async (db) => {
    const cache = session(db);
    await cache.begin();
    await cache.run('set local module_cache.notify = off');
    await cache.commit();
    const observer = await observe(db);
    expect(await cache.invalidate(['a.ts'])).toHaveLength(1);
    expect(await observer.heard()).toHaveLength(1);
  },
);

trap(
  'a delete typed by an operator leaves a tombstone that a slow writer loses against',
  DELETE_TRIGGER,
  async (db) => {
    const cache = session(db);
    const { token } = await cache.get('a.ts');
    await cache.publish('a.ts', 'wrong');
    const { cursor } = await cache.changesSince(null);
    await cache.run(`delete from module_cache.artifacts where canonical_path like 'a%'`);
    expect((await cache.put('a.ts', 'old', { token })).reason).toBe('stale');
    expect((await cache.changesSince(cursor)).changes).toMatchObject([{ k: 'module', m: ['a.ts'] }]);
    const [tombstone] = await cache.run('select * from module_cache.tombstones');
    expect(tombstone).toMatchObject({ realm_url: REALM, canonical_path: 'a.ts' });
  },
);

trap('garbage collection does not invalidate what it removes', COLLECTING, async (db) => {
  const cache = session(db);
  await cache.publish('a.ts', 'short-lived', { expiresIn: '1 millisecond' });
  const { cursor, token } = { ...(await cache.changesSince(null)), token: await cache.token() };
  await until(async () => (await cache.collect()).artifacts === '1', {
    what: 'the artifact was collected',
  });
  expect((await cache.changesSince(cursor)).changes).toEqual([]);
  expect((await cache.put('a.ts', 'a', { token })).reason).toBe('stored');
  // And what is deleted in the same session afterwards is an invalidation again.
  await cache.begin();
  await cache.collect();
  await cache.run('delete from module_cache.artifacts');
  await cache.commit();
  expect((await cache.changesSince(cursor)).changes).toMatchObject([{ k: 'module', m: ['a.ts'] }]);
});

// max_notify_queue_pages came with 17; before, the queue takes 8 GB.
const [queueSuite, whyNoQueue] =
  serverMajor >= 17 ? [describe, ''] : [describe.skip, ' (needs PostgreSQL 17 for max_notify_queue_pages)'];

queueSuite(`with a notification queue that is nearly full${whyNoQueue}`, () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startServer({ settings: { max_notify_queue_pages: 64 } });
  });
  afterAll(() => server?.remove());

  /** A listener that sits in an open transaction keeps the queue from being trimmed. */
  async function fillTo(db: TestDatabase, share: number): Promise<Session> {
    const idle = session(db);
    await idle.run('listen anything');
    await idle.begin();
    await idle.run('select 1');
    const cache = session(db);
    await until(
      async () => {
        await cache.run(`select pg_notify('anything', i || repeat('x', 7900)) from generate_series(1, 4) i`);
        const [{ usage }] = (await cache.run('select pg_notification_queue_usage() as usage')) as [
          { usage: number },
        ];
        return usage >= share;
      },
      { what: 'the queue is full' },
    );
    return idle;
  }

  async function invalidateMuch(db: TestDatabase): Promise<void> {
    const cache = session(db);
    await cache.publish('a.ts', 'old');
    const { cursor } = await cache.changesSince(null);
    for (let i = 0; i < 40; i += 1) {
      await cache.invalidate(Array.from({ length: 60 }, (_, k) => `${i}-${k}${'x'.repeat(100)}.ts`));
    }
    await cache.invalidate(['a.ts']);
    await cache.clearRealm('https://elsewhere.example/');
    expect((await cache.get('a.ts')).status).toBe('miss');
    expect((await cache.changesSince(cursor)).changes).toHaveLength(42);
  }

  test('invalidating goes on, and the log has it', async () => {
    const db = await createUnguardedDatabase([], server.url);
    const idle = await fillTo(db, 0.7);
    await invalidateMuch(db);
    await idle.rollback();
    await db.drop();

    const unguarded = await createUnguardedDatabase([QUEUE_USAGE], server.url);
    const idleToo = await fillTo(unguarded, 0.7);
    await expect(invalidateMuch(unguarded)).rejects.toThrow(/NOTIFY queue/);
    await idleToo.rollback();
    await unguarded.drop();
  });
});
