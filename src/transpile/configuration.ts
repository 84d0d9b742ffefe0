import { resolve } from 'node:path';
import type { TransformOptions } from '@babel/core';
import { ModuleCacheError } from '../errors.js';
import { type Babel, resolveFromProject } from './babel.js';
import type { BabelOptions, Setup } from './options.js';

export const projectFolder = (options: BabelOptions): string => resolve(options.cwd ?? '.');
export const moduleFolder = (options: BabelOptions): string =>
  resolve(projectFolder(options), options.root ?? '.');

/** The options that all modules share, made once: Babel remembers what it resolved for an array by its identity. */
export function sharedOptions(babel: Babel, setup: Setup): TransformOptions {
  const given = setup.babel;
  const options: BabelOptions = { configFile: false, babelrc: false, ...given };
  if (!namesTransforms(given)) Object.assign(options, defaultTransforms(babel, projectFolder(given)));
  return {
    ...(options as TransformOptions),
    cwd: projectFolder(given),
    ast: true,
    code: true,
    sourceMaps: setup.sourceMaps === 'inline' ? 'inline' : false,
    // A code frame goes into a response, not to a terminal.
    highlightCode: false,
  };
}

function namesTransforms(options: BabelOptions): boolean {
  const { presets, plugins, overrides, env, extends: base, configFile, babelrc } = options;
  return (
    [presets, plugins, overrides, env, base].some((part) => part !== undefined) || !!configFile || !!babelrc
  );
}

/** TypeScript as tsc reads it; JSX is parsed, and left as it is. */
function defaultTransforms(babel: Babel, cwd: string): BabelOptions {
  const preset = resolveFromProject('@babel/preset-typescript', cwd);
  if (preset === null) {
    throw new ModuleCacheError('MC107', '@babel/preset-typescript is not installed', {
      detail: `looked up from ${cwd}`,
      hint: `npm install @babel/preset-typescript@${Number.parseInt(babel.version, 10)}, or give the option babel: { presets: [...] }`,
    });
  }
  // Babel 8 always does what allowDeclareFields asks for, and refuses it; unused imports it keeps unless told.
  const options = { onlyRemoveTypeImports: false };
  if (babel.version.startsWith('7.')) Object.assign(options, { allowDeclareFields: true });
  return {
    presets: [[preset, options]],
    overrides: [{ test: /\.[jt]sx$/, parserOpts: { plugins: ['jsx'] } }],
  };
}
