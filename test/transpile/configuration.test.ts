import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { createTranspiler, type TranspilerOptions } from '../../src/transpile/index.js';
import { codeOf, folder, open, packageRoot, realm, write } from './support/fixtures.js';

describe('a mistake in the configuration is told at the start, with the way out', () => {
  const cyclic: { self?: unknown } = {};
  cyclic.self = cyclic;
  test.each<[string, unknown, { message?: RegExp; detail?: RegExp; hint?: RegExp }]>([
    [
      'a plugin that is not installed',
      { babel: { plugins: ['nowhere'] } },
      { detail: /babel-plugin-nowhere/, hint: /install/ },
    ],
    [
      'a preset that is not installed',
      { babel: { presets: ['./nowhere.js'] } },
      { detail: /nowhere/, hint: /install/ },
    ],
    [
      'a preset option',
      { babel: { presets: [['@babel/preset-typescript', { allExtensions: 3 }]] } },
      { detail: /allExtensions/ },
    ],
    [
      'a preset option for one extension',
      {
        babel: {
          overrides: [{ test: /\.tsx$/, presets: [['@babel/preset-typescript', { allExtensions: 3 }]] }],
        },
      },
      { detail: /allExtensions/ },
    ],
    ['an option that Babel does not know', { babel: { colour: 'red' } }, { detail: /colour/ }],
    [
      'a configuration file that is not there',
      { babel: { configFile: './none.json' } },
      { detail: /none\.json/ },
    ],
    [
      'a function',
      { babel: { plugins: [() => ({})] } },
      { detail: /babel\.plugins\[0\]: function/, hint: /package name or path/ },
    ],
    [
      'a function deep inside',
      { babel: { presets: [['x', { f: { g: () => 1 } }]] } },
      { detail: /babel\.presets\[0\]\[1\]\.f\.g/ },
    ],
    ['an instance', { babel: { plugins: [new Map()] } }, { detail: /babel\.plugins\[0\]/ }],
    ['a cycle', { babel: { caller: cyclic } }, { detail: /babel\.caller\.self/ }],
    [
      'an option of our own',
      { babel: { sourceMaps: true } },
      { detail: /babel\.sourceMaps/, hint: /sourceMaps/ },
    ],
    ['another option of our own', { babel: { filename: 'x.ts' } }, { detail: /babel\.filename/ }],
    ['no options', { babel: 'typescript' }, { detail: /typescript/ }],
    ['an unknown kind of map', { sourceMaps: true }, { hint: /inline/ }],
    ['no threads', { threads: 0 }, { hint: /threads/ }],
    ['half a thread', { threads: 1.5 }, { hint: /threads/ }],
    ['a negative time', { idleTimeoutMs: -1 }, { hint: /milliseconds/ }],
  ])('%s', async (_what, options, { detail = /./, hint = /./ }) => {
    const error = await createTranspiler(options as TranspilerOptions).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: 'ModuleCacheError', code: 'MC107' });
    expect(error).toMatchObject({ detail: expect.stringMatching(detail), hint: expect.stringMatching(hint) });
  });
});

/** The package installed where only the named packages can be found. */
function attempt(installed: string[]): string {
  const root = mkdtempSync(join(tmpdir(), 'transpile-'));
  try {
    const own = join(root, 'node_modules/pg-module-cache');
    mkdirSync(own, { recursive: true });
    cpSync(join(packageRoot, 'dist'), join(own, 'dist'), { recursive: true });
    cpSync(join(packageRoot, 'package.json'), join(own, 'package.json'));
    for (const name of ['piscina', ...installed]) {
      const link = join(root, 'node_modules', name);
      mkdirSync(dirname(link), { recursive: true });
      symlinkSync(join(packageRoot, 'node_modules', name), link);
    }
    write(root, {
      'run.mjs': `import { createTranspiler } from 'pg-module-cache/transpile';
        const result = await createTranspiler().then(({ variant }) => ({ variant }), ({ code, message, hint }) => ({ code, message, hint }));
        console.log(JSON.stringify(result));`,
    });
    return execFileSync(process.execPath, ['run.mjs'], { cwd: root, encoding: 'utf8' });
  } finally {
    rmSync(root, { recursive: true });
  }
}

test('who has not installed Babel is told what to install', () => {
  expect(JSON.parse(attempt([]))).toEqual({
    code: 'MC107',
    message: '@babel/core is not installed',
    hint: expect.stringMatching(/^npm install @babel\/core(@7)? @babel\/preset-typescript\1$/),
  });
  expect(JSON.parse(attempt(['@babel/core']))).toMatchObject({
    code: 'MC107',
    message: '@babel/preset-typescript is not installed',
    hint: expect.stringMatching(/^npm install @babel\/preset-typescript/),
  });
  expect(JSON.parse(attempt(['@babel/core', '@babel/preset-typescript']))).toEqual({
    variant: expect.any(String),
  });
});

