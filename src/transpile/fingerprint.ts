import { readFileSync, statSync } from 'node:fs';
import { dirname, isAbsolute, join, relative } from 'node:path';
import type { TransformOptions } from '@babel/core';
import type { Babel } from './babel.js';
import { moduleFolder, projectFolder } from './configuration.js';
import { DEFINITION_FORMAT } from './definition/describe.js';
import { type CodeIdentity, createCodeIdentity, sha256 } from './identity.js';
import type { Setup } from './options.js';

/** To be raised when the same Babel with the same options leads to another body, header or key. */
const OUTPUT_FORMAT = 1;

/** One name for each way in which a configuration tells modules apart by their extension. */
const samples = ['ts', 'tsx', 'mts', 'js', 'jsx', 'mjs'].map((extension) => `sample.${extension}`);

export interface Fingerprint {
  readonly variant: string;
  /** Configuration files that went in, with a stamp that changes when they do. */
  readonly stamps: ReadonlyMap<string, string>;
}

/**
 * Tells setups apart whose output may differ, and is equal wherever the same code runs with the same options.
 *
 * @throws whatever Babel throws for a configuration that it does not accept.
 */
export async function fingerprint(
  babel: Babel,
  babelFile: string,
  setup: Setup,
  options: TransformOptions,
): Promise<Fingerprint> {
  const code = createCodeIdentity();
  code.add(babelFile);
  const cwd = projectFolder(setup.babel);
  const stamps = new Map<string, string>();
  // Where the project lies does not matter, only what is found from there.
  const given = stable({ ...setup, babel: { ...setup.babel, cwd: undefined } }, cwd);
  const texts = [given];
  for (const sample of samples) {
    const filename = join(moduleFolder(setup.babel), sample);
    const partial = await babel.loadPartialConfigAsync({ ...options, filename });
    if (partial === null) continue;
    // Only this makes Babel build the plugins and check their options.
    await babel.loadOptionsAsync({ ...options, filename });
    for (const file of configFilesOf(partial)) stamps.set(file, stampOf(file));
    texts.push(sample, describe(partial.options, code, cwd));
  }
  const configuration: [text: string, folder: string][] = [[given, cwd]];
  for (const file of stamps.keys()) {
    code.add(file);
    configuration.push([readFileSync(file, 'utf8'), dirname(file)]);
  }
  for (const [text, folder] of configuration) addNamed(babel, text, folder, code);
  // What `targets: { node: 'current' }` leads to depends on this process.
  if (configuration.some(([text]) => /\bcurrent\b/.test(text))) texts.push(process.version);
  const all = JSON.stringify([OUTPUT_FORMAT, babel.version, texts, code.summary()]);
  return { variant: sha256(all).toString('base64url').slice(0, 32), stamps };
}

/** Definitions are read by the same parser; what they look like has a version of its own. */
export const definitionVariant = (variant: string): string =>
  sha256(JSON.stringify([DEFINITION_FORMAT, variant]))
    .toString('base64url')
    .slice(0, 32);

export const configFilesOf = (partial: object): Iterable<string> => (partial as { files: Set<string> }).files;

export function stampOf(file: string): string {
  const { mtimeMs, size } = statSync(file);
  return `${mtimeMs} ${size}`;
}

interface Item {
  value: unknown;
  options: unknown;
  name?: string;
  file?: { resolved: string };
}

/** What Babel made of options and configuration files for one module. */
function describe(options: TransformOptions, code: CodeIdentity, cwd: string): string {
  const { filename: _, cwd: _cwd, root: _root, plugins, presets, ...rest } = options;
  const items = [plugins, presets].map((list) =>
    ((list ?? []) as Item[]).map((item) => [
      item.file === undefined ? item.value : code.add(item.file.resolved),
      item.options,
      item.name,
    ]),
  );
  return stable([rest, items], cwd);
}

/**
 * Presets and plugins that a text names, also those that none of the samples gets (`overrides` with a test, `env`):
 * every literal in it that Babel finds is one.
 */
function addNamed(babel: Babel, text: string, folder: string, code: CodeIdentity): void {
  for (const [, , name] of new Set(text.matchAll(/(["'`])([\w@.][\w@./:-]*)\1/g))) {
    for (const resolve of [babel.resolvePlugin, babel.resolvePreset]) {
      try {
        const file = resolve(name as string, folder);
        if (file !== null) code.add(file);
      } catch {
        // Not a name.
      }
    }
  }
}

/** JSON with sorted keys; paths below `cwd` are relative to it. */
function stable(value: unknown, cwd: string): string {
  return JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === 'string' && isAbsolute(item)) {
      const path = relative(cwd, item);
      return path.startsWith('..') || isAbsolute(path) ? item : `./${path}`;
    }
    if (typeof item === 'function' || Object.prototype.toString.call(item) === '[object RegExp]')
      return String(item);
    if (item === null || typeof item !== 'object' || Array.isArray(item)) return item;
    return Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
