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
import { dependencyKeysOf, moduleUrl } from './specifiers.js';

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

  return {
    ...print,
    async compile(request, resolve) {
      const { realm, path, source } = request;
      if (isDeclarationFile(path)) return script('export {};\n', []);
      const output = await attempt(request, (config) =>
        config === null ? asItIs(babel, source, resolve) : transform(babel, source, config, resolve),
      );
      if ('failure' in output) return output.failure;
      const { code, specifiers } = output.value;
      return script(code, dependencyKeysOf(realm, path, specifiers));
    },
    async define(request) {
      const parsed = await attempt(request, (config, filename) =>
        parseSource(babel, request, config ?? { filename, ...noConfiguration }),
      );
      return 'failure' in parsed ? parsed.failure : definition(describeModule(parsed.value, request));
    },
  };
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
