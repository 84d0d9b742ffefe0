import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  coversOf,
  coversOfRealm,
  dependencyKeyOf,
  moduleCover,
  normalizeDependency,
  normalizePath,
  normalizeRealm,
} from '../../src/keys.js';
import { createDatabase, type TestDatabase } from '../support/database.js';

/** sql/020-keys.sql and src/keys.ts spell the same words: a process that covers less than the database is stale. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createDatabase();
});
afterAll(() => db.drop());

const pieces = [
  ...['a', 'b', 'Z', '.', '..', '/', '//', ' ', '%2e', '?', '#', '@', ':', '\\', '*', '$', '\n', '\r', '\t'],
  ...[
    '\u0001',
    '\u001f',
    '\u007f',
    '\u0080',
    '\u00a0',
    '\u2028',
    'é',
    'e\u0301',
    '日本',
    '𝒳',
    '\u212a',
    'ſ',
    'İ',
    'ß',
  ],
  ...['index', '/index', 'index.ts', '/index.js', 'indexes'],
  ...[
    '.ts',
    '.d.ts',
    '.tsx',
    '.mts',
    '.cts',
    '.js',
    '.jsx',
    '.mjs',
    '.gts',
    '.gjs',
    '.TS',
    '.json',
    '.css',
    '.map',
  ],
  ...['https://', 'HTTPS://', 'http:', 'h.example', 'H.Example', 'user:password@', ':8080', 'file:///', '/'],
  'x'.repeat(700),
  'é'.repeat(400),
];
/** Text that Postgres can hold. */
const storable = (text: string): boolean => !text.includes('\0') && text.isWellFormed();
const nasty = fc
  .oneof(
    {
      weight: 8,
      arbitrary: fc.array(fc.constantFrom(...pieces), { maxLength: 12 }).map((parts) => parts.join('')),
    },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
  )
  .filter(storable);
const realms = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      ...[
        'https://h.example/',
        'https://h.example/a/',
        'https://h.example/a/index/',
        'https://h.example/b.js/',
        'https://h.example/a.d.ts/',
      ],
    ),
  },
  {
    weight: 1,
    arbitrary: nasty
      .map((text) => `https://h.example/${text}/`)
      .filter((realm) => normalizeRealm(realm) === realm),
  },
);
const url = fc
  .tuple(
    fc.constantFrom(
      ...['https://h.example/', 'https://H.example/a/', 'https://h.example/b.js/'],
      ...['HTTP://other.example/', 'file:///'],
    ),
    nasty,
  )
  .map(([start, rest]) => start + rest);
const declared = fc.oneof(nasty, url);

/** Many at once, in one statement. */
const many = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T[]> =>
  fc.array(arbitrary, { minLength: 1, maxLength: 80 });
const runs = { numRuns: 60 };

async function column(query: Promise<readonly { value: string | null }[]>): Promise<(string | null)[]> {
  return (await query).map(({ value }) => value);
}

test('a realm is the same realm in a process and in the database', () =>
  fc.assert(
    fc.asyncProperty(
      many(
        fc.oneof(
          nasty,
          url,
          url.map((text) => `${text}/`),
        ),
      ),
      async (inputs) => {
        const theirs = await column(db.sql`
        select module_cache._realm(t.value) as value
        from unnest(${inputs}::text[]) with ordinality t (value, position) order by t.position`);
        expect(theirs).toEqual(inputs.map(normalizeRealm));
      },
    ),
    runs,
  ));

test('a path is the same path in a process and in the database', () =>
  fc.assert(
    fc.asyncProperty(realms, many(nasty), async (realm, inputs) => {
      const theirs = await column(db.sql`
        select module_cache._path(${realm}, t.value) as value
        from unnest(${inputs}::text[]) with ordinality t (value, position) order by t.position`);
      expect(theirs).toEqual(inputs.map((path) => normalizePath(realm, path)));
    }),
    runs,
  ));

test('a dependency key is the same key in a process and in the database, and is its own key', () =>
  fc.assert(
    fc.asyncProperty(many(nasty), async (inputs) => {
      const ours = inputs.map(dependencyKeyOf);
      const theirs = await column(db.sql`
        select module_cache._dependency_key(t.value) as value
        from unnest(${inputs}::text[]) with ordinality t (value, position) order by t.position`);
      expect(theirs).toEqual(ours);
      expect(ours.map(dependencyKeyOf)).toEqual(ours);
    }),
    runs,
  ));

test('a declared key is the same key in a process and in the database', () =>
  fc.assert(
    fc.asyncProperty(realms, many(declared), async (realm, inputs) => {
      const ours = inputs.map((key) => normalizeDependency(realm, key));
      const theirs = await column(db.sql`
        select module_cache._declared_key(${realm}, t.value) as value
        from unnest(${inputs}::text[]) with ordinality t (value, position) order by t.position`);
      expect(theirs).toEqual(ours);
    }),
    runs,
  ));

