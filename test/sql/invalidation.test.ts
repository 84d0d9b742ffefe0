import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { OTHER_REALM, REALM, type Session, session } from './support/session.js';

/** `invalidate`, `clear_realm`, `clear_all`, and what the views show of them (DESIGN.md section 5). */

let db: TestDatabase;
let cache: Session;
let cursor: string | null;
beforeAll(async () => {
  db = await createDatabase();
  cache = session(db);
});
afterAll(() => db.drop());
beforeEach(async () => {
  cursor = (await cache.changesSince(null)).cursor;
});

const names = async (paths: readonly (string | null)[], realm = REALM): Promise<string[]> => {
  const modules = await cache.invalidate(paths, realm);
  return modules.map((module) => module.realm_url + module.canonical_path).sort();
};
const logged = async (): Promise<Record<string, unknown>[]> => [
  ...(await cache.run(`
      select scope, realm_url, named_paths, modules, canonical_paths, ignored
      from module_cache.invalidations where xid = (select max(xid) from module_cache.invalidations)
      order by realm_url`)),
];

describe('invalidate returns', () => {
  test('what was named, also if nobody has heard of it', async () => {
    expect(await cache.invalidate(['unknown.ts'])).toEqual([
      { realm_url: REALM, canonical_path: 'unknown.ts' },
    ]);
  });

  test('nothing for no paths, and leaves no row', async () => {
    expect(await cache.invalidate([])).toEqual([]);
    expect(await cache.run(`select * from module_cache.invalidate('${REALM}', null)`)).toEqual([]);
    expect((await cache.changesSince(cursor)).changes).toEqual([]);
  });

  test('every importer, transitively, through both spellings and around a cycle', async () => {
    await cache.publish('cycle/a.ts', 'x', { dependencies: ['cycle/b'] });
    await cache.publish('cycle/b/index.ts', 'x', { dependencies: ['cycle/c.ts'] });
    await cache.publish('cycle/c.gts', 'x', { dependencies: ['cycle/a'] });
    await cache.publish('cycle/outside.ts', 'x', { dependencies: ['cycle/a.ts'] });
    await cache.publish('cycle/other.ts', 'x', { dependencies: ['cycle/d.ts'] });
    expect(await names(['cycle/c.gts'])).toEqual(
      ['cycle/a.ts', 'cycle/b/index.ts', 'cycle/c.gts', 'cycle/outside.ts'].map((path) => REALM + path),
    );
    expect((await cache.get('cycle/other.ts')).status).toBe('hit');
  });

  test('importers in another realm, with a log row for each realm', async () => {
    await cache.publish('lib.ts', 'x', { realm: OTHER_REALM });
    await cache.publish('app.ts', 'x', { dependencies: [`${OTHER_REALM}lib.ts`] });
    await cache.publish('page.ts', 'x', { dependencies: ['app.ts'] });
    expect(await names(['lib.ts'], OTHER_REALM)).toEqual([
      `${REALM}app.ts`,
      `${REALM}page.ts`,
      `${OTHER_REALM}lib.ts`,
    ]);
    expect(await logged()).toMatchObject([
      { realm_url: REALM, named_paths: [], modules: 2 },
      { realm_url: OTHER_REALM, named_paths: ['lib.ts'], modules: 1 },
    ]);
  });

  test('the modules that a key stands for, once they are known', async () => {
    expect(await names(['keyed'])).toEqual([`${REALM}keyed`]);
    await cache.publish('keyed.ts', 'x');
    expect(await names(['keyed'])).toEqual([`${REALM}keyed.ts`]);
    await cache.publish('keyed.gts', 'x');
    expect(await names(['keyed'])).toEqual([`${REALM}keyed.gts`, `${REALM}keyed.ts`]);
    // A file that is new beside them changes what an import of ./keyed means.
    expect(await names(['keyed/index.ts'])).toEqual([
      `${REALM}keyed.gts`,
      `${REALM}keyed.ts`,
      `${REALM}keyed/index.ts`,
    ]);
  });

  test('each module once, however often it is named', async () => {
    await cache.publish('twice.ts', 'x');
    expect(await names(['twice.ts', 'twice.ts', 'twice'])).toEqual([`${REALM}twice.ts`]);
  });

  test('a path of the own realm that shares its name with an importer in another realm', async () => {
    await cache.publish('same-b.ts', 'x', {
      realm: 'https://z.example/',
      dependencies: [`${REALM}same-a.ts`],
    });
    await cache.publish('same-a.ts', 'x');
    const { token } = await cache.get('same-b.ts');
    expect(await names(['same-a.ts', 'same-b.ts'])).toEqual([
      `${REALM}same-a.ts`,
      `${REALM}same-b.ts`,
      'https://z.example/same-b.ts',
    ]);
    expect((await cache.put('same-b.ts', 'old', { token })).reason).toBe('stale');
  });

  test('files that are no code, by their whole name', async () => {
    await cache.publish('page.ts', 'x', { dependencies: ['style.css', 'data.json'] });
    expect(await names(['style.css'])).toEqual([`${REALM}page.ts`, `${REALM}style.css`]);
    expect(await names(['data.ts'])).toEqual([`${REALM}data.ts`]);
  });
});

