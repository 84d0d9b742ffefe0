import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { coversOf, moduleCover, normalizeDependency, normalizePath, normalizeRealm } from '../../src/keys.js';
import { dependencyKeysOf, ownKeysOf } from '../../src/transpile/specifiers.js';
import { parseUrl } from '../../src/transpile/spellings.js';
import { type Session, session } from '../sql/support/session.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { keysOf, open } from './support/fixtures.js';

/** Realms are compared as they are spelled, so an importer has to cover all spellings that an invalidation may use. */

const hosts = [
  ...['h.example', 'H.example:8080', 'bücher.example', 'BÜCHER.example', 'xn--bcher-kva.example'],
  ...['日本.example:443', 'b%C3%BCcher.example', '127.0.0.1:3000', '[::1]'],
];
const pieces = [
  ...['a', 'Z', '-', '@', ',', '$', '+', '[', '^', '|', "'", '*', '\\'],
  ...['ä', 'e\u0301', '日', '𝒳', '\u00a0'],
  ...['%20', '%C3%A4', '%c3%a4', '%41', '%40', '%2C', '%25', '%2525', '%2F', '%3F', '%', '%E4', '%zz'],
];
const segment = fc
  .array(fc.constantFrom(...pieces), { minLength: 1, maxLength: 4 })
  .map((parts) => parts.join(''));
const realms = fc
  .tuple(
    fc.constantFrom('https', 'http', 'HTTPS', 'custom'),
    fc.constantFrom(...hosts),
    fc.array(fc.oneof({ weight: 9, arbitrary: segment }, { weight: 1, arbitrary: fc.constant('') }), {
      maxLength: 3,
    }),
  )
  .map(([scheme, host, folders]) => `${scheme}://${[host, ...folders].join('/')}/`)
  .filter((realm) => hrefOf(realm) !== undefined && normalizeRealm(realm) !== null)
  .map((realm) => normalizeRealm(realm) as string);
/** Canonical paths, which are decoded. */
const paths = fc
  .array(
    segment.map((text) => text.replaceAll('%2F', '')),
    { minLength: 1, maxLength: 3 },
  )
  .map((segments) => `${decoded(segments.join('/')).replace(/[?#]/g, '')}.ts`)
  .filter((path) => !path.includes('//') && normalizePath('https://h.example/', path) === path);