test('a declared key declares itself', () =>
  fc.assert(
    fc.property(realms, declared, (realm, input) => {
      const key = normalizeDependency(realm, input);
      // (A module may be called `..ts`, whose key is no path, and `a//index.ts`, whose key ends in a slash.)
      fc.pre(key !== null && !/(^|\/)\.\.?$|\/$/.test(key));
      expect(normalizeDependency(realm, key)).toBe(key);
    }),
    { numRuns: 3000 },
  ));

test('an artifact covers in a process what it covers in the database', () =>
  fc.assert(
    fc.asyncProperty(realms, nasty, many(declared), async (realm, name, inputs) => {
      const path = normalizePath(realm, name) ?? 'a.ts';
      const keys = inputs.flatMap((key) => normalizeDependency(realm, key) ?? []);
      const covers = coversOf(realm, path, keys);
      const [row] = await db.sql<{ ours: string[]; theirs: string[] }[]>`
        select
          array(
            select distinct case left(c.value, 1)
              when 'm' then hashtextextended(substr(c.value, 2), 1)
              when 'r' then hashtextextended(substr(c.value, 2), 2)
              else 0
            end
            from unnest(${covers}::text[]) c (value)
            order by 1)::text[] as ours,
          array(
            select distinct h
            from unnest(
              array[module_cache._module_hash(${realm}, ${path}), module_cache._realm_hash(${realm}), 0]
              || module_cache._dependency_hashes(${realm}, ${keys}::text[])) h
            order by 1)::text[] as theirs`;
      expect(row?.theirs).toEqual(row?.ours);
    }),
    runs,
  ));

test('a clear of a realm reaches in a process what it reaches in the database', () =>
  fc.assert(
    fc.asyncProperty(realms, async (realm) => {
      await db.sql`select module_cache.clear_realm(${realm})`;
      const [row] = await db.sql<{ missing: string[]; keys: number }[]>`
        select
          count(*)::integer as keys,
          count(*) filter (where g.key not in (
            select case left(c.value, 1)
              when 'm' then hashtextextended(substr(c.value, 2), 1)
              else hashtextextended(substr(c.value, 2), 2)
            end
            from unnest(${coversOfRealm(realm)}::text[]) c (value)))::integer as missing
        from module_cache._generations g
        where g.xid = (select max(i.xid) from module_cache._invalidations i)`;
      expect(row).toEqual({ keys: realm === 'https://h.example/' ? 1 : 2, missing: 0 });
    }),
    runs,
  ));

describe('names of one module', () => {
  const key = async (path: string): Promise<string | null> =>
    (await column(db.sql`select module_cache._dependency_key(${path}) as value`))[0] ?? null;

  test.each([
    ['person', 'person.ts', 'person.gts', 'person.mjs', 'person/index.ts', 'person/index'],
    ['models/person', 'models/person.js', 'models/person.tsx', 'models/person/index.gjs'],
    ['index', 'index.ts', 'index.js'],
    ['types.d.ts', 'types.d.ts'],
    ['style.css', 'style.css'],
    ['data.json', 'data.json'],
    ['.ts', '.ts'],
    ['a/.js', 'a/.js'],
    ['indexes', 'indexes.ts'],
  ])('%s', async (...[expected, ...names]) => {
    for (const name of names) expect(await key(name)).toBe(expected);
  });
});

describe('what is a realm and what is none', () => {
  const realm = async (text: string): Promise<string | null> =>
    (await column(db.sql`select module_cache._realm(${text}) as value`))[0] ?? null;

  test.each([
    ['https://example.com/', 'https://example.com/'],
    ['HTTPS://Example.COM/App/', 'https://example.com/App/'],
    ['http://localhost:4200/a/b/', 'http://localhost:4200/a/b/'],
    ['file:///srv/app/', 'file:///srv/app/'],
  ])('%s is %s', async (text, expected) => {
    expect(await realm(text)).toBe(expected);
  });

  test.each([
    'https://example.com',
    'https://example.com/app',
    'example.com/',
    '/app/',
    'https://user:password@example.com/',
    'https://example.com/?q=/',
    'https://example.com/#/',
    'https://example.com/../',
    'https://example.com/a/./b/',
    'https://example.com/a b/',
    'https://exam\\ple.com/',
    'https://example.com/\n/',
    ` https://example.com/`,
    `https://example.com/${'x'.repeat(1981)}/`,
    '',
  ])('%j is none', async (text) => {
    expect(await realm(text)).toBeNull();
  });
});