describe('invalidate ignores and counts', () => {
  test.each([
    ['..', '../up.ts'],
    ['a dot segment', 'a/./b.ts'],
    ['a leading slash', '/a.ts'],
    ['a query', 'a.ts?v=1'],
    ['a fragment', 'a.ts#x'],
    ['an empty path', ''],
    ['null', null],
    ['2,001 bytes', 'x'.repeat(2001 - REALM.length)],
    ['a megabyte', 'x'.repeat(1_000_000)],
  ])('%s', async (_, path) => {
    expect(await names([path])).toEqual([]);
    expect(await logged()).toEqual([
      { scope: 'module', realm_url: REALM, named_paths: [], modules: 0, canonical_paths: [], ignored: '1' },
    ]);
    expect(await names([path, 'good.ts', path])).toEqual([`${REALM}good.ts`]);
    expect(await logged()).toMatchObject([
      { named_paths: ['good.ts'], canonical_paths: ['good.ts'], ignored: '2' },
    ]);
    expect((await cache.changesSince(cursor)).changes).toMatchObject([{ k: 'module', m: ['good.ts'] }]);
  });
});

describe('a clear', () => {
  test('of a realm takes all of it, and nothing else', async () => {
    await cache.publish('a.ts', 'x', { realm: 'https://one.example/' });
    await cache.publish('a.ts', 'x', { realm: 'https://one.example/nested/' });
    await cache.publish('a.ts', 'x', { realm: 'https://two.example/' });
    await cache.clearRealm('https://ONE.example/');
    expect((await cache.get('a.ts', { realm: 'https://one.example/' })).status).toBe('miss');
    expect((await cache.get('a.ts', { realm: 'https://one.example/nested/' })).status).toBe('hit');
    expect((await cache.get('a.ts', { realm: 'https://two.example/' })).status).toBe('hit');
    expect(await logged()).toMatchObject([{ scope: 'realm', realm_url: 'https://one.example/', modules: 0 }]);
  });

  test('of a realm in the URL of another leaves two generations: for itself, and for the folder that it is', async () => {
    const count = async () =>
      (await cache.run('select count(*)::integer as count from module_cache._generations'))[0]
        ?.count as number;
    const before = await count();
    await cache.clearRealm('https://one.example/nested/');
    expect((await count()) - before).toBe(2);
    expect((await cache.changesSince(cursor)).changes).toEqual([
      { k: 'realm', r: 'https://one.example/nested/', x: expect.any(String) },
    ]);
    expect(await cache.run(`select * from module_cache.tombstones where realm_url like '%nested%'`)).toEqual(
      [],
    );
  });

  test('of everything takes everything', async () => {
    await cache.publish('a.ts', 'x', { realm: 'https://one.example/' });
    await cache.publish('a.ts', 'x', { realm: 'https://two.example/' });
    await cache.clearAll();
    expect((await cache.get('a.ts', { realm: 'https://one.example/' })).status).toBe('miss');
    expect((await cache.get('a.ts', { realm: 'https://two.example/' })).status).toBe('miss');
    expect(await logged()).toMatchObject([{ scope: 'global', realm_url: null }]);
  });

  test('leaves one generation and one log row, whatever the size', async () => {
    for (let i = 0; i < 30; i += 1) await cache.publish(`many/${i}.ts`, 'x');
    const [before] = await cache.run('select count(*)::integer as count from module_cache._generations');
    await cache.clearRealm();
    await cache.clearAll();
    const [after] = await cache.run('select count(*)::integer as count from module_cache._generations');
    expect(after?.count).toBe((before?.count as number) + 2);
    expect((await cache.changesSince(cursor)).changes).toHaveLength(2);
  });
});

