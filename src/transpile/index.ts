import { ModuleCacheError } from '../errors.js';
import { requireArtifactId } from '../keys.js';
import { requireSetup, type TranspilerOptions } from './options.js';
import { startPool } from './pool.js';
import type { TranspileRequest, TranspileResult } from './protocol.js';

export type { BabelOptions, TranspilerOptions } from './options.js';
export type { CompileFailure, TranspileRequest, TranspileResult } from './protocol.js';

/** Compiles modules with Babel in worker threads: a producer of artifacts of the kind `transpile`. */
export interface Transpiler {
  /**
   * Fingerprint of everything that the output depends on besides the module: Babel, presets, plugins and their
   * dependencies, options, configuration files. Equal in every process with the same setup. Base64url, 32 characters.
   */
  readonly variant: string;
  /**
   * A module that does not compile is a result with `isError`, whose body is the JSON of a {@link CompileFailure}.
   *
   * Aborting rejects with the signal's reason at once; a thread that goes on for more than 250 ms is ended.
   *
   * @throws ModuleCacheError MC001 for a realm or path that cannot name a module, MC003 for a source that is no
   * string, MC103 after `close`, MC107 if the configuration does not allow the module to be compiled, or has changed
   * since the transpiler was created.
   */
  transpile(request: TranspileRequest & { readonly signal?: AbortSignal }): Promise<TranspileResult>;
  /** Ends all threads; calls that are pending reject with MC103. Idle threads alone do not keep a process alive. */
  close(): Promise<void>;
}

/**
 * Loads Babel (7.26 or later, or 8) in a first thread and checks the whole configuration.
 *
 * @throws ModuleCacheError MC107 if `@babel/core`, a preset or a plugin is missing, or an option is not accepted.
 */
export async function createTranspiler(options: TranspilerOptions = {}): Promise<Transpiler> {
  const pool = startPool(requireSetup(options), options);
  try {
    const variant = await pool.prepare();
    return {
      variant,
      async transpile({ realm, path, source, signal }) {
        const id = requireArtifactId({ realm, path });
        if (typeof source !== 'string') {
          throw new ModuleCacheError('MC003', 'the source of a module is not a string', {
            detail: `${id.realm}${id.path}: ${typeof source}`,
            hint: 'Read the file as UTF-8 text.',
          });
        }
        return pool.compile({ realm: id.realm, path: id.path, source, variant }, signal);
      },
      close: () => pool.close(),
    };
  } catch (error) {
    await pool.close();
    throw error;
  }
}
