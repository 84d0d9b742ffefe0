import { beforeAll, describe, expect, test } from '@jest/globals';
import type { Transpiler } from '../../src/transpile/index.js';
import { failureOf, folder, inProcess, open, project, realm } from './support/fixtures.js';

let transpiler: Transpiler;
beforeAll(async () => {
  transpiler = await open();
});

test('a definition is JSON that depends on no other module', async () => {
  const source = "export { a } from './a'; import './b';";
  const result = await transpiler.define({ realm: 'HTTPS://example.com/app/', path: 'm.ts', source });
  expect(result).toMatchObject({
    isError: false,
    headers: { 'content-type': 'application/json; charset=utf-8' },
    dependencyKeys: [],
  });
  const definition = JSON.parse(result.body);
  expect(Object.keys(definition)).toEqual(['realm', 'path', 'exports', 'imports', 'doc']);
  expect(definition).toMatchObject({ realm, path: 'm.ts' });
});

test('a module that does not parse shows its author where and why, as when it is compiled', async () => {
  const request = { realm, path: 'models/person.ts', source: 'const a = 1;\n\tconst b: = 2;\n' };
  const result = await transpiler.define(request);
  expect(result).toEqual(await transpiler.transpile(request));
  expect(failureOf(result)).toMatchObject({
    name: 'SyntaxError',
    file: 'models/person.ts',
    line: 2,
    column: 11,
  });
  const decorated = await transpiler.define({ realm, path: 'a.ts', source: '@a b' });
  expect(decorated.isError).toBe(true);
  expect(decorated.body).not.toContain(project);
});

test('a module that no plugin can compile can still be described', async () => {
  const request = { realm, path: 'a.ts', source: 'export import b = require("./b");' };
  expect((await transpiler.transpile(request)).isError).toBe(true);
  expect((await transpiler.define(request)).isError).toBe(false);
});

describe('the syntax is that of the configuration', () => {
  test.each([
    ['a.ts', 'export const a = <number>b;', false],
    ['a.tsx', 'export const a = <b>{c as number}</b>;', false],
    ['a.jsx', 'export const a = <b/>;', false],
    ['a.js', 'export const a = <b/>;', true],
    ['a.js', 'export const a: number = 1;', true],
    ['a.d.ts', 'export const a: number;', false],
    ['a.ts', 'export const a: number;', true],
  ])('%s: %s', async (path, source, isError) => {
    expect((await transpiler.define({ realm, path, source })).isError).toBe(isError);
  });

  test('also that which a plugin or one extension alone allows', async () => {
    const cwd = folder({
      'jsx.cjs': 'module.exports = () => ({ manipulateOptions(_, parser) { parser.plugins.push("jsx"); } });',
    });
    const by = await open({ babel: { cwd, overrides: [{ test: /\.jsx$/, plugins: ['./jsx.cjs'] }] } });
    const source = 'export const a = <b/>;';
    expect((await by.define({ realm, path: 'a.jsx', source })).isError).toBe(false);
    expect((await by.define({ realm, path: 'a.js', source })).isError).toBe(true);
  });

  test('and that of the language for a file that Babel is told to ignore', async () => {
    const by = await open({ babel: { ignore: ['vendor'] } });
    const run = (source: string) => by.define({ realm, path: 'vendor/a.js', source });
    expect(JSON.parse((await run('export const a = 1;')).body).exports).toMatchObject([{ name: 'a' }]);
    const failed = await run('export const a: 1 = 1;');
    expect(failureOf(failed)).toMatchObject({ file: 'vendor/a.js', line: 1 });
    expect(failed.body).not.toContain(project);
  });
});

test('nothing is transformed on the way', async () => {
  const cwd = folder({
    'loud.cjs': 'module.exports = () => ({ visitor: { Program() { throw new Error("transformed"); } } });',
  });
  const by = await open({ babel: { cwd, plugins: ['./loud.cjs'] } });
  expect((await by.define({ realm, path: 'a.js', source: 'export let a' })).isError).toBe(false);
});

test('a rolling deploy serves no definition of another parser', async () => {
  const other = await open({ babel: { parserOpts: { plugins: ['decorators'] } } });
  expect(transpiler.definitionVariant).toMatch(/^[\w-]{32}$/);
  expect(transpiler.definitionVariant).not.toBe(transpiler.variant);
  expect(other.definitionVariant).not.toBe(transpiler.definitionVariant);
  const elsewhere = inProcess('process.stdout.write((await createTranspiler(options)).definitionVariant);');
  expect(elsewhere).toBe(transpiler.definitionVariant);
});

test('who aborts hears the reason, and who asks after closing is told', async () => {
  const reason = new Error('outdated');
  const by = await open();
  const source = `export let a;\n${'// long\n'.repeat(100_000)}`;
  const abort = new AbortController();
  const aborted = by.define({ realm, path: 'a.ts', source, signal: abort.signal });
  abort.abort(reason);
  await expect(aborted).rejects.toBe(reason);
  await by.close();
  await expect(by.define({ realm, path: 'a.ts', source: '' })).rejects.toMatchObject({ code: 'MC103' });
});

test.each([
  [{ realm: 'nowhere', path: 'a.ts', source: '' }, 'MC001'],
  [{ realm, path: '../a.ts', source: '' }, 'MC001'],
  [{ realm, path: 'a.ts', source: 3 as unknown as string }, 'MC003'],
])('misuse is refused before work is done: %j', async (request, code) => {
  await expect(transpiler.define(request)).rejects.toMatchObject({ code });
});

test('a module with more elements than a call can have arguments is described all the same', async () => {
  const numbers = Array.from({ length: 200_000 }, (_, index) => index);
  const exported = numbers.slice(0, 5000).map((number) => `export const v${number} = 1;`);
  const source = `export const a = [${numbers}];\n${exported.join('\n')}`;
  const { body } = await transpiler.define({ realm, path: 'a.ts', source });
  expect(JSON.parse(body).exports).toHaveLength(5001);
});
