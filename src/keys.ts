import { ModuleCacheError } from './errors.js';

/**
 * Realms, canonical paths and dependency keys (DESIGN.md section 2), spelled exactly as `sql/020-keys.sql` spells
 * them: a test holds the two against each other on generated input.
 */

/** Realm URL and path, or a foreign key, take at most this many bytes of UTF-8 together. */
export const MAX_KEY_BYTES = 2000;
export const MAX_KIND_BYTES = 64;
export const MAX_VARIANT_BYTES = 500;

/** Identity of one artifact. */
export interface ArtifactId {
  /** URL of the realm, ending in `/`. */
  readonly realm: string;
  /** Canonical path inside the realm, percent-decoded, with its extension. */
  readonly path: string;
  readonly kind: string;
  readonly variant: string;
}

/** No part of it can hold a NUL, so no two of them run into each other. */
export const nameOf = (id: ArtifactId): string => `${id.realm}\0${id.path}\0${id.kind}\0${id.variant}`;

const realmPattern = /^([a-z][a-z0-9+.-]*:\/\/[^/?#@\\]*)\/([^?#]*\/)?$/i;
const urlPattern = /^[a-z][a-z0-9+.-]*:\/\//i;
const dotSegment = /(^|\/)\.\.?(\/|$)/;
const extensionsAndIndex =
  /((?<=[^/])(?<!\.d)\.ts|(?<=[^/])\.(?:tsx|mts|js|jsx|mjs|gts|gjs)|(?<=.)\/index)+$/s;
const extensions = /((?<=[^/])(?<!\.d)\.ts|(?<=[^/])\.(?:tsx|mts|js|jsx|mjs|gts|gjs))+$/;
const finalSlashes = /\/+$/;
const authority = /^[^:]*:\/\/[^/]*\/+/;
const coverEnd = /((?<!\.d)\.ts|\.(?:tsx|mts|js|jsx|mjs|gts|gjs)|\/index|\/)+$/;

/** Lower-cases scheme and host. Returns null for what is no realm: a URL with a host part, ending in `/`. */
export function normalizeRealm(realm: string): string | null {
  const parts = realmPattern.exec(realm);
  if (parts === null || hasControl(realm) || dotSegment.test(parts[2] ?? '') || !fits(realm)) return null;
  return asciiLower(parts[1] as string) + realm.slice((parts[1] as string).length);
}

/** Returns null for what is no canonical path of the (normalised) realm. */
export function normalizePath(realm: string, path: string): string | null {
  const valid =
    path !== '' &&
    !path.startsWith('/') &&
    !/[?#]/.test(path) &&
    !dotSegment.test(path) &&
    isText(path) &&
    fits(realm + path);
  return valid ? path : null;
}

/** The path or key without executable extensions and without a final `/index` below the root; idempotent. */
export function dependencyKeyOf(path: string): string {
  return path.replace(extensionsAndIndex, '');
}

/**
 * Normalises a key that a module of `realm` declares: a path or key of the same realm, or a URL. A URL inside the
 * realm becomes a relative key, unless that would be no path or read as a URL; one outside loses a final `/index` only
 * if what is left then is its own key. Returns null for what is no key.
 */
export function normalizeDependency(realm: string, key: string): string | null {
  if (!urlPattern.test(key)) {
    const path = normalizePath(realm, key.replace(finalSlashes, ''));
    return path === null ? null : dependencyKeyOf(path);
  }
  // With all slashes behind it: a realm may begin with an empty folder, a path may not.
  const start = authority.exec(key)?.[0];
  const host = start === undefined ? null : normalizeRealm(start);
  if (start === undefined || host === null) return null;
  const path = normalizePath(host, key.slice(start.length).replace(finalSlashes, ''));
  if (path === null) return null;
  const url = host + path;
  if (url.startsWith(realm)) {
    const own = url.slice(realm.length);
    if (!urlPattern.test(own) && !own.startsWith('/')) return own === '' ? null : dependencyKeyOf(own);
  }
  const bare = path.replace(extensions, '');
  const folder = /^(.+)\/index$/s.exec(bare)?.[1];
  return host + (folder !== undefined && dependencyKeyOf(folder) === folder ? folder : bare);
}

/**
 * Key of a module for coverage, made from its URL alone: one realm can lie in the URL of another, and `index.ts` of
 * `https://example.com/a/` is `a/index.ts` of `https://example.com/`. All that a key could lose at its end is left out.
 */
export const moduleCover = (realm: string, path: string): string =>
  `m${(realm + path).replace(coverEnd, '')}`;
export const realmCover = (realm: string): string => `r${realm}`;
export const GLOBAL_COVER = 'g';
/** Of everything private: who may not see what was invalidated in a private realm is told that something was. */
export const PRIVATE_COVER = 'p';

/** What a clear of the realm invalidates: who declared the folder that it is means its index. */
export const coversOfRealm = (realm: string): string[] => [realmCover(realm), moduleCover(realm, 'index')];

/**
 * Everything whose invalidation outdates an artifact: its module, its realm, everything, its declared keys, and for
 * each of these the realms that it could lie in, also inside the own one. Arguments are normalised.
 */
export function coversOf(realm: string, path: string, dependencyKeys: readonly string[]): string[] {
  const covers = new Set([moduleCover(realm, path), realmCover(realm), GLOBAL_COVER]);
  for (const key of dependencyKeys) {
    const isUrl = urlPattern.test(key);
    const url = isUrl ? key : realm + key;
    covers.add(moduleCover('', url));
    // Any prefix that ends in a slash could be its realm.
    const start = isUrl ? key.indexOf('://') + 3 : realm.length;
    for (let end = url.indexOf('/', start); end >= 0; end = url.indexOf('/', end + 1)) {
      covers.add(realmCover(url.slice(0, end + 1)));
    }
  }
  return [...covers];
}

/** @throws ModuleCacheError MC001 if `realm` is no realm. */
export function requireRealm(realm: string): string {
  const normal = typeof realm === 'string' ? normalizeRealm(realm) : null;
  if (normal !== null) return normal;
  throw new ModuleCacheError('MC001', 'not a realm URL', {
    // A user part may hold a password, and errors are logged.
    detail: `realm: ${show(typeof realm === 'string' ? realm.replace(/\/\/[^/]*@/, '//***@') : realm)}`,
    hint: 'A realm is a URL such as https://example.com/app/: it has a host part, ends in "/", and has no user, query or fragment.',
  });
}

/** @throws ModuleCacheError MC001 if one of the parts cannot name an artifact. */
export function requireArtifactId(request: {
  realm: string;
  path: string;
  kind?: string;
  variant?: string;
}): ArtifactId {
  const realm = requireRealm(request.realm);
  const path = typeof request.path === 'string' ? normalizePath(realm, request.path) : null;
  if (path === null) {
    throw new ModuleCacheError('MC001', 'not a canonical path', {
      detail: `path: ${show(request.path)}`,
      hint: `A canonical path is not empty, has no leading "/", no "?" or "#", no "." or ".." segment, no NUL, and takes at most ${MAX_KEY_BYTES} bytes together with its realm.`,
    });
  }
  const kind = request.kind ?? 'transpile';
  if (kind === '' || !isText(kind) || Buffer.byteLength(kind) > MAX_KIND_BYTES) {
    throw new ModuleCacheError('MC001', 'not a kind', {
      detail: `kind: ${show(kind)}`,
      hint: `A kind is 1 to ${MAX_KIND_BYTES} bytes of text without NUL.`,
    });
  }
  const variant = request.variant ?? '';
  if (!isText(variant) || Buffer.byteLength(variant) > MAX_VARIANT_BYTES) {
    throw new ModuleCacheError('MC001', 'not a variant', {
      detail: `variant: ${show(variant)}`,
      hint: `A variant is at most ${MAX_VARIANT_BYTES} bytes of text without NUL.`,
    });
  }
  return { realm, path, kind, variant };
}

/** Text that Postgres can hold: no NUL, no lone surrogate. */
export const isText = (text: unknown): text is string =>
  typeof text === 'string' && !text.includes('\0') && text.isWellFormed();
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const hasControl = (text: string): boolean => /[\u0000-\u0020\u007f]/.test(text) || !text.isWellFormed();
const fits = (text: string): boolean =>
  text.length <= MAX_KEY_BYTES && Buffer.byteLength(text) <= MAX_KEY_BYTES;
const asciiLower = (text: string): string => text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());

function show(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 200 ? `${text.slice(0, 200)}… (${text.length} characters)` : text;
}
