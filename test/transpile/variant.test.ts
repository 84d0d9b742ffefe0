import { join, relative } from 'node:path';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createTranspiler, type TranspilerOptions } from '../../src/transpile/index.js';
import { folder, inProcess, project } from './support/fixtures.js';

async function variantOf(options: TranspilerOptions): Promise<string> {
  const transpiler = await createTranspiler({ ...options, babel: { cwd: project, ...options.babel } });
  await transpiler.close();
  return transpiler.variant;
}

/** The variant in another process, started elsewhere. */
const variantElsewhere = (options: TranspilerOptions, flags: string[] = []): string =>
  inProcess('process.stdout.write((await createTranspiler(options)).variant);', options, { flags });

const identity = 'module.exports = () => ({ visitor: {} });';
const manifest = (name: string, version: string, dependencies = {}) =>
  JSON.stringify({ name, version, dependencies });
const projectFiles = {
  'local.cjs': `const help = require('./lib/help.cjs');\nmodule.exports = () => ({ visitor: help });`,
  'lib/help.cjs': "require('tool'); module.exports = {};",
  'other.cjs': identity,
  'babel.config.json': '{ "comments": true }',
  'node_modules/tool/package.json': manifest('tool', '1.0.0'),
  'node_modules/tool/index.js': '',
  'node_modules/babel-plugin-kept/package.json': manifest('babel-plugin-kept', '1.0.0', { engine: '*' }),
  'node_modules/babel-plugin-kept/index.js': identity,
  'node_modules/engine/package.json': manifest('engine', '1.0.0'),
  'node_modules/engine/index.js': '',
};
const options = (cwd: string): TranspilerOptions => ({
  babel: {
    cwd,
    configFile: true,
    presets: [['@babel/preset-typescript', { optimizeConstEnums: false, allowNamespaces: true }]],
    plugins: ['./local.cjs'],
    overrides: [{ test: './never', plugins: ['kept'] }],
    targets: { chrome: '120' },
  },
});

test('every process of a fleet finds what another one compiled', async () => {
  const here = folder(projectFiles);
  const variant = await variantOf(options(here));
  expect(variant).toMatch(/^[\w-]{32}$/);
  expect(variantElsewhere(options(here))).toBe(variant);
});

test('a deployment into another folder starts with a warm cache', async () => {
  const [release1, release2] = [folder(projectFiles), folder(projectFiles)];
  const absolute = (cwd: string): TranspilerOptions => ({
    babel: { cwd, plugins: [join(cwd, 'local.cjs')] },
  });
  expect(await variantOf(options(release2))).toBe(await variantOf(options(release1)));
  expect(await variantOf(absolute(release2))).toBe(await variantOf(absolute(release1)));
  expect(await variantOf(options(relative(process.cwd(), release2)))).toBe(
    await variantOf(options(release1)),
  );
});

test('threads, time-outs and the order of options do not empty the cache', async () => {
  const variant = await variantOf({
    babel: { comments: false, compact: true, targets: { node: '20', chrome: '99' } },
  });
  const babel = { targets: { chrome: '99', node: '20' }, compact: true, comments: false };
  expect(await variantOf({ babel, threads: 2, idleTimeoutMs: 5, sourceMaps: 'inline' })).toBe(variant);
});

test.each<[string, Record<string, string>]>([
  ['a local plugin', { 'local.cjs': `${projectFiles['local.cjs']} // changed` }],
  [
    'a file that a local plugin requires',
    { 'lib/help.cjs': "require('tool'); module.exports = { Program() {} };" },
  ],
  [
    'the version of a package that a local plugin requires',
    { 'node_modules/tool/package.json': manifest('tool', '1.0.1') },
  ],
  ['the configuration file', { 'babel.config.json': '{ "comments": false }' }],
  [
    'the version of a plugin that few modules get',
    {
      'node_modules/babel-plugin-kept/package.json': manifest('babel-plugin-kept', '1.0.1', { engine: '*' }),
    },
  ],
  [
    'the version of what a plugin depends on',
    { 'node_modules/engine/package.json': manifest('engine', '2.0.0') },
  ],
])('a rolling deploy that changes %s serves no old output', async (_what, files) => {
  const before = folder(projectFiles);
  const after = folder({ ...projectFiles, ...files });
  expect(await variantOf(options(after))).not.toBe(await variantOf(options(before)));
});