describe('a key in another realm, of which nobody can say where that realm ends', () => {
  const covered = async (
    key: string,
    realm: string,
    path: string,
  ): Promise<{ module: boolean; realm: boolean }> => {
    const [row] = await db.sql<{ module: boolean; realm: boolean }[]>`
      select
        module_cache._module_hash(${realm}, ${path}) = any (h) as module,
        h && array[module_cache._realm_hash(${realm}), module_cache._module_hash(${realm}, 'index')] as realm
      from module_cache._dependency_hashes(
        'https://me.example/', array[module_cache._declared_key('https://me.example/', ${key})]) h`;
    return row as { module: boolean; realm: boolean };
  };

  test.each([
    ['https://x.example/a/b.ts', 'https://x.example/', 'a/b.ts'],
    ['https://x.example/a/b.ts', 'https://x.example/a/', 'b.ts'],
    ['https://X.example/a/b', 'https://x.example/a/', 'b.gts'],
    ['https://x.example/a/b/c/d.ts', 'https://x.example/a/b/', 'c/d.ts'],
    ['https://x.example/a/index.ts', 'https://x.example/', 'a/index.ts'],
    ['https://x.example/index.ts', 'https://x.example/', 'index.ts'],
    ['https://x.example/three.js/index.js', 'https://x.example/', 'three.js/index.js'],
    // Realms that begin with empty folders.
    ['https://x.example//b/c.ts', 'https://x.example//b/', 'c.ts'],
    ['https://x.example///c.ts', 'https://x.example///', 'c.ts'],
    // Folders that are called like declarations, whose extension stays.
    ['https://x.example/a.d.ts', 'https://x.example/a.d.ts/', 'index.ts'],
    ['https://x.example/a.d.ts/index.ts', 'https://x.example/a.d.ts/', 'index.js'],
    ['https://x.example/.d.ts/b.ts', 'https://x.example/.d.ts/', 'b.mts'],
  ])('%s covers %s with %s in it', async (key, realm, path) => {
    expect(await covered(key, realm, path)).toEqual({ module: true, realm: true });
  });

  // The root module of a realm, and folders that look like modules.
  test.each([
    ['https://x.example/a/index.ts', 'https://x.example/a/', 'index.ts'],
    ['https://x.example/a', 'https://x.example/a/', 'index.ts'],
    ['https://x.example/three.js/index.js', 'https://x.example/three.js/', 'index.js'],
    ['https://x.example/a/index/index.ts', 'https://x.example/a/index/', 'index.ts'],
    ['https://x.example/a/index/index.ts', 'https://x.example/a/', 'index/index.ts'],
    ['https://x.example/a/', 'https://x.example/a/', 'index.ts'],
    ['https://x.example/a/b/', 'https://x.example/', 'a/b/index.ts'],
    ['https://x.example/a/b/', 'https://x.example/', 'a/b/'],
    ['https://me.example/npm://b/x.ts', 'https://me.example/', 'npm://b/x.ts'],
    // Realms that lie in the own one.
    ['https://me.example/a/b.ts', 'https://me.example/a/', 'b.ts'],
    ['a/b/c.ts', 'https://me.example/a/', 'b/c.gts'],
    ['a/b/c.ts', 'https://me.example/a/b/', 'c.ts'],
    ['a', 'https://me.example/a/', 'index.ts'],
    ['a/index/index', 'https://me.example/a/index/', 'index.ts'],
    ['three.js/index.js', 'https://me.example/three.js/', 'index.js'],
    ['three.js/index.js', 'https://me.example/three.js/', 'index/index.js'],
    ['a/b/', 'https://me.example/a/', 'b/'],
    ['a//index//', 'https://me.example/a//', 'index//'],
  ])('%s covers %s with its root module %s', async (key, realm, path) => {
    expect(await covered(key, realm, path)).toEqual({ module: true, realm: true });
  });
});

test('whoever declares a URL covers the module that it names, and the realm, in whatever realm that is', () =>
  fc.assert(
    fc.property(realms, realms, nasty, (own, realm, name) => {
      const path = normalizePath(realm, name);
      fc.pre(path !== null);
      const declaredKey = normalizeDependency(own, realm + path);
      fc.pre(declaredKey !== null);
      const covers = coversOf(own, 'own.ts', [declaredKey as string]);
      expect(covers).toContain(moduleCover(realm, path as string));
      // What lies in the own realm lies in no realm around it.
      const isOwn = (realm + path).startsWith(own) && realm.length < own.length;
      if (!isOwn) expect(covers.some((cover) => coversOfRealm(realm).includes(cover))).toBe(true);
    }),
    { numRuns: 3000 },
  ));
