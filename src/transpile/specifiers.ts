import { dependencyKeyOf, normalizeDependency } from '../keys.js';

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
    const key = dependencyKey(realm, path, specifier);
    if (key !== null && key !== own) keys.add(key);
  }
  return [...keys];
}

// "." and ".." are no URLs of modules for a browser, but folders for Node and for bundlers.
const relativeOrUrl = /^(?:\.{0,2}\/|\.{1,2}$|[a-z][a-z0-9+.-]*:\/\/)/i;

function dependencyKey(realm: string, path: string, specifier: string): string | null {
  if (!relativeOrUrl.test(specifier)) return null;
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
    return null;
  }
  const inside = target.startsWith(root);
  const pathStart = inside ? root.length : target.indexOf('/', target.indexOf('://') + 3) + 1;
  if (pathStart === 0) return null;
  let decoded: string;
  try {
    decoded = decodeURIComponent(target.slice(pathStart));
  } catch {
    return null;
  }
  // A folder stands for its index, whose key is the folder's.
  if (decoded === '' || decoded.endsWith('/')) decoded += 'index';
  return normalizeDependency(realm, (inside ? realm : target.slice(0, pathStart)) + decoded);
}
