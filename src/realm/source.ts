import { dependencyKeyOf, normalizePath } from '../keys.js';

/** The text of one module, read at one moment. */
export interface SourceFile {
  readonly text: string;
  /** SHA-256 of the text, hexadecimal. */
  readonly hash: string;
  /** Undefined where nobody knows: a date that is made up would be a lie in `last-modified`. */
  readonly lastModified?: Date;
}

/** Where the modules of a realm come from. */
export interface ModuleSource {
  /** The canonical path that a requested path stands for; undefined if there is no such module. */
  resolve(path: string): Promise<string | undefined>;
  /** Undefined if there is no such module (any more). */
  read(canonicalPath: string): Promise<SourceFile | undefined>;
  /** Canonical paths of all modules there are, sorted, each once. */
  list(): AsyncIterable<string>;
  /**
   * Something short that changes whenever the text may have changed, and is cheaper than reading it; undefined if there
   * is no such module.
   */
  stamp(canonicalPath: string): Promise<string | undefined>;
  /** A change of a module and its invalidation commit together: what the cache answers need not be compared with it. */
  readonly isTransactional: boolean;
}

/** What a name without its extension may stand for, in this order; equal everywhere. */
const EXTENSIONS = ['.ts', '.tsx', '.mts', '.js', '.jsx', '.mjs', '.gts', '.gjs'];
const executable = /[^/]\.(?:ts|tsx|mts|js|jsx|mjs|gts|gjs)$/;
const javaScript = /\.(?:js|jsx|mjs|gjs)$/;
const finalSlashes = /\/+$/;

/** True for a canonical path that is served. A declaration file (`.d.ts`) is, by its exact name, as an empty module. */
export const isModulePath = (path: string): boolean =>
  executable.test(path) && normalizePath('', path) !== null;

/**
 * The canonical paths that a requested path can stand for, best first: itself, with an extension, a JavaScript name
 * with another extension (`a.js` is written for `a.ts`), as a folder; with a final slash only as a folder. All of them
 * have the dependency key that an import of the requested path declares: what does not could change unnoticed.
 */
export function candidatesOf(path: string): string[] {
  const bare = path.replace(finalSlashes, '');
  if (bare === '' ? path !== '' : normalizePath('', bare) === null) return [];
  const candidates = bare === path && path !== '' ? filesOf(path) : [];
  const folder = bare === '' ? '' : `${bare}/`;
  candidates.push(...EXTENSIONS.map((extension) => `${folder}index${extension}`));
  const key = dependencyKeyOf(bare === '' ? 'index' : bare);
  return [...new Set(candidates)].filter((candidate) => dependencyKeyOf(candidate) === key);
}

function filesOf(path: string): string[] {
  const exact = isModulePath(path) ? [path] : [];
  const stem = javaScript.test(path) ? [path.replace(javaScript, '')] : [];
  return [...exact, ...[path, ...stem].flatMap((name) => EXTENSIONS.map((extension) => name + extension))];
}
