import type { TransformOptions } from '@babel/core';
import { ModuleCacheError } from '../errors.js';
import type { Babel } from './babel.js';
import { configFilesOf, type Fingerprint, stampOf } from './fingerprint.js';

/**
 * Options for one module; null if the configuration says that Babel ignores it.
 *
 * @throws ModuleCacheError MC107 if Babel does not accept them, or they are not what the fingerprint was made of.
 */
export async function loadConfig(
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

export function refuseConfiguration(error: unknown): never {
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
