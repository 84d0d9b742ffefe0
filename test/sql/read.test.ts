import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { createUnguardedDatabase } from './support/guard.js';
import { pair, REALM, refusal, type Session, session } from './support/session.js';

/** `get` and `is_current` (DESIGN.md section 5). */

let db: TestDatabase;
let cache: Session;
beforeAll(async () => {
  db = await createDatabase();
  cache = session(db);
});
afterAll(() => db.drop());

describe('get', () => {
  test('of what is not there is a miss with a token', async () => {
    expect(await cache.get('nothing.ts')).toEqual({
      status: 'miss',
      body: null,
      headers: null,
      dependency_keys: null,
      generation: null,
      token: expect.stringMatching(/^[0-9a-f]{32}-[0-9a-f]+\/\d+:\d+:[\d,]*$/),
      expires_in: null,
    });
  });

  test('of what is there is a hit with everything that was put', async () => {
    await cache.publish('there.ts', 'the body', {
      headers: { 'content-type': 'text/javascript' },
      dependencies: ['./b.ts'.slice(2), 'https://other.example/c.ts'],
    });
    expect(await cache.get('there.ts')).toEqual({
      status: 'hit',
      body: 'the body',
      headers: { 'content-type': 'text/javascript' },
      dependency_keys: ['b', 'https://other.example/c'],
      generation: null,
      token: expect.any(String),
      expires_in: null,
    });
  });

  test('takes transpile and no variant if they are left out', async () => {
    await cache.publish('defaults.ts', 'by default', { kind: 'transpile', variant: '' });
    const [row] = await cache.run(`select status, body from module_cache.get('${REALM}', 'defaults.ts')`);
    expect(row).toEqual({ status: 'hit', body: 'by default' });
    const [named] = await cache.run(
      `select status from module_cache.get(realm_url => '${REALM}', canonical_path => 'defaults.ts', variant => 'x')`,
    );
    expect(named).toEqual({ status: 'miss' });
  });

  test('is one row also for a miss', async () => {
    expect(await cache.run(`select * from module_cache.get('${REALM}', 'nothing.ts')`)).toHaveLength(1);
  });

  test('of a cached failure is an error with its body', async () => {
    await cache.publish('broken.ts', 'Unexpected token', { isError: true });
    expect(await cache.get('broken.ts')).toMatchObject({ status: 'error', body: 'Unexpected token' });
    await cache.invalidate(['broken.ts']);
    expect(await cache.get('broken.ts')).toMatchObject({ status: 'miss', body: null });
  });

  test('says what is left of a life by the clock of the server, and nothing after it', async () => {
    await cache.publish('short.ts', 'x', { expiresIn: '1 hour' });
    const [row] = await cache.run(`
      select expires_in > interval '59 minutes' and expires_in <= interval '1 hour' as plausible
      from module_cache.get('${REALM}', 'short.ts')`);
    expect(row).toEqual({ plausible: true });
    await cache.publish('shorter.ts', 'x', { expiresIn: '5 milliseconds' });
    await until(async () => (await cache.get('shorter.ts')).status === 'miss', { what: 'it expired' });
    expect((await cache.get('shorter.ts')).expires_in).toBeNull();
  });

  test('names the newest generation of its module, on a miss and on the hit after it', async () => {
    await cache.begin();
    const [{ id }] = (await cache.run('select pg_current_xact_id()::text as id')) as [{ id: string }];
    await cache.invalidate(['generation.ts']);
    await cache.commit();
    expect(await cache.get('generation.ts')).toMatchObject({ status: 'miss', generation: id });
    await cache.publish('generation.ts', 'x');
    expect(await cache.get('generation.ts')).toMatchObject({ status: 'hit', generation: id });
  });

  test('of a tombstone is a miss for every name of its module', async () => {
    await cache.publish('named/index.ts', 'x');
    await cache.invalidate(['named']);
    expect((await cache.get('named/index.ts')).status).toBe('miss');
  });

  test('finds a realm whatever the case of its host', async () => {
    await cache.publish('case.ts', 'x', { realm: 'https://Case.Example/App/' });
    expect((await cache.get('case.ts', { realm: 'HTTPS://CASE.EXAMPLE/App/' })).status).toBe('hit');
    expect((await cache.get('case.ts', { realm: 'https://case.example/App/' })).status).toBe('hit');
    expect((await cache.get('case.ts', { realm: 'https://case.example/app/' })).status).toBe('miss');
  });

  test('works in a read-only transaction, and writes nothing', async () => {
    await cache.publish('read-only.ts', 'x');
    await cache.run('begin read only');
    expect(await cache.get('read-only.ts')).toMatchObject({ status: 'hit', token: expect.any(String) });
    const [row] = await cache.run('select pg_current_xact_id_if_assigned() is null as clean');
    expect(row).toEqual({ clean: true });
    await cache.commit();
  });

  test('gives no token in a transaction that has written', async () => {
    await cache.publish('written.ts', 'x');
    await cache.begin();
    expect((await cache.get('written.ts')).token).not.toBeNull();
    await cache.run('create temporary table something (id integer) on commit drop');
    expect(await cache.get('written.ts')).toMatchObject({ status: 'hit', token: null });
    await cache.rollback();
  });

  test('can be asked for many modules in one statement', async () => {
    await cache.publish('many.ts', 'x');
    const rows = await cache.run(`
      select m.path, g.status
      from (values ('many.ts'), ('nothing.ts')) m (path), module_cache.get('${REALM}', m.path) g`);
    expect(rows).toEqual([
      { path: 'many.ts', status: 'hit' },
      { path: 'nothing.ts', status: 'miss' },
    ]);
  });
});

