import { join } from 'node:path';
import type { TransformOptions } from '@babel/core';
import { loadBabel } from './babel.js';
import { moduleFolder, projectFolder, sharedOptions } from './configuration.js';
import { describeModule } from './definition/describe.js';
import { failureResult } from './failure.js';
import { type Fingerprint, fingerprint } from './fingerprint.js';
import { loadConfig, refuseConfiguration } from './load.js';
import type { Setup } from './options.js';
import { asItIs, type Resolve, transform } from './output.js';
import { isDeclarationFile, parseSource } from './parse.js';
import type { ModuleText, TranspileResult } from './protocol.js';
import { Cancelled } from './resolver.js';
import { dependencyKeysOf, ownKeysOf } from './specifiers.js';
import { moduleUrl } from './spellings.js';

/**
 * One loaded and checked Babel.
 *
 * Both throw ModuleCacheError MC107 if the configuration, and not the module, is at fault.
 */
export interface Compiler extends Fingerprint {
  /** @throws Cancelled from `resolve`. */
  compile(request: ModuleText, resolve?: Resolve): Promise<TranspileResult>;
  define(request: ModuleText): Promise<TranspileResult>;
}

/** @throws ModuleCacheError MC107 if Babel is missing or does not accept the configuration. */
export async function createCompiler(setup: Setup): Promise<Compiler> {
  const { babel, file } = await loadBabel(projectFolder(setup.babel));
  const options = sharedOptions(babel, setup);
  const print = await fingerprint(babel, file, setup, options).catch(refuseConfiguration);
  const folder = moduleFolder(setup.babel);

  /** The value of `work`, or the failure of a module that does not compile. */
  async function attempt<T>(
    { realm, path, sourceName }: ModuleText,
    work: (config: TransformOptions | null, filename: string) => Promise<T>,
  ): Promise<{ value: T } | { failure: TranspileResult }> {
    const filename = join(folder, path);
    const sourceFileName = sourceName ?? moduleUrl(realm, path);
    const config = await loadConfig(babel, { ...options, filename, sourceFileName }, print);
    try {
      return { value: await work(config, filename) };
    } catch (error) {
      if (isSystemError(error) || error instanceof Cancelled) throw error;
      // Plugins are built while transforming; whether they can be built is not the module's doing.
      if (config !== null) await babel.loadOptionsAsync(config).catch(refuseConfiguration);
      return { failure: failureResult(error, path, filename) };
    }
  }

  async function compile(request: ModuleText, resolve: Resolve | undefined): Promise<TranspileResult> {
    const { realm, path, source } = request;
    if (isDeclarationFile(path)) return script('export {};\n', []);
    const output = await attempt(request, (config) =>
      config === null ? asItIs(babel, source, resolve) : transform(babel, source, config, resolve),
    );
    if ('failure' in output) return output.failure;
    const { code, specifiers } = output.value;
    return script(code, dependencyKeysOf(realm, path, specifiers));
  }

  async function define(request: ModuleText): Promise<TranspileResult> {
    const parsed = await attempt(request, (config, filename) =>
      parseSource(babel, request, config ?? { filename, ...noConfiguration }),
    );
    return 'failure' in parsed ? parsed.failure : definition(describeModule(parsed.value, request));
  }

  return {
    ...print,
    compile: async (request, resolve) => underEveryName(request, await compile(request, resolve)),
    define: async (request) => underEveryName(request, await define(request)),
  };
}

/** Whoever invalidates a module by another spelling of its URL means it as well, and not only its importers. */
function underEveryName({ realm, path }: ModuleText, result: TranspileResult): TranspileResult {
  const keys = new Set([...result.dependencyKeys, ...ownKeysOf(realm, path)]);
  return { ...result, dependencyKeys: [...keys] };
}

/** What the configuration ignores is read as it is served. */
const noConfiguration: TransformOptions = { configFile: false, babelrc: false, sourceType: 'unambiguous' };

const script = (body: string, dependencyKeys: string[]): TranspileResult => ({
  body,
  headers: { 'content-type': 'text/javascript; charset=utf-8' },
  dependencyKeys,
  isError: false,
});

/** It says nothing that another module could change. */
const definition = (value: object): TranspileResult => ({
  body: JSON.stringify(value),
  headers: { 'content-type': 'application/json; charset=utf-8' },
  dependencyKeys: [],
  isError: false,
});

const isSystemError = (error: unknown): boolean => error instanceof Error && 'syscall' in error;
