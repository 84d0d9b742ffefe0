import { expect } from '@jest/globals';
import { trap } from '../sql/support/guard.js';
import { observe, type Session, session } from '../sql/support/session.js';
import { until } from '../support/wait.js';
import {
  CONFIRMED_CONTENTION,
  GIN_LIMIT,
  NOT_NOTIFIED_IN_A_HURRY,
  PATIENT_INSERTS,
} from './support/guards.js';

/** Settings of the caller's session, any of which a user may change, make nothing wrong and no transaction fail. */

/** Somebody has been waiting for one lock for so long. */
const untilWaitingFor = (watcher: Session, time: string): Promise<unknown> =>
  until(
    async () => {
      const waiting = `select from pg_locks where waitstart < clock_timestamp() - interval '${time}'`;
      return (await watcher.run(waiting)).length > 0;
    },
    { what: `somebody waits for ${time}` },
  );

trap(
  'trap: a commit that notifies waits for others that do, and the caller has a short lock_timeout',
  NOT_NOTIFIED_IN_A_HURRY,
  async (db) => {
    const observer = await observe(db);
    const cache = session(db);
    const { cursor } = await cache.changesSince(null);
    await cache.run("set lock_timeout = '5ms'");
    await cache.invalidate(['a.ts']);
    await cache.clearRealm();
    expect(await observer.heard()).toEqual([]);
    expect((await cache.changesSince(cursor)).changes.map(({ k }) => k)).toEqual(['module', 'realm']);
    await cache.run("set lock_timeout = '10s'");
    await cache.invalidate(['a.ts']);
    expect(await observer.heard()).toHaveLength(1);
  },
);

trap(
  'trap: an invalidation has to wait for a page or for VACUUM, and the caller has a short lock_timeout',
  PATIENT_INSERTS,
  async (db) => {
    const [cache, other, watcher] = [session(db), session(db), session(db)];
    await cache.run("set lock_timeout = '5ms'");
    const calls = [() => cache.invalidate(['a.ts']), () => cache.clearAll()] as const;
    // VACUUM takes the strongest lock to cut off the end of a table, until it notices that somebody waits.
    for (const [table, mode, invalidate] of [
      ...calls.map((call) => ['_generations', 'share', call] as const),
      ...calls.map((call) => ['_epochs', 'access exclusive', call] as const),
      ['_artifacts', 'access exclusive', calls[0]] as const,
    ]) {
      await other.begin();
      await other.run(`lock table module_cache.${table} in ${mode} mode`);
      const done = invalidate();
      done.catch(() => {});
      const waiting = untilWaitingFor(watcher, '50ms');
      // Without the guard it fails, and never waits for longer.
      await Promise.race([waiting, done]);
      await other.commit();
      await done;
      expect(await cache.run('show lock_timeout')).toEqual([{ lock_timeout: '5ms' }]);
    }
  },
);

trap(
  'trap: a put that waits a moment for a new page of the table takes that for a contended row',
  CONFIRMED_CONTENTION,
  async (db) => {
    const [cache, other, watcher] = [session(db), session(db), session(db)];
    const token = await cache.token();
    const reasons: string[] = [];
    // A busy machine may take longer than a put is prepared to wait.
    while (reasons.length < 5 && !reasons.includes('stored')) {
      await other.begin();
      await other.run('lock table module_cache._artifacts in share mode');
      const put = cache.put('a.ts', 'x', { token });
      // Longer than its first wait is, with some more for a timer that is late, and shorter than its last.
      const waiting = untilWaitingFor(watcher, '40ms');
      waiting.catch(() => {});
      await Promise.race([waiting, put]);
      await other.commit();
      reasons.push((await put).reason);
    }
    expect(reasons).toContain('stored');
  },
);

trap('trap: gin_fuzzy_search_limit makes the walk forget importers', GIN_LIMIT, async (db) => {
  const cache = session(db);
  const importers = Array.from({ length: 40 }, (_, i) => `importer${i}.ts`);
  for (const path of importers) await cache.publish(path, 'x', { dependencies: ['base'] });
  await cache.publish('top.ts', 'x', { dependencies: importers });
  await cache.run('set gin_fuzzy_search_limit = 1');
  expect(await cache.invalidate(['base.ts'])).toHaveLength(42);
});
