import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { OTHER_REALM, REALM, type Session, session } from './support/session.js';

/** `put` (DESIGN.md section 5): what it stores, and each reason why it does not. */

let db: TestDatabase;
let cache: Session;
beforeAll(async () => {
  db = await createDatabase();
  cache = session(db);
});
afterAll(() => db.drop());

describe('put answers', () => {
  test('stored, and a get returns it', async () => {
    const put = await cache.put('a.ts', 'body', { token: await cache.token() });
    expect(put).toEqual({ stored: true, reason: 'stored' });
    expect((await cache.get('a.ts')).body).toBe('body');
  });

  test.each([
    ['its module', (path: string) => cache.invalidate([path])],
    ['its module by another name', (path: string) => cache.invalidate([path.replace('.ts', '/index.gts')])],
    ['a dependency', () => cache.invalidate(['dependency.ts'])],
    ['a dependency in another realm', () => cache.invalidate(['far.ts'], OTHER_REALM)],
    ['its realm', () => cache.clearRealm()],
    ['the realm of a dependency', () => cache.clearRealm(OTHER_REALM)],
    ['everything', () => cache.clearAll()],
  ])('stale after an invalidation of %s', async (what, invalidate) => {
    const path = `stale-${what.replaceAll(' ', '-')}.ts`;
    const token = await cache.token();
    await invalidate(path);
    const put = await cache.put(path, 'old', {
      token,
      dependencies: ['dependency.ts', `${OTHER_REALM}far.ts`],
    });
    expect(put).toEqual({ stored: false, reason: 'stale' });
    expect((await cache.get(path)).status).toBe('miss');
  });

  test('stored after an invalidation of something else', async () => {
    const token = await cache.token();
    await cache.invalidate(['unrelated.ts']);
    await cache.invalidate(['dependency.ts'], OTHER_REALM);
    await cache.clearRealm('https://unrelated.example/');
    const put = await cache.put('b.ts', 'body', { token, dependencies: ['dependency.ts'] });
    expect(put.reason).toBe('stored');
  });

  test('epoch without a token, and for a token of another life', async () => {
    expect(await cache.put('c.ts', 'x', { token: null })).toEqual({ stored: false, reason: 'epoch' });
    const token = (await cache.token()).replace(/^[0-9a-f]{32}/, '0'.repeat(32));
    expect(await cache.put('c.ts', 'x', { token })).toEqual({ stored: false, reason: 'epoch' });
    expect((await cache.get('c.ts')).status).toBe('miss');
  });

  test('stored for the same token twice: the later one stays', async () => {
    const token = await cache.token();
    expect((await cache.put('d.ts', 'first', { token })).reason).toBe('stored');
    expect((await cache.put('d.ts', 'second', { token })).reason).toBe('stored');
    expect((await cache.get('d.ts')).body).toBe('second');
  });

  test('stored for a token out of changes_since, which is the same thing', async () => {
    const { cursor } = await cache.changesSince(null);
    expect((await cache.put('e.ts', 'x', { token: cursor })).reason).toBe('stored');
  });
});

describe('put keeps', () => {
  test('dependency keys in their normal form, once each, in their order', async () => {
    await cache.publish('dependencies.ts', 'x', {
      dependencies: [
        'z/index.ts',
        'a.ts',
        'a.gts',
        `${REALM}models/person.ts`,
        'HTTPS://Lib.Example/v1/x.mjs',
        'style.css',
        'types.d.ts',
        'z',
      ],
    });
    expect((await cache.get('dependencies.ts')).dependency_keys).toEqual([
      'z',
      'a',
      'models/person',
      'https://lib.example/v1/x',
      'style.css',
      'types.d.ts',
    ]);
  });

  test('no dependencies and no headers if there are none', async () => {
    const token = await cache.token();
    await cache.sql`
      select module_cache.put(${REALM}, 'bare.ts', 'transpile', '', '', null, null, ${token})`;
    expect(await cache.get('bare.ts')).toMatchObject({
      status: 'hit',
      body: '',
      headers: {},
      dependency_keys: [],
    });
  });

  test('a body of ten megabytes and a thousand dependencies', async () => {
    const body = 'é'.repeat(5_000_000);
    const dependencies = Array.from({ length: 1000 }, (_, i) => `modules/m${i}`);
    await cache.publish('large.ts', body, { dependencies });
    const read = await cache.get('large.ts');
    expect(read.body === body).toBe(true);
    expect(read.dependency_keys).toEqual(dependencies);
    await cache.invalidate(['modules/m777.ts']);
    expect((await cache.get('large.ts')).status).toBe('miss');
  });

  test('the longest of keys', async () => {
    const random = (bytes: number): string =>
      Array.from({ length: bytes }, () => String.fromCharCode(97 + Math.floor(Math.random() * 26))).join('');
    const realm = `https://${random(480)}.example/${random(490)}/`;
    const path = random(2000 - realm.length);
    const options = { realm, kind: random(64), variant: random(500) };
    await cache.publish(path, 'x', { ...options, dependencies: [random(2000 - realm.length)] });
    expect((await cache.get(path, options)).status).toBe('hit');
    expect(await cache.invalidate([path], realm)).toEqual([{ realm_url: realm, canonical_path: path }]);
  });

  test('every character that a text can hold', async () => {
    const odd = 'ü \u0001\t\n"\'\\%_🧨 %2e\u2028.ts';
    await cache.publish(odd, odd, { variant: odd, headers: { odd } });
    expect(await cache.get(odd, { variant: odd })).toMatchObject({
      status: 'hit',
      body: odd,
      headers: { odd },
    });
    await cache.invalidate([odd]);
    expect((await cache.get(odd, { variant: odd })).status).toBe('miss');
  });
});

test('a definition expires, and an error that is not to be kept does so within its second', async () => {
  await cache.publish('definition.ts', 'x', { kind: 'definition', isError: true, expiresIn: '1 second' });
  const [row] = await cache.run(`
    select status, expires_in <= interval '1 second' as short
    from module_cache.get('${REALM}', 'definition.ts', 'definition')`);
  expect(row).toEqual({ status: 'error', short: true });
});
