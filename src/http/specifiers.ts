import type { ModuleSource } from '../realm/source.js';
import { moduleUrl, parseUrl } from '../transpile/spellings.js';
import type { ImportMapper } from './import-map.js';
import { isSloppy, relativeUrl, urlPathOf } from './paths.js';

export interface SpecifierResolver {
  /** What stands instead of a specifier; undefined leaves it as it is written. */
  resolve(specifier: string): Promise<string | undefined>;
  /** Canonical paths of the same realm that specifiers were resolved to. */
  readonly found: ReadonlySet<string>;
}

// "." and ".." are no URLs of modules for a browser, but folders for Node and for bundlers.
const relativeOrUrl = /^(?:\.{0,2}\/|\.{1,2}$|[a-z][a-z0-9+.-]*:\/\/)/i;

export interface SpecifierOptions {
  /** URL of the realm. */
  readonly realm: string;
  readonly source: ModuleSource;
  readonly mapper: ImportMapper;
}

/**
 * The specifiers of one module as URLs that resolve: relative ones lead to the file itself, so that a browser loads no
 * module under two URLs; they are relative, so that they hold under every mount. What resolves to nothing is left as it
 * is written: the browser's 404 says it.
 *
 * @param path canonical path of the module
 * @param folder that URLs are relative to, if it is not the module's own: it is served under the name of its folder
 */
export function createSpecifierResolver(
  { realm, source, mapper }: SpecifierOptions,
  path: string,
  folder = path.slice(0, path.lastIndexOf('/') + 1),
): SpecifierResolver {
  const found = new Set<string>();
  // A URL spells the realm its own way, e.g. without a default port.
  const root = new URL(realm).href;
  const base = moduleUrl(root, path);

  /** The URL of the module that a percent-encoded path of the realm stands for. */
  async function own(pathname: string, suffix: string): Promise<string | undefined> {
    const target = decoded(pathname);
    if (target === undefined || isSloppy(target)) return undefined;
    const canonicalPath = await source.resolve(target);
    if (canonicalPath === undefined) return undefined;
    found.add(canonicalPath);
    return relativeUrl(folder, urlPathOf(canonicalPath)) + suffix;
  }

  async function resolve(specifier: string): Promise<string | undefined> {
    const mapped = mapper.map(specifier);
    if (mapped !== undefined) {
      if ('url' in mapped) return mapped.url;
      const { pathname, suffix } = mapped;
      return (await own(pathname, suffix)) ?? relativeUrl(folder, pathname) + suffix;
    }
    const url = relativeOrUrl.test(specifier) ? parseUrl(specifier, base) : undefined;
    if (url === undefined) return undefined;
    const suffix = url.search + url.hash;
    url.search = '';
    url.hash = '';
    return url.href.startsWith(root) ? own(url.href.slice(root.length), suffix) : undefined;
  }

  return { resolve, found };
}

function decoded(pathname: string): string | undefined {
  try {
    return decodeURIComponent(pathname);
  } catch {
    return undefined;
  }
}