describe('the views', () => {
  test('artifacts shows each artifact with its state', async () => {
    await cache.publish('view/live.ts', 'é', { headers: { a: 1 }, dependencies: ['b'] });
    await cache.publish('view/error.ts', 'x', { isError: true });
    await cache.publish('view/dead.ts', 'x');
    await cache.invalidate(['view/dead.ts']);
    await cache.publish('view/expired.ts', 'x', { expiresIn: '1 millisecond' });
    const rows = () =>
      cache.run(`
        select canonical_path, status, bytes from module_cache.artifacts
        where canonical_path like 'view/%' order by 1`);
    await until(async () => (await rows())[2]?.status === 'dead', { what: 'the third expired' });
    expect(await rows()).toEqual([
      { canonical_path: 'view/dead.ts', status: 'dead', bytes: 1 },
      { canonical_path: 'view/error.ts', status: 'error', bytes: 1 },
      { canonical_path: 'view/expired.ts', status: 'dead', bytes: 1 },
      { canonical_path: 'view/live.ts', status: 'live', bytes: 2 },
    ]);
    const [live] = await cache.run(
      `select * from module_cache.artifacts where canonical_path = 'view/live.ts'`,
    );
    expect(live).toMatchObject({
      realm_url: REALM,
      kind: 'transpile',
      variant: '',
      generation: null,
      headers: { a: 1 },
      dependency_keys: ['b'],
      body: 'é',
      created_at: expect.any(Date),
      expires_at: null,
    });
  });

  test('a delete through artifacts takes the fan-out along, and says so in the log', async () => {
    await cache.publish('del/a.ts', 'x', { dependencies: ['del/b.ts'] });
    await cache.publish('del/b.ts', 'x');
    await cache.publish('del/c.ts', 'x', { realm: OTHER_REALM });
    const { cursor: before } = await cache.changesSince(null);
    const deleted = await cache.run(`
      delete from module_cache.artifacts where canonical_path in ('del/b.ts', 'del/c.ts') returning canonical_path`);
    expect(deleted).toHaveLength(2);
    expect((await cache.get('del/a.ts')).status).toBe('miss');
    expect((await cache.get('del/b.ts')).status).toBe('miss');
    const { changes } = await cache.changesSince(before);
    expect(changes.map(({ r, m }) => [r, [...(m ?? [])].sort()]).sort()).toEqual([
      [REALM, ['del/a.ts', 'del/b.ts']],
      [OTHER_REALM, ['del/c.ts']],
    ]);
  });

  test('a delete that is rolled back leaves no trace, and one that matches nothing neither', async () => {
    await cache.publish('kept.ts', 'x');
    const { cursor: before } = await cache.changesSince(null);
    await cache.begin();
    await cache.run('delete from module_cache.artifacts');
    await cache.rollback();
    await cache.run(`delete from module_cache.artifacts where canonical_path = 'no such module'`);
    expect((await cache.get('kept.ts')).status).toBe('hit');
    expect((await cache.changesSince(before)).changes).toEqual([]);
  });

  test('tombstones shows what was invalidated and not produced again', async () => {
    const tombstone = () =>
      cache.run(`select * from module_cache.tombstones where canonical_path like 'stone/%' order by 2`);
    await cache.publish('stone/a.ts', 'x');
    expect(await tombstone()).toEqual([]);
    await cache.invalidate(['stone/a.ts']);
    await cache.invalidate(['stone/a.ts', 'stone/never.ts']);
    const { generation } = await cache.get('stone/a.ts');
    expect(await tombstone()).toEqual([
      { realm_url: REALM, canonical_path: 'stone/a.ts', generation, invalidated_at: expect.any(Date) },
      { realm_url: REALM, canonical_path: 'stone/never.ts', generation, invalidated_at: expect.any(Date) },
    ]);
    await cache.publish('stone/a.ts', 'y');
    expect(await tombstone()).toHaveLength(1);
  });

  test('invalidations says who, when, from where, and what it reached', async () => {
    const named = session(db, { application_name: 'the indexer' });
    await named.publish('who/b.ts', 'x', { dependencies: ['who/a.ts'] });
    await named.invalidate(['who/a.ts', '../odd']);
    const [row] = await named.run(`
      select *, invalidated_at > now() - interval '1 minute' as recent from module_cache.invalidations
      where named_paths = '{who/a.ts}'`);
    expect(row).toMatchObject({
      recent: true,
      xid: expect.stringMatching(/^\d+$/),
      scope: 'module',
      realm_url: REALM,
      modules: 2,
      canonical_paths: expect.arrayContaining(['who/a.ts', 'who/b.ts']),
      ignored: '1',
      role_name: 'postgres',
      application_name: 'the indexer',
      backend_pid: await named.pid(),
    });
  });
});
