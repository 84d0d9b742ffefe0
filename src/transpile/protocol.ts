/** What passes between the transpiler and its worker threads. */

export interface TranspileRequest {
  /** URL of the realm, ending in `/`. */
  readonly realm: string;
  /** Canonical path inside the realm; its extension selects the syntax. */
  readonly path: string;
  readonly source: string;
}

export interface TranspileResult {
  /** JavaScript; for an error JSON text, see `CompileFailure`. */
  body: string;
  headers: Record<string, string>;
  /** Normalised dependency keys of what the output imports, in order of appearance, without the module's own. */
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

export interface Task extends TranspileRequest {
  /** A thread whose own fingerprint differs has another configuration, and must not compile. */
  readonly variant: string;
  /** The first element is set when nobody waits for the result any more. */
  readonly cancelled?: Int32Array;
}

/** Errors lose their class on the way between threads, so misuse crosses as data. */
export interface Misuse {
  readonly message: string;
  readonly detail?: string;
  readonly hint?: string;
}

export type Outcome<T> = { readonly value: T } | { readonly misuse: Misuse };
