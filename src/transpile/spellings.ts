import { domainToUnicode } from 'node:url';
import { normalizeRealm } from '../keys.js';

/** URL of a module: its path percent-encoded behind its realm. */
export const moduleUrl = (realm: string, path: string): string =>
  realm + encodeURI(path).replace(/[?#]/g, encodeURIComponent);

/** Not asked of `URL.canParse`, which takes Latin-1 for UTF-8 once Node has optimized it, and refuses a host with an ü. */
export function parseUrl(text: string, base: string): URL | undefined {
  try {
    return new URL(text, base);
  } catch {
    return undefined;
  }
}

/**
 * A realm is compared as it is spelled, here and in the database, which cannot parse URLs; its paths are compared
 * decoded. So a module that is imported has one name for each folder that could be the end of its realm, and for each
 * spelling that such a realm could have: as a URL parser spells it, decoded as `decodeURI` or `decodeURIComponent` do,
 * as the specifier spells it, and as the importer's realm does. A realm of others may escape what needs no escape, too.
 *
 * @returns the names as realm and decoded path in one, the first in the spelling of the importer's realm if it lies
 *   there; none for what is no URL
 */
export function spellingsOf(realm: string, path: string, specifier: string): string[] {
  const base = moduleUrl(realm, path);
  const url = parseUrl(specifier, base);
  if (url === undefined || url.username !== '' || url.password !== '') return [];
  const root = new URL(realm);
  let target = segmentsOf(url);
  const rootFolders = segmentsOf(root).slice(0, -1);
  const isOwn =
    hostOf(url.href) === hostOf(root.href) && isSame(rootFolders, target.slice(0, rootFolders.length));

  const spellings: ((segments: string[]) => string[])[] = [
    (segments) => segments,
    (segments) => segments.map((segment) => legal(decodedBy(decodeURI, segment))),
    (segments) => segments.map((segment) => legal(decodedBy(decodeURIComponent, segment))),
  ];
  const names: string[] = [];
  const written = writtenSegments(base, specifier, target);
  if (isOwn) {
    const inside = target.slice(rootFolders.length);
    for (const spell of spellings) names.push(...splits(realm, inside, spell(inside)));
    // Other names of the own realm are made from its own spelling, not from the import's.
    target = [...rootFolders, ...inside];
  } else {
    spellings.push((segments) => segments.map((segment) => escaped(decodedBy(decodeURIComponent, segment))));
  }
  if (written !== undefined) spellings.push(() => written);
  for (const host of hostsOf(url, realm, isOwn ? realm : specifier)) {
    for (const spell of spellings) names.push(...splits(host, target, spell(target)));
  }
  return [...new Set(names)];
}

/** A name for each folder that could be the end of the realm: as it is spelled up to there, decoded behind it. */
function splits(start: string, segments: readonly string[], spelled: readonly string[]): string[] {
  return segments.flatMap((_, end) => {
    const path = pathOf(segments.slice(end));
    const folders = spelled.slice(0, end).map((folder) => `${folder}/`);
    return path === undefined ? [] : [start + folders.join('') + path];
  });
}

/** Undefined for what is not encoded as it has to be. A folder stands for its index, whose key is the folder's. */
function pathOf(segments: readonly string[]): string | undefined {
  try {
    const path = decodeURIComponent(segments.join('/'));
    return path === '' || path.endsWith('/') ? `${path}index` : path;
  } catch {
    return undefined;
  }
}

/** Scheme and host: as the importer's realm spells them, as a URL does, as the specifier does, and in Unicode. */
function hostsOf(url: URL, realm: string, specifier: string): Set<string> {
  const href = hostOf(url.href);
  const hosts = new Set<string>();
  if (hostOf(new URL(realm).href) === href) hosts.add(hostOf(realm) as string);
  if (href !== null) hosts.add(href);
  const written = hostOf(specifier.startsWith('//') ? url.protocol + specifier : specifier);
  if (written !== null) hosts.add(written);
  // Of a scheme that it does not know a URL escapes the host.
  const unicode = domainToUnicode(url.hostname.includes('xn--') ? url.hostname : '');
  const name = unicode === '' ? decodedBy(decodeURIComponent, url.hostname) : unicode;
  hosts.add(`${url.protocol}//${name}${url.port === '' ? '' : `:${url.port}`}/`);
  return hosts;
}

/** The realm at the root of a URL's host; null for what has none, such as a relative specifier. */
function hostOf(url: string): string | null {
  const host = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i.exec(url)?.[0];
  return host === undefined ? null : normalizeRealm(`${host}/`);
}

const segmentsOf = (url: URL): string[] => url.pathname.replace(/^\//, '').split('/');

/** The segments of the target as realm and specifier spell them, instead of a URL parser; undefined if nobody can say. */
function writtenSegments(base: string, specifier: string, target: readonly string[]): string[] | undefined {
  // What is escaped once more comes back as it was.
  const [from, to] = [base, specifier].map((text) =>
    text.replace(/^(?:[a-z][a-z0-9+.-]*:)?\/\/[^/?#]*|%/gi, (part) => (part === '%' ? '%25' : part)),
  ) as [string, string];
  const url = parseUrl(to, from);
  if (url === undefined) return undefined;
  const written = segmentsOf(url).map((segment) => legal(decodeURIComponent(segment)));
  return isSame(written, target) ? written : undefined;
}

const isSame = (some: readonly string[], others: readonly string[]): boolean =>
  some.length === others.length &&
  some.every((segment, index) => sense(segment) === sense(others[index] as string));

/** What a segment says; escapes that are no UTF-8 stay, and differ in their letters only. */
const sense = (segment: string): string =>
  decodedBy(decodeURIComponent, segment).replace(/%[0-9a-f]{2}/gi, (code) => code.toUpperCase());

const escapedCharacter =
  /%[0-7][0-9a-f]|%[cd][0-9a-f]%[89ab][0-9a-f]|%e[0-9a-f](?:%[89ab][0-9a-f]){2}|%f[0-7](?:%[89ab][0-9a-f]){3}/gi;

/** What cannot be decoded stays. */
const decodedBy = (decode: (text: string) => string, text: string): string =>
  text.replace(escapedCharacter, (character) => {
    try {
      return decode(character);
    } catch {
      return character;
    }
  });

/** What a realm must not hold (`normalizeRealm`), or what would be two of its folders, is escaped. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const legal = (text: string): string => text.replace(/[\u0000-\u0020\u007f/?#]/g, encodeURIComponent);
const escaped = (text: string): string => encodeURIComponent(text.toWellFormed());
