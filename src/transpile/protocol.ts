import type { MessagePort } from 'node:worker_threads';

/** What passes between the transpiler and its worker threads. */

export interface ModuleText {
  /** URL of the realm, ending in `/`. */
  readonly realm: string;
  /** Canonical path inside the realm; its extension selects the syntax. */
  readonly path: string;
  readonly source: string;
  /** What the source map calls the source: a URL, absolute or relative to the output's. The module's URL unless given. */
  readonly sourceName?: string;
}

export interface TranspileRequest extends ModuleText {
  /**
   * What stands in the output instead of a specifier that it imports, exports from, or passes to `import()` as a
   * literal; undefined leaves it as written. Relative results are relative to the module. It is called once for each
   * specifier that is left after TypeScript dropped its types, at the same time for all of a module, and not at all for
   * output in another module format (CommonJS, AMD, SystemJS). What it throws is what the call rejects with.
   *
   * A compiler thread waits for it, so it must not itself wait for the same transpiler. Nor is it part of the
   * `variant`: whoever stores the output has to add what tells two resolutions apart.
   */
  readonly resolve?: (specifier: string) => string | undefined | Promise<string | undefined>;
}

export interface TranspileResult {
  /** JavaScript; for an error JSON text, see `CompileFailure`. */
  body: string;
  headers: Record<string, string>;
  /**
   * Normalised dependency keys of what the output imports, in order of appearance, without the module's own. A
   * specifier that was replaced counts twice: as written, since its resolution may change, and as it is now. A module
   * whose URL can be spelled in several ways (escapes, a host that is not ASCII, a default port) has a key for each,
   * and so has the module itself for those that are not its own.
   */
  dependencyKeys: string[];
  /** The module does not compile. */
  isError: boolean;
}

/** Body of a result with `isError`. */
export interface CompileFailure {
  name: string;
  /** Without file name and code frame. */
  message: string;
  /** The canonical path. */
  file: string;
  /** From 1 on; null if the error names no place. */
  line: number | null;
  /** From 1 on, in UTF-16 code units; null if the error names no place. */
  column: number | null;
  /** The lines around the place, without colours. */
  codeFrame: string | null;
}

export interface Task extends ModuleText {
  /** A thread whose own fingerprint differs has another configuration, and must not compile. */
  readonly variant: string;
  /** The first element is set when nobody waits for the result any more. */
  readonly cancelled?: Int32Array;
  /** Where the caller takes an array of specifiers, and answers with a {@link Resolution}. */
  readonly resolver?: MessagePort;
}

/** What stands instead of specifiers; those that are missing stay as written. */
export type Resolution = ReadonlyMap<string, string>;

/** Errors lose their class on the way between threads, so misuse crosses as data. */
export interface Misuse {
  readonly message: string;
  readonly detail?: string;
  readonly hint?: string;
}

export type Outcome<T> = { readonly value: T } | { readonly misuse: Misuse };
