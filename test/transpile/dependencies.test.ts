import { posix } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { dependencyKeyOf } from '../../src/keys.js';
import type { Transpiler } from '../../src/transpile/index.js';
import { folder, keysOf, open, realm } from './support/fixtures.js';

let typescript: Transpiler;
let commonjs: Transpiler;
beforeAll(async () => {
  typescript = await open();
  const presets = [['@babel/preset-typescript', { onlyRemoveTypeImports: false }]];
  commonjs = await open({
    babel: { presets: [['@babel/preset-env', { modules: 'commonjs' }], ...presets], targets: { node: '20' } },
  });
});

const everyForm = `
  import fallback from './a.ts';
  import * as all from "./b";
  import './c.js';
  export { name } from '../d/index.ts';
  export * from './e.mts';
  export * as f from './f.tsx';
  const lazy = () => import('./g.gts');
  const lazier = () => import(\`./h.jsx\`, { with: { type: 'json' } });
  console.log(fallback, all, lazy, lazier);
`;
const everyKey = ['models/a', 'models/b', 'models/c', 'd', 'models/e', 'models/f', 'models/g', 'models/h'];

test('a change reaches its importers in whatever form they import it', async () => {
  expect(await keysOf(typescript, everyForm)).toEqual(everyKey);
});

test('a change reaches importers that are compiled to CommonJS', async () => {
  expect(await keysOf(commonjs, everyForm)).toEqual(everyKey);
});

test.each(['amd', 'systemjs'])('a change reaches importers that are compiled to %s', async (modules) => {
  const presets = [['@babel/preset-env', { modules }], '@babel/preset-typescript'];
  expect(await keysOf(await open({ babel: { presets } }), everyForm)).toEqual(everyKey);
});

test('a change reaches importers that say import x = require()', async () => {
  const source = "import x = require('./x.ts'); import y from './y'; const z = require(`./z`); use(x, y, z);";
  expect(await keysOf(commonjs, source)).toEqual(['models/x', 'models/y', 'models/z']);
});

test('a module is not compiled again for a change of what it imports as a type only', async () => {
  const source = `
    import type { A } from './a';
    import { type B } from './b';
    import { C } from './c';
    import type D = require('./d');
    import { E, e } from './e';
    export type { F } from './f';
    export type * from './g';
    type H = import('./h').H;
    export { C };
    export const all = (a: A, b: B, c: C, d: D, h: H): E => e;
  `;
  // Exported, so a value as far as one can see without reading ./c.
  expect(await keysOf(typescript, source)).toEqual(['models/c', 'models/e']);
  expect(await keysOf(commonjs, source)).toEqual(['models/c', 'models/e']);
  const unused = source.replace('export { C };', '');
  expect(await keysOf(typescript, unused)).toEqual(['models/e']);
  expect(await keysOf(commonjs, unused)).toEqual(['models/e']);
});

describe('specifiers that a plugin rewrites', () => {
  const rewrite = (where: string) => `module.exports = () => ({ visitor: { ${where} } });`;
  const plugins = {
    'when it meets them': rewrite(`
      'ImportDeclaration|ExportAllDeclaration'(path) { path.node.source.value = path.node.source.value.replace('~/', '../lib/'); },
      'CallExpression|ImportExpression'(path) {
        const source = path.node.source ?? path.node.arguments[0];
        if (source && source.type === 'StringLiteral') source.value = source.value.replace('~/', '../lib/');
      }`),
    'at the end': rewrite(`Program: { exit(program) { program.traverse({
      StringLiteral(path) { path.node.value = path.node.value.replace('~/', '../lib/'); } }) } }`),
    'with new nodes': `module.exports = ({ types: t }) => ({ visitor: { StringLiteral(path) {
      if (path.node.value.startsWith('~/')) path.replaceWith(t.stringLiteral(path.node.value.replace('~/', '../lib/')));
    } } });`,
  };
  const source = "import a from '~/a'; export * from '~/b'; use(a, import('~/c'));";

  test.each(Object.entries(plugins))('a change reaches them: %s', async (_when, plugin) => {
    const cwd = folder({ 'rewrite.cjs': plugin });
    const presets = ['@babel/preset-typescript'];
    const esm = await open({ babel: { cwd, presets, plugins: ['./rewrite.cjs'] } });
    expect(await keysOf(esm, source)).toEqual(['lib/a', 'lib/b', 'lib/c']);
    presets.unshift('@babel/preset-env');
    const cjs = await open({ babel: { cwd, presets, plugins: ['./rewrite.cjs'] } });
    expect(await keysOf(cjs, source)).toEqual(['lib/a', 'lib/b', 'lib/c']);
  });
});

test('a change reaches an importer by the import that a plugin added', async () => {
  const cwd = folder({
    'add.cjs': `module.exports = ({ types: t }) => ({ visitor: { Program: { exit(path) {
      path.unshiftContainer('body', t.importDeclaration([], t.stringLiteral('./polyfill.js')));
    } } } });`,
  });
  const transpiler = await open({ babel: { cwd, plugins: ['./add.cjs'] } });
  expect(await keysOf(transpiler, "import './own.js';")).toEqual(['models/polyfill', 'models/own']);
});

