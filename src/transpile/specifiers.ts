import { dependencyKeyOf, normalizeDependency } from '../keys.js';
import { moduleUrl, spellingsOf } from './spellings.js';

/**
 * Dependency keys of what a module imports (DESIGN.md section 2): relative specifiers and URLs, resolved as a browser
 * does, with a key for each name that the module could be invalidated by. Bare specifiers, and whatever cannot be a key,
 * are left out; so is the module's own key. Arguments are normalised.
 */
export function dependencyKeysOf(realm: string, path: string, specifiers: Iterable<string>): string[] {
  const own = dependencyKeyOf(path);
  const keys = new Set<string>();
  for (const specifier of specifiers) {
    if (!relativeOrUrl.test(specifier)) continue;
    for (const url of spellingsOf(realm, path, specifier)) {
      const key = normalizeDependency(realm, url);
      if (key !== null && key !== own) keys.add(key);
    }
  }
  return [...keys];
}

/** Keys of the other names that a module could be invalidated by; none if its URL has one spelling only. */
export const ownKeysOf = (realm: string, path: string): string[] =>
  dependencyKeysOf(realm, path, [moduleUrl(realm, path)]);

// "." and ".." are no URLs of modules for a browser, but folders for Node and for bundlers.
const relativeOrUrl = /^(?:\.{0,2}\/|\.{1,2}$|[a-z][a-z0-9+.-]*:\/\/)/i;
