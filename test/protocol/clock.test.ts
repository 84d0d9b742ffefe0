import { expect, test } from '@jest/globals';
import { trap } from '../sql/support/guard.js';
import { type Session, session } from '../sql/support/session.js';
import { createDatabase } from '../support/database.js';
import { LIFE_FROM_THE_FUTURE } from './support/guards.js';

/** The server's time of day jumps. For what is stored that is the same as if it had been stored at another time. */

const clockIsSet = (cache: Session, by: string): Promise<unknown> =>
  cache.run(`
    update module_cache._artifacts
    set created_at = created_at - interval '${by}', expires_at = expires_at - interval '${by}'`);

trap(
  "a life of a second does not become one of an hour when the server's clock is set back",
  LIFE_FROM_THE_FUTURE,
  async (db) => {
    const cache = session(db);
    await cache.publish('short.ts', 'failed', { expiresIn: '1 second', isError: true });
    await clockIsSet(cache, '-1 hour');
    expect((await cache.get('short.ts')).status).toBe('miss');
    // Nor does it stand in the way of the next one.
    await cache.publish('short.ts', 'fine', { expiresIn: '1 hour' });
    expect(await cache.get('short.ts')).toMatchObject({ status: 'hit', body: 'fine' });
  },
);

test('what has no end is there whatever the clock says', async () => {
  const db = await createDatabase();
  try {
    const cache = session(db);
    await cache.publish('a.ts', 'for good');
    for (const by of ['-1 day', '2 days']) {
      await clockIsSet(cache, by);
      expect((await cache.get('a.ts')).body).toBe('for good');
    }
  } finally {
    await db.drop();
  }
});
