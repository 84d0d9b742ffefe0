import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  CURSOR_BELOW_THE_FLOOR,
  CURSOR_IN_PROGRESS,
  CURSOR_OF_ANOTHER_LIFE,
} from '../protocol/support/guards.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { trap } from './support/guard.js';
import { pair, REALM, type Session, session } from './support/session.js';

/** `changes_since` and `coherence_token` (DESIGN.md section 5): the log is correctness. */

let db: TestDatabase;
let cache: Session;
beforeAll(async () => {
  db = await createDatabase();
  cache = session(db);
});
afterAll(() => db.drop());

const paths = (changes: { m?: string[] }[]): string[] => changes.flatMap(({ m }) => m ?? []);

describe('changes_since', () => {
  test('of null starts a cursor, and says to drop everything', async () => {
    expect(await cache.changesSince(null)).toEqual({
      cursor: expect.stringMatching(/^[0-9a-f]{32}-[0-9a-f]+\/\d+:\d+:/),
      complete: false,
      changes: [],
    });
  });

  test('takes a token of get for a cursor', async () => {
    const token = await cache.token();
    await cache.invalidate(['a.ts']);
    expect(paths((await cache.changesSince(token)).changes)).toEqual(['a.ts']);
  });

  test('tells each change once, in the words of the notifications', async () => {
    const { cursor } = await cache.changesSince(null);
    await cache.begin();
    const [{ id }] = (await cache.run('select pg_current_xact_id()::text as id')) as [{ id: string }];
    await cache.invalidate(['b.ts']);
    await cache.clearRealm();
    await cache.clearAll();
    await cache.commit();
    const next = await cache.changesSince(cursor);
    expect(next).toMatchObject({
      complete: true,
      changes: [
        { k: 'module', r: REALM, m: ['b.ts'], x: id },
        { k: 'realm', r: REALM, x: id },
        { k: 'global', x: id },
      ],
    });
    expect(await cache.changesSince(next.cursor)).toMatchObject({ complete: true, changes: [] });
  });

  test('orders what one transaction did as it did it', async () => {
    const { cursor } = await cache.changesSince(null);
    await cache.begin();
    for (const path of ['z.ts', 'm.ts', 'a.ts']) await cache.invalidate([path]);
    await cache.commit();
    expect(paths((await cache.changesSince(cursor)).changes)).toEqual(['z.ts', 'm.ts', 'a.ts']);
  });

  test('has nothing of what was rolled back', async () => {
    const { cursor } = await cache.changesSince(null);
    await cache.begin();
    await cache.invalidate(['rolled-back.ts']);
    await cache.rollback();
    expect(await cache.changesSince(cursor)).toMatchObject({ complete: true, changes: [] });
  });

  test('works in a read-only transaction', async () => {
    const { cursor } = await cache.changesSince(null);
    await cache.invalidate(['read-only.ts']);
    await cache.run('begin read only');
    expect(paths((await cache.changesSince(cursor)).changes)).toEqual(['read-only.ts']);
    await cache.commit();
  });

  test('tells a peer that is far behind to drop everything, which is cheaper than what it missed', async () => {
    const { cursor } = await cache.changesSince(null);
    for (let i = 0; i < 6; i += 1) {
      await cache.run(`
        select count(*) from module_cache.invalidate('${REALM}', array(
          select ${i} || '-' || k || '.ts' from generate_series(1, 18000) k))`);
    }
    const next = await cache.changesSince(cursor);
    expect(next).toMatchObject({ complete: false, changes: [] });
    expect(await cache.changesSince(next.cursor)).toMatchObject({ complete: true, changes: [] });
  });
});

trap(
  'an invalidation that commits in another order than it began is not skipped',
  CURSOR_IN_PROGRESS,
  async (fresh) => {
    const [slow, quick] = pair(fresh);
    const peer = session(fresh);
    const start = await peer.changesSince(null);
    await slow.begin();
    await slow.invalidate(['slow.ts']);
    await quick.invalidate(['quick.ts']);
    const first = await peer.changesSince(start.cursor);
    expect(paths(first.changes)).toEqual(['quick.ts']);
    await slow.commit();
    const second = await peer.changesSince(first.cursor);
    expect(paths(second.changes)).toEqual(['slow.ts']);
    expect((await peer.changesSince(second.cursor)).changes).toEqual([]);
  },
);

trap('a cursor whose log was collected means: drop everything', CURSOR_BELOW_THE_FLOOR, async (fresh) => {
  const one = session(fresh);
  const { cursor } = await one.changesSince(null);
  await one.invalidate(['a.ts']);
  await one.invalidate(['b.ts']);
  await one.collectAll();
  expect(await one.changesSince(cursor)).toMatchObject({ complete: false, changes: [] });
});

trap('a cursor of another life means: drop everything', CURSOR_OF_ANOTHER_LIFE, async (fresh) => {
  const one = session(fresh);
  const { cursor } = await one.changesSince(null);
  const foreign = (cursor as string).replace(/^[0-9a-f]{32}/, '0'.repeat(32));
  const next = await one.changesSince(foreign);
  expect(next).toMatchObject({ complete: false, changes: [] });
  expect(next.cursor?.split('/')[0]).toBe(cursor?.split('/')[0]);
});

test('a peer that is so far behind that its changes do not fit into one value can catch up', async () => {
  const fresh = await createDatabase();
  try {
    const one = session(fresh);
    const { cursor } = await one.changesSince(null);
    // 300 MB of paths; a jsonb takes at most 256.
    await one.run(`
      insert into module_cache._invalidations (xid, epoch, scope, realm_url, canonical_paths)
      select pg_current_xact_id(), e.epoch, 'module', '${REALM}', p.paths
      from module_cache._epoch() e,
        (select array_agg(i || repeat('x', 1900)) as paths from generate_series(1, 1600) i) p,
        generate_series(1, 100)`);
    expect(await one.changesSince(cursor)).toMatchObject({ complete: false, changes: [] });
  } finally {
    await fresh.drop();
  }
});

describe('a coherence token', () => {
  test('names the transaction, so that a peer can tell whether it has seen it', async () => {
    const { cursor } = await cache.changesSince(null);
    await cache.begin();
    const [row] = await cache.run(
      'select module_cache.coherence_token() as token, pg_current_xact_id()::text as id',
    );
    await cache.invalidate(['coherent.ts']);
    await cache.commit();
    const { token, id } = row as { token: string; id: string };
    expect(token).toBe(`${cursor?.split('/')[0]}@${id}`);
    const [change] = (await cache.changesSince(cursor)).changes;
    expect(change?.x).toBe(id);
  });

  test('is given also while there is no epoch', async () => {
    const fresh = await createDatabase();
    try {
      const one = session(fresh);
      await one.run('delete from module_cache._epochs');
      const [row] = await one.run('select module_cache.coherence_token() as token');
      expect(row?.token).toMatch(/^0{32}-0@\d+$/);
    } finally {
      await fresh.drop();
    }
  });
});
