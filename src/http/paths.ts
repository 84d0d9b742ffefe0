import { normalizePath } from '../keys.js';
import { misuse } from './misuse.js';

/** `/` or `/prefix/`. @throws ModuleCacheError MC107 for what no URL path can begin with */
export function requireBasePath(basePath: string): string {
  const path = typeof basePath === 'string' ? `/${basePath}/`.replace(/\/+/g, '/') : '?';
  if (new URL(path, 'http://x').pathname !== path) {
    throw misuse(
      `basePath is ${JSON.stringify(basePath)}`,
      'Pass the path of the mount as URLs spell it, such as /modules/.',
    );
  }
  return path;
}

/**
 * The path that a request names below the mount, percent-decoded once; it may be an alias. `outside`: it is not below
 * the mount. `malformed`: it can name no module. Dot segments have gone by now, see {@link climbs}.
 */
export function requestedPath(
  realm: string,
  basePath: string,
  url: URL,
): { path: string } | 'outside' | 'malformed' {
  if (!`${url.pathname}/`.startsWith(basePath)) return 'outside';
  try {
    const path = decodeURIComponent(url.pathname.slice(basePath.length));
    if (isSloppy(path)) return 'malformed';
    return path === '' || normalizePath(realm, path) !== null ? { path } : 'malformed';
  } catch {
    return 'malformed';
  }
}

/**
 * Whether a file system could find a file by this path although it has another one: an empty segment, or a backslash on
 * Windows. A module must not be cached under two paths, of which an invalidation names one.
 */
export const isSloppy = (path: string): boolean => path.includes('//') || path.includes('\\');

/**
 * Whether a raw request target has a `.` or `..` segment or a backslash, also percent-encoded. A URL object resolves
 * those, and the folder above would look like the root.
 */
export function climbs(target: string): boolean {
  try {
    const path = decodeURIComponent(target.split(/[?#]/, 1)[0] as string);
    return path.includes('\\') || /(^|\/)\.\.?(\/|$)/.test(path);
  } catch {
    return true;
  }
}

/** A module's path as a browser spells it in a URL, whoever links to it: one spelling is one module for a browser. */
export function urlPathOf(path: string): string {
  // What the URL parser would take for its own; the rest it encodes, or not, as for any link.
  const escaped = path.replace(/[%?#\\]/g, encodeURIComponent);
  return new URL(`http://x/${escaped}`).pathname.slice(1);
}

/**
 * A relative URL, beginning with `./` or `../`.
 *
 * @param folder of the module that it stands in: `` or `a/b/`
 * @param target a path of the same mount as `urlPathOf` spells it
 */
export function relativeUrl(folder: string, target: string): string {
  const from = urlPathOf(folder).split('/').slice(0, -1);
  const to = target.split('/');
  let common = 0;
  while (common < from.length && common < to.length - 1 && from[common] === to[common]) common += 1;
  return ('../'.repeat(from.length - common) || './') + to.slice(common).join('/');
}
