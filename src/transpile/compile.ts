import { join } from 'node:path';
import type { TransformOptions } from '@babel/core';
import { ModuleCacheError } from '../errors.js';
import { type Babel, loadBabel } from './babel.js';
import { moduleFolder, projectFolder, sharedOptions } from './configuration.js';
import { failureResult } from './failure.js';
import { configFilesOf, type Fingerprint, fingerprint, stampOf } from './fingerprint.js';
import { createImportCollector, type ImportCollector } from './imports.js';
import type { Setup } from './options.js';
import type { TranspileRequest, TranspileResult } from './protocol.js';
import { dependencyKeysOf, moduleUrl } from './specifiers.js';

/** One loaded and checked Babel. */
export interface Compiler extends Fingerprint {
  /** @throws ModuleCacheError MC107 if the configuration, and not the module, is at fault. */
  compile(request: TranspileRequest): Promise<TranspileResult>;
}

/** @throws ModuleCacheError MC107 if Babel is missing or does not accept the configuration. */
export async function createCompiler(setup: Setup): Promise<Compiler> {
  const { babel, file } = await loadBabel(projectFolder(setup.babel));
  const options = sharedOptions(babel, setup);
  const print = await fingerprint(babel, file, setup, options).catch(refuseConfiguration);
  const folder = moduleFolder(setup.babel);
  return {
    ...print,
    async compile({ realm, path, source }) {
      if (/\.d\.[cm]?ts$/.test(path)) return script('export {};\n', []);
      const filename = join(folder, path);
      const url = moduleUrl(realm, path);
      const config = await loadConfig(babel, { ...options, filename, sourceFileName: url }, print);
      const collector = createImportCollector(babel);
      try {
        const { code, imports } = await transform(babel, source, config, collector);
        return script(code, dependencyKeysOf(realm, path, imports));
      } catch (error) {
        if (isSystemError(error)) throw error;
        // Plugins are built while transforming; whether they can be built is not the module's doing.
        if (config !== null) await babel.loadOptionsAsync(config).catch(refuseConfiguration);
        return failureResult(error, path, filename);
      }
    },
  };
}

const script = (body: string, dependencyKeys: string[]): TranspileResult => ({
  body,
  headers: { 'content-type': 'text/javascript; charset=utf-8' },
  dependencyKeys,
  isError: false,
});

async function transform(
  babel: Babel,
  source: string,
  config: TransformOptions | null,
  collector: ImportCollector,
): Promise<{ code: string; imports: string[] }> {
  if (config === null) return { code: source, imports: await importsAsTheyAre(babel, source, collector) };
  const output = await babel.transformAsync(source, {
    ...config,
    // By default Babel gives up on layout above 500 KB and says so on the console.
    compact: config.compact ?? false,
    inputSourceMap: (config.inputSourceMap ?? hasInlineMap(source)) as never,
    wrapPluginVisitorMethod: collector.wrapPluginVisitorMethod as never,
  });
  if (!output?.ast) throw new Error('Babel returned no output');
  return { code: output.code ?? '', imports: collector.specifiers(output.ast) };
}

/** A file that the configuration tells Babel to ignore is served as it is. */
async function importsAsTheyAre(babel: Babel, source: string, collector: ImportCollector): Promise<string[]> {
  try {
    const ast = await babel.parseAsync(source, {
      configFile: false,
      babelrc: false,
      sourceType: 'unambiguous',
    });
    return ast === null ? [] : collector.specifiers(ast);
  } catch {
    return [];
  }
}

/** Options for one module; null if the configuration says that Babel ignores it. */
async function loadConfig(
  babel: Babel,
  options: TransformOptions,
  print: Fingerprint,
): Promise<TransformOptions | null> {
  const partial = await babel.loadPartialConfigAsync(options).catch(refuseConfiguration);
  if (partial === null) return null;
  for (const file of configFilesOf(partial)) {
    const stamp = print.stamps.get(file);
    if (stamp !== undefined && stamp === stampOf(file)) continue;
    throw new ModuleCacheError(
      'MC107',
      stamp === undefined
        ? 'a configuration file applies to some folders only'
        : 'a configuration file changed after the transpiler was created',
      {
        detail: file,
        hint:
          stamp === undefined
            ? 'The variant cannot tell folders apart: put it into overrides of the root configuration.'
            : 'Create a new transpiler, or restart the process: its output would be stored under the variant of the old configuration.',
      },
    );
  }
  return partial.options;
}

/** A map in another file is not part of what the module was compiled from. */
const hasInlineMap = (source: string): boolean =>
  /[#@]\s*sourceMappingURL=data:/.test(source) && !/[#@]\s*sourceMappingURL=(?!data:)/.test(source);

const isSystemError = (error: unknown): boolean => error instanceof Error && 'syscall' in error;

function refuseConfiguration(error: unknown): never {
  if (error instanceof ModuleCacheError) throw error;
  const { message, code } = error as Error & { code?: string };
  const missing = /MODULE_NOT_FOUND$/.test(code ?? '') || message.startsWith('Could not resolve');
  throw new ModuleCacheError('MC107', 'Babel does not accept the configuration', {
    detail: message.replace(/\nRequire stack:[\s\S]*/, ''),
    hint: missing
      ? 'Check the name and install what is missing; names are looked up from babel.cwd.'
      : 'See the option babel of createTranspiler, and the configuration files that it names.',
    cause: error,
  });
}
