import type { TransformOptions } from '@babel/core';
import type { Babel } from './babel.js';
import { createImportCollector, type NativeImport } from './imports.js';
import { withLastPlugin } from './pass.js';
import type { Resolution } from './protocol.js';
import { rewriteNodes, rewriteText, rewritingPlugin } from './rewrite.js';

/** Asks what stands instead of the specifiers of the output. */
export type Resolve = (specifiers: string[]) => Promise<Resolution>;

export interface Output {
  readonly code: string;
  /** As written, each followed by what it was replaced with. */
  readonly specifiers: string[];
}

export async function transform(
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
  const plugin = rewritingPlugin(async (ast) => {
    const imports = collector.nativeImports(ast);
    const written = collector.specifiers(ast);
    const resolution = await resolveImports(imports, resolve);
    rewriteNodes(imports, resolution);
    specifiers = withReplacements(written, resolution);
  });
  const output = await babel.transformAsync(source, withLastPlugin(options, plugin));
  return { code: output?.code ?? '', specifiers };
}

/** A file that the configuration tells Babel to ignore is served as it is, but for its specifiers. */
export async function asItIs(babel: Babel, source: string, resolve: Resolve | undefined): Promise<Output> {
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

/** A map in another file is not part of what the module was compiled from. */
const hasInlineMap = (source: string): boolean =>
  /[#@]\s*sourceMappingURL=data:/.test(source) && !/[#@]\s*sourceMappingURL=(?!data:)/.test(source);
