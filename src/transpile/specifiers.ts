import { dependencyKeyOf, normalizeDependency, normalizeRealm } from '../keys.js';

/** URL of a module: its path percent-encoded behind its realm. */
export const moduleUrl = (realm: string, path: string): string =>
  realm + encodeURI(path).replace(/[?#]/g, encodeURIComponent);

/**
 * Dependency keys of what a module imports (DESIGN.md section 2): relative specifiers and URLs, resolved as a browser
 * does. Bare specifiers, and whatever cannot be a key, are left out; so is the module itself. Arguments are normalised.
 */
export function dependencyKeysOf(realm: string, path: string, specifiers: Iterable<string>): string[] {
  const own = dependencyKeyOf(path);
  const keys = new Set<string>();
  for (const specifier of specifiers) {
    for (const key of keysOf(realm, path, specifier)) if (key !== own) keys.add(key);
  }
  return [...keys];
}

// "." and ".." are no URLs of modules for a browser, but folders for Node and for bundlers.
const relativeOrUrl = /^(?:\.{0,2}\/|\.{1,2}$|[a-z][a-z0-9+.-]*:\/\/)/i;

/** One key, or one for each way in which the realm that the module lies in could be spelled. */
function keysOf(realm: string, path: string, specifier: string): string[] {
  if (!relativeOrUrl.test(specifier)) return [];
  let root: string;
  let target: string;
  try {
    // Realms are compared as URLs spell them, e.g. without a default port; keys keep the spelling of the realm.
    root = new URL(realm).href;
    const url = new URL(specifier, moduleUrl(root, path));
    url.search = '';
    url.hash = '';
    target = url.href;
  } catch {
    return [];
  }
  const starts = target.startsWith(root)
    ? [{ href: root, spelled: realm }]
    : hostsOf(target, root, realm, specifier);
  return starts.flatMap(({ href, spelled }) =>
    spellingsOf(target.slice(href.length)).flatMap(
      (rest) => normalizeDependency(realm, spelled + rest) ?? [],
    ),
  );
}

/** Scheme and host of a URL, also as the specifier or the own realm spells them: a realm may keep its default port. */
function hostsOf(
  target: string,
  root: string,
  realm: string,
  specifier: string,
): { href: string; spelled: string }[] {
  const href = hostOf(target);
  if (href === undefined) return [];
  const spellings = new Set([href]);
  if (hostOf(root) === href) spellings.add(hostOf(realm) as string);
  const written = hostOf(specifier);
  if (written !== undefined && normalizeRealm(written) !== null)
    spellings.add(normalizeRealm(written) as string);
  return [...spellings].map((spelled) => ({ href, spelled }));
}

const hostOf = (url: string): string | undefined => /^[a-z][a-z0-9+.-]*:\/\/[^/]*\//i.exec(url)?.[0];

/**
 * The percent-decoded rest of a URL. Where one of its folders could be the end of a realm, the URL of that realm stays
 * as it is written.
 */
function spellingsOf(rest: string): string[] {
  const spellings = new Set<string>();
  for (let end = 0; ; ) {
    let decoded: string;
    try {
      decoded = decodeURIComponent(rest.slice(end));
    } catch {
      return [];
    }
    // A folder stands for its index, whose key is the folder's.
    if (decoded === '' || decoded.endsWith('/')) decoded += 'index';
    spellings.add(rest.slice(0, end) + decoded);
    end = rest.indexOf('/', end) + 1;
    if (end === 0) return [...spellings];
  }
}
