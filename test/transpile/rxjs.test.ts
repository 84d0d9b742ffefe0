import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, posix } from 'node:path';
import { beforeAll, expect, test } from '@jest/globals';
import type { TranspileResult, Transpiler } from '../../src/transpile/index.js';
import { codeOf, open, realm } from './support/fixtures.js';

const sources = join(dirname(createRequire(import.meta.url).resolve('rxjs/package.json')), 'src');
const modules = readdirSync(sources, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => name.replaceAll('\\', '/'))
  .sort();

const all = async (transpiler: Transpiler): Promise<Map<string, TranspileResult>> =>
  new Map(
    await Promise.all(
      modules.map(async (path) => {
        const source = readFileSync(join(sources, path), 'utf8');
        return [path, await transpiler.transpile({ realm, path, source })] as const;
      }),
    ),
  );

let results: Map<string, TranspileResult>;
beforeAll(async () => {
  results = await all(await open({ threads: 2 }));
});

/** Imports in the text of the output, resolved as paths: another way than through the syntax tree and URLs. */
function importsOf(code: string, path: string): string[] {
  const found = code.matchAll(/^(?:import|export)\b(?:[^'";]*?\bfrom)?\s*['"](\.[^'"]*)['"]/gm);
  const keys = [...found].map(([, specifier]) => {
    const target = posix.join(posix.dirname(path), specifier as string).replace(/\/$/, '');
    return target.replace(/\.(?:ts|js)$/, '').replace(/(?<=.)\/index$/, '');
  });
  return [...new Set(keys)];
}

test('rxjs: all 251 modules compile', () => {
  expect(modules).toHaveLength(251);
  const failed = [...results].filter(([, { isError }]) => isError);
  expect(failed).toEqual([]);
});

test('rxjs: no importer is missed, and none is invalidated without need', () => {
  let edges = 0;
  for (const [path, result] of results) {
    const expected = importsOf(codeOf(result), path);
    expect({ path, keys: result.dependencyKeys }).toEqual({ path, keys: expected });
    edges += expected.length;
  }
  expect(edges).toBeGreaterThan(500);
});

test('rxjs: every key is that of a module which exists', () => {
  for (const [path, { dependencyKeys }] of results) {
    for (const key of dependencyKeys) {
      const exists = ['.ts', '/index.ts'].some((ending) => existsSync(join(sources, key + ending)));
      expect({ path, key, exists }).toEqual({ path, key, exists: true });
    }
  }
});

test('rxjs: types alone are no dependency', () => {
  // internal/types.ts holds nothing but types, which many modules import without saying so.
  const importers = [...results].filter(([, { dependencyKeys }]) =>
    dependencyKeys.includes('internal/types'),
  );
  expect(importers.map(([path]) => path)).toEqual(['index.ts']);
});

test('rxjs: compiled to CommonJS, the dependencies are the same', async () => {
  const presets = [
    ['@babel/preset-env', { modules: 'commonjs' }],
    ['@babel/preset-typescript', { onlyRemoveTypeImports: false }],
  ];
  const commonjs = await all(await open({ threads: 2, babel: { presets, targets: { node: '20' } } }));
  for (const [path, { dependencyKeys, body }] of commonjs) {
    expect(body).not.toMatch(/^(?:import|export) /m);
    expect({ path, dependencyKeys }).toEqual({ path, dependencyKeys: results.get(path)?.dependencyKeys });
  }
});
