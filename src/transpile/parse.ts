import type { TransformOptions, types } from '@babel/core';
import type { Babel } from './babel.js';
import { withLastPlugin } from './pass.js';
import type { ModuleText } from './protocol.js';

interface ParserOptions {
  plugins: (string | [name: string, options: object])[];
  createParenthesizedExpressions?: boolean;
}

/** There is nothing in it to run. */
export const isDeclarationFile = (path: string): boolean => /\.d\.[cm]?ts$/.test(path);

/**
 * Parses with what the configuration says about syntax. If it knows no decorators, those of the language are read, or
 * else the older ones of TypeScript, which parameters and `declare` fields can have as well.
 */
export async function parseSource(
  babel: Babel,
  { path, source }: ModuleText,
  config: TransformOptions,
): Promise<types.File> {
  const parse = async (decorators: string): Promise<types.File> => {
    const plugin = syntaxPlugin(decorators, isDeclarationFile(path));
    const file = await babel.parseAsync(source, withLastPlugin(config, plugin));
    if (file === null) throw new Error('Babel returned no syntax tree');
    return file;
  };
  return parse('decorators').catch((error: unknown) =>
    source.includes('@')
      ? parse('decorators-legacy').catch(() => {
          throw error;
        })
      : Promise.reject(error),
  );
}

const syntaxPlugin = (decorators: string, declarations: boolean): object => ({
  manipulateOptions(_options: unknown, parser: ParserOptions) {
    const names = parser.plugins.map((item) => (typeof item === 'string' ? item : item[0]));
    if (!names.some((name) => name.startsWith('decorators'))) parser.plugins.push(decorators);
    if (!names.includes('decoratorAutoAccessors')) parser.plugins.push('decoratorAutoAccessors');
    // Texts of types and values are cut out of the source, with the parentheses that they need.
    parser.createParenthesizedExpressions = true;
    // The first of a name counts.
    if (declarations) parser.plugins.unshift(['typescript', { dts: true }]);
  },
});
