import { ModuleCacheError } from '../errors.js';

/**
 * Babel's options as far as they can cross into a worker thread: JSON, and regular expressions. Presets and plugins
 * are named by package or path, never passed as functions.
 *
 * Three defaults differ from Babel's own. `configFile` and `babelrc` are false unless given, so that what a process
 * compiles does not depend on the folder that it was started in; `configFile: true` searches as Babel does. And a
 * configuration that names no preset, plugin or configuration file gets `@babel/preset-typescript`.
 *
 * A module is compiled as if its file were at its canonical path below `root` (or `cwd`), whether or not it is there:
 * that is what `test`, `only` and `ignore` see.
 */
export interface BabelOptions {
  presets?: readonly unknown[] | null;
  plugins?: readonly unknown[] | null;
  overrides?: readonly object[];
  env?: object;
  extends?: string;
  /** A configuration file, or true to search `root` for one. Default false. */
  configFile?: string | boolean;
  /** Whether `.babelrc` files of the root folder apply. One in a folder below is refused. Default false. */
  babelrc?: boolean;
  babelrcRoots?: unknown;
  /** Where names of presets, plugins and `@babel/core` itself are looked up first. Default: the process's. */
  cwd?: string;
  root?: string;
  rootMode?: string;
  envName?: string;
  targets?: unknown;
  browserslistConfigFile?: string | boolean;
  browserslistEnv?: string;
  assumptions?: object;
  test?: unknown;
  include?: unknown;
  exclude?: unknown;
  only?: unknown;
  ignore?: unknown;
  sourceType?: string;
  parserOpts?: object | null;
  generatorOpts?: object | null;
  passPerPreset?: boolean;
  caller?: object;
  comments?: boolean;
  compact?: boolean | string;
  minified?: boolean;
  retainLines?: boolean;
  auxiliaryCommentBefore?: string | null;
  auxiliaryCommentAfter?: string | null;
  /** Default: a map inside the module is used, one in another file is not read. */
  inputSourceMap?: object | boolean | null;
  sourceRoot?: string | null;
}

export interface TranspilerOptions {
  /** Any Babel configuration; see {@link BabelOptions}. */
  babel?: BabelOptions;
  /** Default `inline`, with the source in it. */
  sourceMaps?: 'inline' | 'none';
  /** Worker threads at most. Default: one less than the processors, at least 1. */
  threads?: number;
  /** After so many ms without work all threads but one end. Default 60,000. */
  idleTimeoutMs?: number;
}

/** What a worker thread is started with. */
export interface Setup {
  readonly babel: BabelOptions;
  readonly sourceMaps: 'inline' | 'none';
}

/** The transpiler's own part of Babel's options. */
const ownOptions = ['filename', 'sourceFileName', 'sourceMaps', 'sourceMap', 'ast', 'code', 'highlightCode'];

/** @throws ModuleCacheError MC107 if an option has the wrong shape or cannot cross into a thread. */
export function requireSetup(options: TranspilerOptions): Setup {
  const { babel = {}, sourceMaps = 'inline', threads = 1, idleTimeoutMs = 0 } = options;
  if (sourceMaps !== 'inline' && sourceMaps !== 'none')
    misuse('sourceMaps', "'inline' or 'none'", sourceMaps);
  if (!Number.isSafeInteger(threads) || threads < 1) misuse('threads', 'a whole number from 1 on', threads);
  if (typeof idleTimeoutMs !== 'number' || !(idleTimeoutMs >= 0)) {
    misuse('idleTimeoutMs', 'a number of milliseconds', idleTimeoutMs);
  }
  if (!isPlainObject(babel)) misuse('babel', "an object of Babel's options", babel);
  const own = ownOptions.find((name) => Object.hasOwn(babel, name));
  if (own !== undefined) {
    throw new ModuleCacheError('MC107', 'a Babel option that the transpiler sets itself', {
      detail: `babel.${own}`,
      hint: "Leave it out; source maps are the transpiler's own option sourceMaps: 'inline' or 'none'.",
    });
  }
  requireCloneable(babel, 'babel', []);
  return { babel, sourceMaps };
}

function misuse(option: string, wanted: string, value: unknown): never {
  throw new ModuleCacheError('MC107', 'a transpiler option of the wrong shape', {
    detail: `${option}: ${String(value)}`,
    hint: `${option} is ${wanted}.`,
  });
}

function requireCloneable(value: unknown, where: string, above: readonly unknown[]): void {
  if (value === null || ['undefined', 'string', 'number', 'boolean'].includes(typeof value)) return;
  if (Object.prototype.toString.call(value) === '[object RegExp]') return;
  if (!above.includes(value)) {
    if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) {
        requireCloneable(item, `${where}[${index}]`, [...above, value]);
      }
      return;
    }
    if (isPlainObject(value)) {
      for (const [name, item] of Object.entries(value)) {
        requireCloneable(item, `${where}.${name}`, [...above, value]);
      }
      return;
    }
  }
  throw new ModuleCacheError('MC107', 'a Babel option that cannot cross into a worker thread', {
    detail: `${where}: ${typeof value}`,
    hint: 'Name presets and plugins by package name or path, e.g. plugins: ["./my-plugin.js"]; what needs code goes into a configuration file, named by configFile.',
  });
}

/** Also for objects of another realm, such as a vm context. */
function isPlainObject(value: unknown): value is object {
  if (Object.prototype.toString.call(value) !== '[object Object]') return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