test('packages do not fill the table of dependencies', async () => {
  const specifiers = [
    'react',
    '@scope/name/file.js',
    'node:fs',
    '#internal',
    'data:text/javascript,1',
    '~/x',
    '',
  ];
  const source = specifiers.map((specifier) => `import ${JSON.stringify(specifier)};`).join('\n');
  expect(await keysOf(typescript, source)).toEqual([]);
});

test.each([
  ['./a.ts?raw#part', ['models/a']],
  ['./with%20space.ts', ['models/with space']],
  ['./with space.ts', ['models/with space']],
  ['./caf%C3%A9', ['models/café']],
  ['./café', ['models/café']],
  ['./50%2525.ts', ['models/50%25']],
  ['.', ['models']],
  ['./', ['models']],
  ['..', ['index']],
  ['../index.ts', ['index']],
  ['./%2e%2e/x.ts', ['x']],
  ['/app/x.ts', ['x']],
  ['https://EXAMPLE.com/app/x.ts', ['x']],
  ['https://example.com:443/app/x.ts', ['x']],
  ['./data.json', ['models/data.json']],
  ['./types.d.ts', ['models/types.d.ts']],
  ['../../other/x/index.ts', ['https://example.com/other/x']],
  ['../../../../../x.ts', ['https://example.com/x']],
  ['/x/', ['https://example.com/x']],
  ['//cdn.example.com/x.js', ['https://cdn.example.com/x']],
  // A realm keeps its spelling, and nobody can say where it ends.
  [
    'https://cdn.example.com/a%20b/x.js?v=1',
    ['https://cdn.example.com/a b/x', 'https://cdn.example.com/a%20b/x'],
  ],
  ['./a%20b/c%20d.ts', ['models/a b/c d', 'models/a%20b/c d']],
  ['https://cdn.example.com:443/x.js', ['https://cdn.example.com/x', 'https://cdn.example.com:443/x']],
  ['https://CDN.example.com/x.js', ['https://cdn.example.com/x']],
  ['https://cdn.example.com', ['https://cdn.example.com/index']],
  ['./person.ts', []],
  ['./person', []],
  ['./person.gts', []],
  ['./bad%zz.ts', []],
  ['./question%3F.ts', []],
  ['./nul%00.ts', []],
  ['./a%2F..%2Fb', []],
  ['https://user@example.com/x.js', []],
  ['https://', []],
  [`./${'x'.repeat(2001)}`, []],
])('an import of %j is hit by a change of the module that it names', async (specifier, keys) => {
  expect(await keysOf(typescript, `import ${JSON.stringify(specifier)};`)).toEqual(keys);
});

test.each([
  // Whoever invalidates may spell the realm in another way, and mean the importer (a/m) by that as well.
  [
    'https://example.com:443/app/',
    [
      ...['x', 'https://example.com/app/x', 'https://example.com:443/y', 'https://example.com/y'],
      'https://example.com/app/a/m',
    ],
  ],
  [
    'https://example.com/caf\u00e9/',
    ['x', 'https://example.com/caf%C3%A9/x', 'https://example.com/y', 'https://example.com/caf%C3%A9/a/m'],
  ],
  ['http://localhost:4200/app/', ['x', 'http://localhost:4200/y']],
  ['custom://host/app/', ['x', 'custom://host/y']],
  ['file:///srv/app/', ['x', 'file:///srv/y']],
])('in the realm %s an import is still hit by a change in the same realm', async (own, keys) => {
  expect(
    await keysOf(typescript, "import '../x.ts'; import '../../y.ts'; import './m';", 'a/m.ts', own),
  ).toEqual(keys);
});

test('a module is stored with each dependency once, in the order of its imports', async () => {
  const source = "import './b'; import './a.ts'; import './b.js'; import './b/index.ts'; import('./a');";
  expect(await keysOf(typescript, source)).toEqual(['models/b', 'models/a']);
  expect(await keysOf(commonjs, source)).toEqual(['models/b', 'models/a']);
  expect(await keysOf(commonjs, "import(`./z`); import './a';")).toEqual(['models/z', 'models/a']);
});

const segment = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 8 })
  .filter((text) => !/^\.{1,2}$|[/?#\0]/.test(text) && text.isWellFormed());
const paths = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join('/'));

test('no name of a module hides it from its importers', async () => {
  await fc.assert(
    fc.asyncProperty(paths, fc.array(paths, { maxLength: 20 }), async (folderPath, targets) => {
      const path = `${folderPath}/own.ts`;
      const imports = targets.map((target) => {
        const relative = posix.relative(`/${folderPath}`, `/${target}`);
        const encoded = relative.split('/').map(encodeURIComponent).join('/');
        return `import ${JSON.stringify(`./${encoded}`)};`;
      });
      // The folder itself is imported as "./", which is its index.
      const expected = targets.map((target) => dependencyKeyOf(target));
      const keys = await keysOf(typescript, imports.join('\n'), path);
      // Beside it stand the names that it had if one of its folders were a realm of its own.
      const named = keys.filter((key) => expected.includes(key) || !key.includes('%'));
      expect(named).toEqual([...new Set(expected)].filter((key) => key !== dependencyKeyOf(path)));
    }),
    { numRuns: 200 },
  );
});

test('aliases of one module end in one key', async () => {
  const spellings = ['./x', './x.ts', './x/index', './x/index.js', '../models/x.mjs', `${realm}models/x.gts`];
  for (const spelling of spellings) {
    expect(await keysOf(typescript, `import '${spelling}'`)).toEqual(['models/x']);
  }
});
