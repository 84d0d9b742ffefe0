import { join } from 'node:path';
import type { TransformOptions } from '@babel/core';
import { ModuleCacheError } from '../errors.js';
import { type Babel, loadBabel } from './babel.js';
import { moduleFolder, projectFolder, sharedOptions } from './configuration.js';
import { failureResult } from './failure.js';
import { configFilesOf, type Fingerprint, fingerprint, stampOf } from './fingerprint.js';
import { createImportCollector, type NativeImport } from './imports.js';
import type { Setup } from './options.js';
import type { ModuleSource, Resolution, TranspileResult } from './protocol.js';
import { Cancelled } from './resolver.js';
import { rewriteNodes, rewriteText, withLastPass } from './rewrite.js';
import { dependencyKeysOf, moduleUrl } from './specifiers.js';

/** Asks what stands instead of the specifiers of the output. */
export type Resolve = (specifiers: string[]) => Promise<Resolution>;

/** One loaded and checked Babel. */
export interface Compiler extends Fingerprint {
  /** @throws ModuleCacheError MC107 if the configuration, and not the module, is at fault; Cancelled from `resolve`. */
  compile(request: ModuleSource, resolve?: Resolve): Promise<TranspileResult>;
}

interface Output {
  readonly code: string;
  /** As written, each followed by what it was replaced with. */
  readonly specifiers: string[];
}

/** @throws ModuleCacheError MC107 if Babel is missing or does not accept the configuration. */
export async function createCompiler(setup: Setup): Promise<Compiler> {
  const { babel, file } = await loadBabel(projectFolder(setup.babel));
  const options = sharedOptions(babel, setup);
  const print = await fingerprint(babel, file, setup, options).catch(refuseConfiguration);
  const folder = moduleFolder(setup.babel);
  return {
    ...print,
    async compile({ realm, path, source }, resolve) {
      if (/\.d\.[cm]?ts$/.test(path)) return script('export {};\n', []);
      const filename = join(folder, path);
      const url = moduleUrl(realm, path);
      const config = await loadConfig(babel, { ...options, filename, sourceFileName: url }, print);
      try {
        const { code, specifiers } =
          config === null
            ? await asItIs(babel, source, resolve)
            : await transform(babel, source, config, resolve);
        return script(code, dependencyKeysOf(realm, path, specifiers));
      } catch (error) {
        if (isSystemError(error) || error instanceof Cancelled) throw error;
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
  config: TransformOptions,
  resolve: Resolve | undefined,
): Promise<Output> {
  const collector = createImportCollector(babel);
  const options = {
    ...config,
    // By default Babel gives up on layout above 500 KB and says so on the console.
    compact: config.compact ?? false,
    inputSourceMap: (config.inputSourceMap ?? hasInlineMap(source)) as never,
    wrapPluginVisitorMethod: collector.wrapPluginVisitorMethod as never,
  };
  if (resolve === undefined) {
    const output = await babel.transformAsync(source, options);
    if (!output?.ast) throw new Error('Babel returned no output');
    return { code: output.code ?? '', specifiers: collector.specifiers(output.ast) };
  }
  let specifiers: string[] = [];
  const rewriting = withLastPass(options, async (ast) => {
    const imports = collector.nativeImports(ast);
    specifiers = collector.specifiers(ast);
    const resolution = await resolveImports(imports, resolve);
    rewriteNodes(imports, resolution);
    specifiers = withReplacements(specifiers, resolution);
  });
  const output = await babel.transformAsync(source, rewriting);
  return { code: output?.code ?? '', specifiers };
}

/** A file that the configuration tells Babel to ignore is served as it is, but for its specifiers. */
async function asItIs(babel: Babel, source: string, resolve: Resolve | undefined): Promise<Output> {
  const collector = createImportCollector(babel);
  const ast = await babel
    .parseAsync(source, { configFile: false, babelrc: false, sourceType: 'unambiguous' })
    .catch(() => null);
  if (ast === null) return { code: source, specifiers: [] };
  const specifiers = collector.specifiers(ast);
  if (resolve === undefined) return { code: source, specifiers };
  const imports = collector.nativeImports(ast);
  const resolution = await resolveImports(imports, resolve);
  return {
    code: rewriteText(source, imports, resolution),
    specifiers: withReplacements(specifiers, resolution),
  };
}

async function resolveImports(imports: readonly NativeImport[], resolve: Resolve): Promise<Resolution> {
  const specifiers = new Set(imports.map(({ specifier }) => specifier));
  return specifiers.size === 0 ? new Map() : resolve([...specifiers]);
}

const withReplacements = (specifiers: readonly string[], resolution: Resolution): string[] =>
  specifiers.flatMap((specifier) => [specifier, resolution.get(specifier) ?? specifier]);

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