describe('is_current', () => {
  test('is true for what was read with the token, as long as that is stored and live', async () => {
    await cache.publish('current.ts', 'x', { dependencies: ['dependency.ts'] });
    const token = (await cache.get('current.ts')).token as string;
    expect(await cache.isCurrent('current.ts', token)).toBe(true);
    await cache.invalidate(['dependency.ts']);
    expect(await cache.isCurrent('current.ts', token)).toBe(false);
    await cache.publish('current.ts', 'y');
    expect(await cache.isCurrent('current.ts', token)).toBe(false);
    expect(await cache.isCurrent('current.ts', await cache.token())).toBe(true);
  });

  test('is false for what is not stored, has expired, or was put after the token was taken', async () => {
    const token = await cache.token();
    expect(await cache.isCurrent('not-stored.ts', token)).toBe(false);
    await cache.publish('put-later.ts', 'x');
    expect(await cache.isCurrent('put-later.ts', token)).toBe(false);
    await cache.publish('expired.ts', 'x', { expiresIn: '5 milliseconds' });
    const later = await cache.token();
    await until(async () => !(await cache.isCurrent('expired.ts', later)), { what: 'it expired' });
  });

  test('tells kinds and variants apart', async () => {
    await cache.publish('kinds.ts', 'x', { kind: 'definition', variant: 'me' });
    const token = await cache.token();
    expect(await cache.isCurrent('kinds.ts', token, { kind: 'definition', variant: 'me' })).toBe(true);
    expect(await cache.isCurrent('kinds.ts', token, { kind: 'definition' })).toBe(false);
    expect(await cache.isCurrent('kinds.ts', token)).toBe(false);
  });

  test('is false for a token of another life', async () => {
    await cache.publish('life.ts', 'x');
    const token = (await cache.token()).replace(/^[0-9a-f]{32}/, '0'.repeat(32));
    expect(await cache.isCurrent('life.ts', token)).toBe(false);
  });

  test('of a put that is not committed is false for everybody else', async () => {
    const [one, other] = pair(db);
    await one.begin();
    await one.publish('open.ts', 'x', { token: await other.token() });
    expect(await other.isCurrent('open.ts', await other.token())).toBe(false);
    await one.commit();
    expect(await other.isCurrent('open.ts', await other.token())).toBe(true);
  });
});

test('a key in a column of whatever collation finds its module', async () => {
  const fresh = await createDatabase();
  try {
    const one = session(fresh);
    await one.run(
      `create collation caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
    );
    await one.run(`create collation german (provider = icu, locale = 'de')`);
    await one.run(`
      create table sources (
        realm text collate "C", caseless text collate caseless, german text collate german)`);
    await one.run(`insert into sources values ('${REALM}', 'a.ts', 'a.ts')`);
    for (const column of ['caseless', 'german']) {
      const call = async (expression: string) =>
        (await one.run(`select ${expression} as value from sources`))[0]?.value;
      await one.publish('a.ts', 'x', { dependencies: ['b.ts'] });
      await one.run(`
        select module_cache.put(realm, ${column}, 'transpile', '', 'x', '{}', array[${column}, 'A.ts', 'c.ts'], '${await one.token()}')
        from sources`);
      expect((await one.get('a.ts')).dependency_keys).toEqual(['a', 'A', 'c']);
      expect(await call(`(module_cache.get(realm, ${column})).status`)).toBe('hit');
      expect(await call(`(module_cache.get('${REALM}', ${column})).status`)).toBe('hit');
      expect(
        await call(`module_cache.is_current('${REALM}', ${column}, 'transpile', '', '${await one.token()}')`),
      ).toBe(true);
      expect(await call(`module_cache.claim('${REALM}', ${column}, 'transpile', '')`)).toBe(true);
      expect(await one.release('a.ts')).toBe(true);
      const reached = await one.run(`
        select m.canonical_path from sources, module_cache.invalidate(realm, array[${column}, 'A.ts']) m order by 1`);
      // Both, although the collation takes them for the same.
      expect(reached.map(({ canonical_path }) => canonical_path).sort()).toEqual(['A.ts', 'a.ts']);
      expect((await one.get('a.ts')).status).toBe('miss');
      await call(`module_cache.clear_realm('${REALM}' collate ${column})`);
    }
  } finally {
    await fresh.drop();
  }
});

test('a server that may compile queries does not compile those of a read', async () => {
  const [settings] = await cache.run(`
    select string_agg(p.proname, ', ') as missing
    from pg_proc p
    where p.pronamespace = 'module_cache'::regnamespace
      and 'enable_seqscan=off' = any (p.proconfig)
      and not 'jit=off' = any (p.proconfig)`);
  // Before Postgres 18 a forced plan costs so much that the compiler would take 50 ms for each.
  expect(settings).toEqual({ missing: null });
});

test('an error from a read tells what to do', async () => {
  const error = await refusal(cache.get('../up.ts'));
  expect(error).toMatchObject({
    code: 'MC001',
    message: 'not a canonical path',
    detail: "canonical_path: '../up.ts'",
  });
  expect(error.hint).toContain('no leading "/"');
});

test('without an epoch there is no token, and no hit', async () => {
  const fresh = await createUnguardedDatabase([]);
  try {
    const one = session(fresh);
    await one.publish('a.ts', 'x');
    await one.run('delete from module_cache._epochs');
    expect(await one.get('a.ts')).toMatchObject({ status: 'miss', token: null });
    await expect(one.get('../up.ts')).rejects.toMatchObject({ code: 'MC001' });
  } finally {
    await fresh.drop();
  }
});
