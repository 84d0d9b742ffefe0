import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { createUnguardedDatabase } from './support/guard.js';
import { REALM, refusal, type Session, session } from './support/session.js';

/** Bad input is one clear error with a hint, and leaves the database as it was. */

let db: TestDatabase;
let cache: Session;
let state: unknown;
const stateOf = async (): Promise<unknown> =>
  (
    await cache.run(`
      select
        (select count(*) from module_cache._artifacts) as artifacts,
        (select count(*) from module_cache._generations) as generations,
        (select count(*) from module_cache._invalidations) as invalidations,
        (select count(*) from module_cache._epochs) as epochs,
        (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as claims`)
  )[0];

beforeAll(async () => {
  db = await createDatabase();
  cache = session(db);
  await cache.publish('there.ts', 'x');
});
afterAll(() => db.drop());
beforeEach(async () => {
  state = await stateOf();
});

/** @returns the hint, for those who want to look closer */
async function expectRefusal(call: Promise<unknown>, code: string, message: string): Promise<string> {
  const error = await refusal(call);
  expect(error).toMatchObject({
    code,
    message,
    hint: expect.stringMatching(/./),
    detail: expect.any(String),
  });
  // The message is for everybody, the values are in the detail.
  expect(error.message).not.toMatch(/["':]/);
  expect(error.detail?.length).toBeLessThan(500);
  expect(await stateOf()).toEqual(state);
  return error.hint as string;
}

const badPaths: [string, string | null][] = [
  ['empty', ''],
  ['null', null],
  ['with a leading slash', '/a.ts'],
  ['with a .. segment', 'a/../b.ts'],
  ['that is ..', '..'],
  ['with a . segment', './a.ts'],
  ['that ends in ..', 'a/..'],
  ['with a query', 'a.ts?x'],
  ['with a fragment', 'a.ts#x'],
  ['over the limit', 'x'.repeat(2001 - REALM.length)],
  ['over the limit in bytes', 'é'.repeat(1000)],
  ['of five megabytes', 'x'.repeat(5_000_000)],
];
describe.each(badPaths)('a path %s', (_, path) => {
  test('is refused by get, put, claim, release and is_current', async () => {
    const token = await cache.token();
    const name = path as string;
    for (const call of [
      () => cache.get(name),
      () => cache.put(name, 'x', { token }),
      () => cache.claim(name),
      () => cache.release(name),
      () => cache.isCurrent(name, token),
    ]) {
      const hint = await expectRefusal(call(), 'MC001', 'not a canonical path');
      expect(hint).toContain('2000 bytes');
    }
  });
});

test.each([
  ['empty', ''],
  ['null', null],
  ['over the limit', 'x'.repeat(65)],
])('a kind that is %s is refused', async (_, kind) => {
  const token = await cache.token();
  const options = { kind: kind as string };
  for (const call of [
    () => cache.get('a.ts', options),
    () => cache.put('a.ts', 'x', { ...options, token }),
    () => cache.claim('a.ts', options),
    () => cache.isCurrent('a.ts', token, options),
  ]) {
    expect(await expectRefusal(call(), 'MC001', 'not a kind')).toContain('64 bytes');
  }
});

test.each([
  ['null', null],
  ['over the limit', 'x'.repeat(501)],
])('a variant that is %s is refused', async (_, variant) => {
  const token = await cache.token();
  const options = { variant: variant as string };
  for (const call of [
    () => cache.get('a.ts', options),
    () => cache.put('a.ts', 'x', { ...options, token }),
    () => cache.claim('a.ts', options),
    () => cache.isCurrent('a.ts', token, options),
  ]) {
    expect(await expectRefusal(call(), 'MC001', 'not a variant')).toContain('500 bytes');
  }
});

test.each([
  ['without a trailing slash', 'https://app.example'],
  ['without a trailing slash behind a path', 'https://app.example/app'],
  ['that is none', 'app.example/'],
  ['with a password', 'https://user:secret@app.example/'],
  ['with a query', 'https://app.example/?a/'],
  ['with ..', 'https://app.example/../'],
  ['over the limit', `https://app.example/${'x'.repeat(2000)}/`],
  ['that is empty', ''],
  ['that is null', null],
])('a realm %s is refused by every function', async (_, realm) => {
  const token = await cache.token();
  const options = { realm: realm as string };
  for (const call of [
    () => cache.get('a.ts', options),
    () => cache.put('a.ts', 'x', { ...options, token }),
    () => cache.invalidate(['a.ts'], realm as string),
    () => cache.sql`select module_cache.clear_realm(${realm})`,
    () => cache.claim('a.ts', options),
    () => cache.release('a.ts', options),
    () => cache.isCurrent('a.ts', token, options),
  ]) {
    expect(await expectRefusal(call(), 'MC001', 'not a realm URL')).toContain('ends in "/"');
  }
});

test('clear_realm(null) clears nothing, least of all everything', async () => {
  await expect(cache.sql`select module_cache.clear_realm(null)`).rejects.toMatchObject({ code: 'MC001' });
  expect((await cache.get('there.ts')).status).toBe('hit');
});

test.each([
  ['garbage', 'garbage'],
  ['empty', ''],
  ['SQL', `'; drop table module_cache._artifacts; --`],
  ['a life without a snapshot', `${'0'.repeat(32)}-1/`],
  ['a snapshot that is none', `${'0'.repeat(32)}-1/10:5:`],
  ['a snapshot whose list is out of order', `${'0'.repeat(32)}-1/5:10:9,6`],
  ['a snapshot whose list is out of bounds', `${'0'.repeat(32)}-1/5:10:11`],
  ['a snapshot with zeros', `${'0'.repeat(32)}-1/0:0:`],
  ['a coherence token', `${'0'.repeat(32)}-1@5`],
  ['followed by a line', `${'0'.repeat(32)}-1/5:5:\n`],
  ['a megabyte', '9'.repeat(1_000_000)],
])('a token that is %s is refused', async (_, token) => {
  for (const call of [
    () => cache.put('a.ts', 'x', { token }),
    () => cache.isCurrent('a.ts', token),
    () => cache.changesSince(token),
  ]) {
    expect(await expectRefusal(call(), 'MC002', 'not a token')).toContain('exactly as get or changes_since');
  }
});

test('is_current without a token is refused', async () => {
  await expectRefusal(cache.isCurrent('there.ts', null as unknown as string), 'MC002', 'not a token');
});

test('a token or cursor from the future is refused', async () => {
  const life = (await cache.token()).split('/')[0];
  for (const snapshot of ['4000000000:4000000000:', '18446744073709551615:18446744073709551615:']) {
    const future = `${life}/${snapshot}`;
    await expectRefusal(
      cache.put('a.ts', 'x', { token: future }),
      'MC002',
      'a token or cursor from the future',
    );
    await expectRefusal(cache.changesSince(future), 'MC002', 'a token or cursor from the future');
  }
  const edge = await cache.run('select pg_snapshot_xmax(pg_current_snapshot())::text as next');
  const next = BigInt(edge[0]?.next as string);
  await expectRefusal(
    cache.changesSince(`${life}/${next + 1_000_000_000n}:${next + 1_000_000_000n}:`),
    'MC002',
    'a token or cursor from the future',
  );
  expect((await cache.changesSince(`${life}/${next}:${next}:`)).complete).toBe(true);
});

test('a token or cursor of another database is answered, not used', async () => {
  const other = await createUnguardedDatabase([]);
  try {
    const token = await session(other).token();
    expect(await cache.put('a.ts', 'x', { token })).toEqual({ stored: false, reason: 'epoch' });
    expect(await cache.isCurrent('there.ts', token)).toBe(false);
    expect(await cache.changesSince(token)).toMatchObject({ complete: false, changes: [] });
  } finally {
    await other.drop();
  }
});

test('a body that is null is refused', async () => {
  const token = await cache.token();
  expect(
    await expectRefusal(cache.put('a.ts', null as unknown as string, { token }), 'MC003', 'body is null'),
  ).toContain('empty text is allowed');
});

test.each(['0 s', '-1 s', '-1 month'])('an expiry of %s is refused', async (expiresIn) => {
  const token = await cache.token();
  await expectRefusal(
    cache.put('a.ts', 'x', { token, expiresIn }),
    'MC003',
    'expires_in is not a possible life',
  );
});

test.each([
  ['..', '../up'],
  ['a leading slash', '/a'],
  ['nothing', ''],
  ['null', null],
  ['a realm instead of a module', 'https://other.example/'],
  ['a URL with a password', 'https://user:secret@other.example/a.ts'],
  ['a query', 'a.ts?raw'],
  ['2,001 bytes', 'x'.repeat(2001)],
])('a dependency key with %s is refused', async (_, key) => {
  const token = await cache.token();
  await expectRefusal(
    cache.put('a.ts', 'x', { token, dependencies: ['good', key as string] }),
    'MC001',
    'not a dependency key',
  );
});

test('misuse inside a transaction can be survived with a savepoint, and a claim is not left behind', async () => {
  await cache.begin();
  await cache.run('savepoint before_it');
  await expect(cache.claim('')).rejects.toMatchObject({ code: 'MC001' });
  await cache.run('rollback to savepoint before_it');
  expect(await cache.invalidate(['fine.ts'])).toHaveLength(1);
  await cache.rollback();
});

test('100,000 paths in one call are invalidated, good and bad', async () => {
  const { cursor } = await cache.changesSince(null);
  const [row] = await cache.run(`
    select count(*)::integer as count from module_cache.invalidate('${REALM}', array(
      select case when i % 10 = 0 then '../' else '' end || 'many/m' || i || '.ts' from generate_series(1, 100000) i))`);
  expect(row).toEqual({ count: 90_000 });
  const [log] = await cache.run(
    'select modules, ignored from module_cache.invalidations order by xid desc limit 1',
  );
  expect(log).toEqual({ modules: 90_000, ignored: '10000' });
  const { complete, changes } = await cache.changesSince(cursor);
  expect(complete).toBe(true);
  expect(changes[0]?.m).toHaveLength(90_000);
});

test('a password in a URL that is refused is not shown', async () => {
  const call = cache.run(`select module_cache.get('https://user:secret@a.example/', 'a.ts')`);
  const { detail } = await refusal(call);
  expect(detail).toBe("realm_url: 'https://***@a.example/'");
});

test('nobody deletes log rows by way of the view', async () => {
  const error = await refusal(cache.run('delete from module_cache.invalidations'));
  expect(error.code).toBe('55000');
});