const shout =
  'module.exports = () => ({ visitor: { StringLiteral(path) { path.node.value = path.node.value.toUpperCase(); } } });';
const compile = async (options: TranspilerOptions['babel'], path = 'a.js', source = 'use("a");') =>
  codeOf(await (await open({ babel: options })).transpile({ realm, path, source }));

test('plugins by path, configuration files and overrides do what they do in Babel', async () => {
  const cwd = folder({
    'shout.cjs': shout,
    'babel.config.json': JSON.stringify({ plugins: ['./shout.cjs'] }),
    '.babelrc': JSON.stringify({ plugins: ['./shout.cjs'] }),
    'package.json': '{}',
  });
  expect(await compile({ cwd })).toBe('use("a");');
  expect(await compile({ cwd, plugins: ['./shout.cjs'] })).toBe('use("A");');
  expect(await compile({ cwd, configFile: true })).toBe('use("A");');
  expect(await compile({ cwd, configFile: './babel.config.json' })).toBe('use("A");');
  expect(await compile({ cwd, babelrc: true })).toBe('use("A");');
  const overrides = [{ test: './loud', plugins: ['./shout.cjs'] }];
  expect(await compile({ cwd, overrides })).toBe('use("a");');
  expect(await compile({ cwd, overrides }, 'loud/a.js')).toBe('use("A");');
  expect(await compile({ cwd, overrides: [{ test: /\.ts$/, plugins: ['./shout.cjs'] }] }, 'a.ts')).toBe(
    'use("A");',
  );
  expect(await compile({ cwd, comments: false }, 'a.ts', 'let a: 1; // gone')).toBe('let a;');
  expect(await compile({ cwd, presets: [] }, 'a.js', 'let a')).toBe('let a;');
});

test('plugins written as ES modules work', async () => {
  const cwd = folder({ 'shout.mjs': shout.replace('module.exports =', 'export default') });
  expect(await compile({ cwd, plugins: ['./shout.mjs'] })).toBe('use("A");');
});

test('a configuration that changes under a running process never stores output under the old variant', async () => {
  const cwd = folder({ 'babel.config.json': '{}' });
  const transpiler = await open({ babel: { cwd, configFile: true } });
  const request = { realm, path: 'a.js', source: '"a"' };
  await transpiler.transpile(request);
  write(cwd, { 'shout.cjs': shout, 'babel.config.json': '{ "plugins": ["./shout.cjs"] }' });
  await expect(transpiler.transpile(request)).rejects.toMatchObject({
    code: 'MC107',
    message: expect.stringMatching(/changed/),
    hint: expect.stringMatching(/new transpiler/),
  });
});

test('a plugin that changes under a running process never stores output under the old variant', async () => {
  const stuck = `const { writeFileSync } = require('node:fs');
    module.exports = () => ({ visitor: { DebuggerStatement() {
      writeFileSync(__dirname + '/stuck', '');
      for (;;);
    } } });`;
  const cwd = folder({ 'shout.cjs': stuck });
  const transpiler = await open({ babel: { cwd, plugins: ['./shout.cjs'] } });
  write(cwd, { 'shout.cjs': shout });
  // The thread that has loaded the old plugin is fine; the one after it is not.
  const request = { realm, path: 'a.js', source: 'use("a");' };
  expect(codeOf(await transpiler.transpile(request))).toBe(request.source);
  const abort = new AbortController();
  const aborted = transpiler.transpile({ ...request, source: 'debugger', signal: abort.signal });
  while (!existsSync(join(cwd, 'stuck'))) await sleep(5);
  abort.abort();
  await expect(aborted).rejects.toMatchObject({ name: 'AbortError' });
  await expect(transpiler.transpile(request)).rejects.toMatchObject({
    code: 'MC107',
    message: 'the compiler changed after the transpiler was created',
  });
});

test('a configuration file of one folder, which the variant cannot know, is refused', async () => {
  const cwd = folder({ 'package.json': '{}', 'sub/.babelrc': '{ "comments": false }' });
  const transpiler = await open({ babel: { cwd, babelrc: true } });
  expect((await transpiler.transpile({ realm, path: 'a.js', source: '' })).isError).toBe(false);
  await expect(transpiler.transpile({ realm, path: 'sub/a.js', source: '' })).rejects.toMatchObject({
    code: 'MC107',
    message: 'a configuration file applies to some folders only',
  });
});

test('a plugin that can be built for some modules only is misuse, not an error of the module', async () => {
  const cwd = folder({ 'broken.cjs': 'module.exports = () => { throw new Error("needs a licence"); };' });
  const transpiler = await open({
    babel: { cwd, overrides: [{ test: './paid', plugins: ['./broken.cjs'] }] },
  });
  await expect(transpiler.transpile({ realm, path: 'paid/a.js', source: '' })).rejects.toMatchObject({
    code: 'MC107',
    detail: expect.stringMatching(/needs a licence/),
  });
});