test('a rolling deploy that changes an option serves no old output', async () => {
  const cwd = folder(projectFiles);
  const { babel } = options(cwd);
  const changes: TranspilerOptions[] = [
    {},
    { sourceMaps: 'none' },
    { babel: { envName: 'elsewhere' } },
    { babel: { targets: { chrome: '121' } } },
    { babel: { assumptions: { setPublicClassFields: true } } },
    { babel: { presets: ['@babel/preset-typescript'] } },
    { babel: { plugins: ['./other.cjs'] } },
    { babel: { plugins: ['./local.cjs', './other.cjs'] } },
    { babel: { plugins: ['./other.cjs', './local.cjs'] } },
    { babel: { plugins: [['./local.cjs', { some: 'option' }]] } },
    { babel: { overrides: [{ test: './never', plugins: ['./other.cjs'] }] } },
    { babel: { overrides: [{ test: /never/, plugins: ['./other.cjs'] }] } },
    { babel: { overrides: [{ test: /ever/, plugins: ['./other.cjs'] }] } },
    { babel: { configFile: false } },
    { babel: { parserOpts: { plugins: ['decorators'] } } },
  ];
  const variants = new Set<string>();
  for (const change of changes) {
    variants.add(await variantOf({ ...change, babel: { ...babel, ...change.babel } }));
  }
  expect(variants.size).toBe(changes.length);
});

test('two sets of plugin options share output exactly if they are equal', async () => {
  const cwd = folder({ 'other.cjs': identity });
  const json = fc.dictionary(fc.string({ maxLength: 3 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 });
  const variantWith = (value: unknown) => variantOf({ babel: { cwd, plugins: [['./other.cjs', value]] } });
  const reversed = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(reversed);
    if (value === null || typeof value !== 'object') return value;
    return Object.fromEntries(
      Object.entries(value)
        .reverse()
        .map(([key, item]) => [key, reversed(item)]),
    );
  };
  await fc.assert(
    fc.asyncProperty(json, json, async (one, two) => {
      const [first, again, second] = await Promise.all([
        variantWith(one),
        variantWith(reversed(one)),
        variantWith(two),
      ]);
      expect(again).toBe(first);
      expect(second === first).toBe(JSON.stringify(sorted(one)) === JSON.stringify(sorted(two)));
    }),
    { numRuns: 8 },
  );
});

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, item]) => [key, sorted(item)]);
}

test('a configuration written in code counts with what it imports', async () => {
  const variantWith = (version: string) => {
    const cwd = folder({
      'babel.config.cjs': "require('shared'); module.exports = (api) => { api.cache(true); return {}; };",
      'node_modules/shared/package.json': manifest('shared', version),
      'node_modules/shared/index.js': '',
    });
    return variantOf({ babel: { cwd, configFile: true } });
  };
  expect(await variantWith('1.0.0')).toBe(await variantWith('1.0.0'));
  expect(await variantWith('1.0.1')).not.toBe(await variantWith('1.0.0'));
});

test('a fleet on two versions of Node shares output, unless it compiles for the one that it runs on', () => {
  const cwd = folder({
    'other-node.cjs': "Object.defineProperty(process, 'version', { value: 'v99.0.0' });",
  });
  const on = (node: string, version: string[]) => {
    const presets = [['@babel/preset-env', { targets: { node } }]];
    return variantElsewhere({ babel: { cwd, presets } }, version);
  };
  const other = ['--require', join(cwd, 'other-node.cjs')];
  expect(on('20', other)).toBe(on('20', []));
  expect(on('current', other)).not.toBe(on('current', []));
});
