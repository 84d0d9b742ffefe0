import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startProxy } from '../client/support/proxy.js';
import { observe, type Session, session } from '../sql/support/session.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { startBouncer } from '../support/pgbouncer.js';
import { until } from '../support/wait.js';
import { describeWith } from '../support/with-programs.js';
import { createLogin, run } from './support/run.js';

const REALM = 'https://rehearsed.example/';
const OTHER = 'https://importing.example/';

describe('module-cache invalidate --dry-run', () => {
  let database: TestDatabase;
  let cache: Session;
  beforeAll(async () => {
    database = await createDatabase();
    cache = session(database);
    await cache.publish('a.ts', 'a', { realm: REALM, dependencies: ['b'] });
    await cache.publish('b.ts', 'b', { realm: REALM, dependencies: ['c'] });
    await cache.publish('alone.ts', 'alone', { realm: REALM });
    await cache.publish('far.ts', 'far', { realm: OTHER, dependencies: [`${REALM}b`] });
    await cache.publish('apart.ts', 'apart', { realm: OTHER });
  });
  afterAll(() => database.drop());

  const dryRun = (url: string, ...args: string[]) =>
    run(['invalidate', REALM, '--dry-run', '--database-url', url, ...args]);
  const state = () =>
    cache.run(`
      select (select count(*) from module_cache._generations) as generations,
        (select count(*) from module_cache._invalidations) as log,
        (select array_agg(canonical_path || status order by 1) from module_cache.artifacts) as artifacts`);

  test('prints the whole fan-out, and leaves no generation, no log row and no notification', async () => {
    const observer = await observe(database);
    const before = await state();
    const { code, stdout } = await dryRun(database.url, 'c.ts');
    expect(code).toBe(0);
    expect(stdout.trim().split('\n').sort()).toEqual([
      '4 modules would be invalidated; nothing was changed',
      `${OTHER}far.ts`,
      `${REALM}a.ts`,
      `${REALM}b.ts`,
      `${REALM}c.ts`,
    ]);
    const { modules } = JSON.parse((await dryRun(database.url, 'alone.ts', '--json')).stdout);
    expect(modules).toEqual([{ realm: REALM, path: 'alone.ts' }]);
    expect(await state()).toEqual(before);
    expect(await observer.heard()).toEqual([]);
  });

  test('a path that can name no module is told, by the real thing as well', async () => {
    const tried = await dryRun(database.url, 'alone.ts', '../up.ts');
    expect([tried.code, tried.stdout]).toEqual([0, expect.stringMatching(/ignored, .*: \.\.\/up\.ts\n$/)]);
    const args = ['invalidate', REALM, '../up.ts', '--database-url', database.url];
    const done = await run(args);
    expect([done.code, done.stdout]).toEqual([
      0,
      '0 modules invalidated\nignored, because no module can be called so: ../up.ts\n',
    ]);
    expect(JSON.parse((await run([...args, '--json'])).stdout)).toMatchObject({
      modules: [],
      ignored: ['../up.ts'],
    });
  });

  test('of a realm: what is stored of it, and what of other realms depends on it', async () => {
    const before = await state();
    const { stdout } = await dryRun(database.url);
    expect(stdout.trim().split('\n').sort()).toEqual([
      '4 modules stored in the cache would be invalidated; nothing was changed',
      `${OTHER}far.ts`,
      `${REALM}a.ts`,
      `${REALM}alone.ts`,
      `${REALM}b.ts`,
    ]);
    expect(await state()).toEqual(before);
  });

  test('names with quotes and backslashes are names, whatever the session takes them for', async () => {
    const path = `it's \\' "odd".ts`;
    await database.sql.unsafe(`alter database ${database.name} set standard_conforming_strings = off`);
    try {
      const { modules } = JSON.parse((await dryRun(database.url, path, '--json')).stdout);
      expect(modules).toEqual([{ realm: REALM, path }]);
    } finally {
      await database.sql.unsafe(`alter database ${database.name} reset standard_conforming_strings`);
    }
  });

  test('a connection that is lost on the way is one clear line, and nothing is invalidated', async () => {
    const before = await state();
    const proxy = await startProxy(database.url);
    try {
      proxy.hold('BEGIN');
      const running = dryRun(proxy.url, 'c.ts');
      await until(() => proxy.held.includes('BEGIN'), { what: 'the transaction was begun' });
      proxy.cut();
      proxy.door = 'close';
      const { code, stderr } = await running;
      expect([code, stderr]).toEqual([1, expect.stringMatching(/^module-cache: .*\n$/)]);
    } finally {
      await proxy.close();
    }
    expect(await state()).toEqual(before);
  });

  test('a role that may not invalidate is told so', async () => {
    const reader = await createLogin(database, 'reader');
    try {
      const { code, stderr } = await dryRun(reader.url, 'c.ts');
      expect([code, stderr]).toEqual([1, expect.stringMatching(/^module-cache: permission denied .*\n$/)]);
    } finally {
      await reader.drop();
    }
  });

  describeWith('pgbouncer', 'through PgBouncer in transaction mode', () => {
    test('is rolled back as well', async () => {
      const bouncer = await startBouncer(database.url, { poolSize: 2 });
      try {
        const before = await state();
        expect((await dryRun(bouncer.url(database.url), 'c.ts')).stdout).toContain('4 modules would be');
        expect(await state()).toEqual(before);
      } finally {
        await bouncer.stop();
      }
    });
  });
});