const all = (text: string): string => text.split('/').map(encodeURIComponent).join('/');
const few = (text: string): string => text.replace(/[%?#\\]/g, encodeURIComponent);
function decoded(text: string): string {
  try {
    return decodeURI(text);
  } catch {
    return text;
  }
}
/** (`URL.canParse` has another opinion once Node has optimized it.) */
const hrefOf = (url: string): string | undefined => parseUrl(url, 'https://me.example/')?.href;
const behindHost = (url: string): string => url.replace(/^[^:]*:\/\/[^/]*/, '');
const isSpecial = (realm: string): boolean => realm.startsWith('http');

/** What users write for a realm: as it was declared, as `URL` spells it, and decoded, as far as that is a realm. */
function namesOf(realm: string): string[] {
  const { href } = new URL(realm);
  return [realm, href, decoded(realm).replaceAll(' ', '%20'), decoded(href).replaceAll(' ', '%20')].flatMap(
    (name) => (hrefOf(name) === href ? (normalizeRealm(name) ?? []) : []),
  );
}

/** All ways to write an import of a module, in a module of the same realm, `folder` deep. */
function importsOf(realm: string, path: string): string[] {
  const { href } = new URL(realm);
  return [all, encodeURI, few].flatMap((encode) => {
    const rest = encode(path).replace(/[?#]/g, encodeURIComponent);
    const absolute = [...namesOf(realm), href.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase())].map(
      (name) => name + rest,
    );
    const relative = [`../${rest}`, `.././${rest}`, `./../x/%2e%2e/${rest}`];
    const hostless = absolute.map(behindHost).filter((name) => !name.startsWith('//'));
    const schemeless = absolute.map((name) => name.replace(/^[^:]*:/, ''));
    return [...absolute, ...relative, ...hostless, ...schemeless];
  });
}

/** What could be invalidated, and the artifact would not be. */
function missing(covers: readonly string[], names: readonly string[], path: string): string[] {
  const covered = new Set(covers);
  return names
    .flatMap((name) => [moduleCover(name, path), `r${name}`])
    .filter((cover) => !covered.has(cover));
}

test('an importer is outdated by a change of what it imports, whoever spells the realm how', () =>
  fc.assert(
    fc.property(realms, paths, (realm, path) => {
      const importer = 'folder/own.ts';
      // A backslash ends a folder in one kind of URL only.
      fc.pre(!isSpecial(realm) || !(realm + path).includes('\\'));
      for (const specifier of importsOf(realm, path)) {
        const covers = coversOf(realm, importer, dependencyKeysOf(realm, importer, [specifier]));
        expect([specifier, missing(covers, namesOf(realm), path)]).toEqual([specifier, []]);
      }
    }),
    { numRuns: 200 },
  ));

test('an importer in another realm is outdated by a change under every spelling of the URL that it imports', () =>
  fc.assert(
    fc.property(realms, paths, (realm, path) => {
      fc.pre(!(realm + path).includes('\\'));
      for (const name of namesOf(realm)) {
        const specifier = name + encodeURI(path).replace(/[?#]/g, encodeURIComponent);
        const keys = dependencyKeysOf('https://me.example/', 'own.ts', [specifier]);
        const covers = coversOf('https://me.example/', 'own.ts', keys);
        const { href } = new URL(realm);
        // Of the spelling that was declared only the import itself can tell.
        expect([specifier, missing(covers, [...namesOf(href), name], path)]).toEqual([specifier, []]);
      }
    }),
    { numRuns: 200 },
  ));

test('a module is outdated itself by a change under another spelling of its realm', () =>
  fc.assert(
    fc.property(realms, paths, (realm, path) => {
      fc.pre(!(realm + path).includes('\\'));
      const covers = coversOf(realm, path, ownKeysOf(realm, path));
      for (const name of namesOf(realm)) expect(covers).toContain(moduleCover(name, path));
    }),
    { numRuns: 200 },
  ));

test('a specifier that is not ASCII is a URL, however often it was looked at', () => {
  const specifier = 'https://b\u00fccher.example/a.ts';
  for (let count = 0; count < 50_000; count += 1) {
    if (parseUrl(specifier, 'https://h.example/own.ts') === undefined) {
      throw new Error(`not after ${count} times`);
    }
  }
});

test('a module whose URL has one spelling costs one key', () => {
  const realm = 'https://h.example/app/';
  for (const specifier of ['./b.ts', '/app/b.ts', 'https://h.example:443/app/b.ts', '//H.example/app/b.ts']) {
    expect(dependencyKeysOf(realm, 'a.ts', [specifier])).toEqual(['b']);
  }
  expect(ownKeysOf(realm, 'models/a.ts')).toEqual([]);
  expect(dependencyKeysOf(realm, 'a.ts', ['https://cdn.example/v1/b.js'])).toEqual([
    'https://cdn.example/v1/b',
  ]);
});

test.each([
  ['a realm that begins with an empty folder', 'https://x.example//b/', 'https://x.example//b/c.ts'],
  ['a realm that is an empty folder', 'https://x.example//', 'https://x.example//c.ts'],
  ['a realm with a percent sign of its own', 'https://x.example/100%/', 'https://x.example/100%/c.ts'],
  ['a realm in Latin-1', 'https://x.example/%E4/', 'https://x.example/%E4/c.ts'],
  ['a realm that escapes more than it has to', 'https://x.example/%40b/', 'https://x.example/@b/c.ts'],
  [
    'a realm that escapes less than its importer',
    'https://x.example/@%20b/',
    'https://x.example/%40%20b/c.ts',
  ],
  ['a realm that escapes what has to be only', 'https://x.example/ä%40/', 'https://x.example/%C3%A4%40/c.ts'],
  ['a realm that is spelled as no rule says', 'https://x.example/ä%41/', 'https://x.example/ä%41/c.ts'],
  ['a realm beside the own one', 'https://me.example/ä%20b/', '../ä%20b/c.ts'],
])('%s can be imported by others', (_, realm, specifier) => {
  const own = 'https://me.example/own/';
  const keys = dependencyKeysOf(own, 'a.ts', [specifier]);
  expect(keys.map((key) => normalizeDependency(own, key))).toEqual(keys);
  const covers = coversOf(own, 'a.ts', keys);
  expect(covers).toEqual(expect.arrayContaining([moduleCover(realm, 'c.ts'), `r${realm}`]));
});

describe('in the database', () => {
  let db: TestDatabase;
  let cache: Session;
  beforeAll(async () => {
    db = await createDatabase();
    cache = session(db);
  });
  afterAll(() => db.drop());

  test.each([
    ['https://x.example/ä%20b/', 'https://x.example/%C3%A4%20b/', 'c d.ts', './c%20d.ts'],
    ['https://x.example/%C3%A4%20b/', 'https://x.example/ä%20b/', 'c d.ts', './c d.ts'],
    ['https://x.example/ä%20b/', 'https://x.example/', 'ä b/c.ts', './c.ts'],
    ['https://bücher.example/', 'https://xn--bcher-kva.example/', 'c.ts', './c'],
    ['https://xn--bcher-kva.example/', 'https://bücher.example/', 'c.ts', '/c'],
    ['https://x.example/ä%40/', 'https://x.example/%C3%A4%40/', 'c.ts', '/%c3%a4@/c.ts'],
    ['https://x.example/ä%41/', 'https://x.example/ä%41/', 'c.ts', '/%c3%a4A/c.ts'],
    ['https://x.example//b/', 'https://x.example//b/', 'c.ts', './c'],
    ['https://me.example/', 'https://x.example//b/', 'c.ts', 'https://x.example//b/c.ts'],
    ['https://me.example/', 'https://bücher.example/ä%20b/', 'c.ts', 'https://bücher.example/ä%20b/c.ts'],
  ])('what a module of %s imports can be invalidated in %s as %s', async (realm, name, path, specifier) => {
    const dependencies = await keysOf(await transpiler(), `import '${specifier}';`, 'a.ts', realm);
    for (const invalidate of [() => cache.invalidate([path], name), () => cache.clearRealm(name)]) {
      await cache.publish('a.ts', 'x', { realm, dependencies });
      expect((await cache.get('a.ts', { realm })).status).toBe('hit');
      await invalidate();
      expect((await cache.get('a.ts', { realm })).status).toBe('miss');
    }
  });

  test.each([
    ['that compiles', 'export {};'],
    ['that does not', 'export {'],
  ])('a module %s is invalidated by another spelling of its realm', async (_, source) => {
    const realm = 'https://bücher.example/ä%20b/';
    const module = { realm, path: 'a.ts', source };
    const { href } = new URL(realm);
    for (const make of ['transpile', 'define'] as const) {
      const { dependencyKeys: dependencies } = await (await transpiler())[make](module);
      await cache.publish('a.ts', 'x', { realm, dependencies });
      await cache.invalidate(['a.ts'], href);
      expect((await cache.get('a.ts', { realm })).status).toBe('miss');
    }
  });
});

let opened: ReturnType<typeof open> | undefined;
function transpiler(): ReturnType<typeof open> {
  opened ??= open();
  return opened;
}
