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
  /** Canonical paths of all modules there are, in the order of their code units. */
  list(): AsyncIterable<string>;
  /**
   * Something short that changes whenever the text may have changed, and is cheaper than reading it; undefined if there
   * is no such module.
   */
  stamp(canonicalPath: string): Promise<string | undefined>;
  /** A change of a module and its invalidation commit together: what the cache answers need not be compared with it. */
  readonly isTransactional: boolean;
}

/** What an alias may stand for, in this order; equal everywhere. */
const EXTENSIONS = ['.ts', '.tsx', '.mts', '.js', '.jsx', '.mjs', '.gts', '.gjs'];

export const isModulePath = (path: string): boolean =>
  EXTENSIONS.some((extension) => path.endsWith(extension));

/**
 * The canonical paths that a requested path can stand for, best first: itself, with an extension, with another
 * extension (`a.js` is written for `a.ts`), as a folder. All of them have one dependency key.
 */
export function candidatesOf(path: string): string[] {
  const exact = isModulePath(path) ? [path] : [];
  const folder = path === '' ? '' : `${path}/`;
  const extended = path === '' ? [] : EXTENSIONS.map((extension) => path + extension);
  const swapped = exact
    .map((name) => name.replace(/\.\w+$/, ''))
    .flatMap((bare) => EXTENSIONS.map((e) => bare + e));
  const indexes = EXTENSIONS.map((extension) => `${folder}index${extension}`);
  return [...new Set([...exact, ...extended, ...swapped, ...indexes])];
}
