import { ModuleCacheError } from '../errors.js';
import { requireArtifactId } from '../keys.js';
import type { ModuleDefinition } from './definition/types.js';
import { definitionVariant } from './fingerprint.js';
import { requireSetup, type TranspilerOptions } from './options.js';
import { startPool } from './pool.js';
import type { ModuleText, TranspileRequest, TranspileResult } from './protocol.js';

export type {
  ExportDefinition,
  ImportDefinition,
  MemberDefinition,
  ModuleDefinition,
} from './definition/types.js';
export type { BabelOptions, TranspilerOptions } from './options.js';
export type { CompileFailure, ModuleText, TranspileRequest, TranspileResult } from './protocol.js';

/** Compiles modules with Babel in worker threads: a producer of artifacts of the kinds `transpile` and `definition`. */
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
   * string, or a `resolve` that is no function or returns something else than a string or undefined, MC103 after
   * `close`, MC107 if the configuration does not allow the module to be compiled, or has changed since the transpiler
   * was created; and whatever `resolve` throws, as it is.
   */
  transpile(request: TranspileRequest & { readonly signal?: AbortSignal }): Promise<TranspileResult>;
  /** Changes with {@link Transpiler.variant}, and with the format of {@link ModuleDefinition}. */
  readonly definitionVariant: string;
  /**
   * Reads what a module exports and imports from its source, types and comments included, with the syntax that the
   * configuration allows, and decorators. The body is the JSON of a {@link ModuleDefinition}; it depends on no other
   * module. A module that does not parse is a result with `isError`, as for `transpile`, and so are `signal` and errors.
   */
  define(request: ModuleText & { readonly signal?: AbortSignal }): Promise<TranspileResult>;
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
      async transpile({ signal, resolve, ...request }) {
        const module = requireModule(request);
        if (resolve !== undefined && typeof resolve !== 'function') {
          throw new ModuleCacheError('MC003', 'resolve is not a function', {
            detail: `${module.realm}${module.path}: ${typeof resolve}`,
            hint: 'Pass (specifier) => string | undefined, or a promise of it.',
          });
        }
        return pool.compile({ ...module, variant }, { signal, resolve });
      },
      definitionVariant: definitionVariant(variant),
      define: async ({ signal, ...request }) =>
        pool.define({ ...requireModule(request), variant }, { signal }),
      close: () => pool.close(),
    };
  } catch (error) {
    await pool.close();
    throw error;
  }
}

function requireModule({ source, sourceName, ...request }: ModuleText): ModuleText {
  const { realm, path } = requireArtifactId({ realm: request.realm, path: request.path });
  if (typeof source === 'string')
    return { realm, path, source, ...(sourceName === undefined ? {} : { sourceName }) };
  throw new ModuleCacheError('MC003', 'the source of a module is not a string', {
    detail: `${realm}${path}: ${typeof source}`,
    hint: 'Read the file as UTF-8 text.',
  });
}
