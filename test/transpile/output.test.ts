import { beforeAll, describe, expect, test } from '@jest/globals';
import type { Transpiler } from '../../src/transpile/index.js';
import {
  codeOf,
  failureOf,
  folder,
  inProcess,
  open,
  project,
  realm,
  sourceMapOf,
} from './support/fixtures.js';

let transpiler: Transpiler;
beforeAll(async () => {
  transpiler = await open();
});
const run = (path: string, source: string) => transpiler.transpile({ realm, path, source });

test('a browser gets JavaScript, and is told so', async () => {
  const result = await run('models/person.ts', 'export const name: string = "Ada";\n');
  expect(result.isError).toBe(false);
  expect(result.headers).toEqual({ 'content-type': 'text/javascript; charset=utf-8' });
  expect(codeOf(result)).toBe('export const name = "Ada";');
});

test('a debugger shows the source that the user wrote, at the place where it stops', async () => {
  const source =
    'interface Gone {\n  a: 1;\n}\n\nexport function stop(): never {\n  throw new Error("here");\n}\n';
  const { body } = await run('models/with space%.ts', source);
  const { payload, map } = sourceMapOf(body);
  expect(payload.sources).toEqual([`${realm}models/with%20space%25.ts`]);
  expect((payload as unknown as { sourcesContent: string[] }).sourcesContent).toEqual([source]);
  const lines = body.split('\n');
  const line = lines.findIndex((text) => text.includes('throw'));
  expect(map.findEntry(line, (lines[line] as string).indexOf('throw'))).toMatchObject({
    originalLine: 5,
    originalColumn: 2,
    originalSource: payload.sources[0],
  });
});

test('a page that must not know the realm is shown the source under another name', async () => {
  const request = { realm, path: 'models/a.ts', source: 'export const a: 1 = 1;', sourceName: 'a.ts' };
  expect(sourceMapOf((await transpiler.transpile(request)).body).payload.sources).toEqual(['a.ts']);
});

test('without source maps no source leaves the server', async () => {
  const bare = await open({ sourceMaps: 'none' });
  const { body } = await bare.transpile({
    realm,
    path: 'a.ts',
    source: 'export const secret: 1 = 1; // note',
  });
  expect(body).not.toContain('sourceMappingURL');
});

test('a module that was compiled before keeps the map to its original', async () => {
  const map = {
    version: 3,
    sources: ['original.coffee'],
    sourcesContent: ['a = 1'],
    names: [],
    mappings: 'AAAA',
  };
  const comment = (url: string) => `\n//# sourceMappingURL=${url}\n`;
  const encoded = Buffer.from(JSON.stringify(map)).toString('base64');
  const inline = await run('a.js', `var a = 1;${comment(`data:application/json;base64,${encoded}`)}`);
  expect(sourceMapOf(inline.body).payload.sources).toEqual(['original.coffee']);
});

test('a module cannot make the server read a file by naming it as its source map', async () => {
  const map = {
    version: 3,
    sources: ['secret.txt'],
    sourcesContent: ['secret'],
    names: [],
    mappings: 'AAAA',
  };
  const cwd = folder({ 'a.js.map': JSON.stringify(map) });
  const compiler = await open({ babel: { cwd } });
  const source = 'var a = 1;\n//# sourceMappingURL=a.js.map\n';
  const { body } = await compiler.transpile({ realm, path: 'a.js', source });
  expect(sourceMapOf(body).payload.sources).toEqual([`${realm}a.js`]);
});

describe('what the name of a file says about its syntax', () => {
  test.each([
    ['a.ts', 'let x = <number>y;', 'let x = y;'],
    ['a.mts', 'let x = y as number;', 'let x = y;'],
    ['a.tsx', 'let x = <b>{y as number}</b>;', 'let x = <b>{y}</b>;'],
    ['a.jsx', 'let x = <b>{y}</b>;', 'let x = <b>{y}</b>;'],
    ['a.js', 'let x = y < b > (0);', 'let x = y < b > 0;'],
    ['a.mjs', 'await y;', 'await y;'],
    ['folder.ts/a.ts', 'enum E { A }', /E\[E\["A"\] = 0\] = "A"/],
    ['a.ts', 'class A { declare b: string; c!: number; }', /^class A \{\n {2}c;\n\}$/],
    ['a.ts', 'namespace N { export const a = 1 }', /N/],
    ['types.d.ts', 'export const a: number;\ndeclare module "x";', 'export {};\n'],
    ['types.d.mts', 'export const a: number;', 'export {};\n'],
  ])('%s runs: %s', async (path, source, expected) => {
    const result = await run(path, source);
    expect(result.isError).toBe(false);
    if (typeof expected === 'string') expect(codeOf(result)).toBe(expected);
    else expect(codeOf(result)).toMatch(expected);
  });

  test('types in a .js file are an error, not silently removed', async () => {
    expect((await run('a.js', 'let x: number = 1;')).isError).toBe(true);
  });
});

describe('a module that does not compile', () => {
  test('shows its author where and why', async () => {
    const result = await run('models/person.ts', 'const a = 1;\n\tconst b: = 2;\nconst c = 3;\n');
    expect(result).toMatchObject({
      isError: true,
      headers: { 'content-type': 'application/json; charset=utf-8' },
      dependencyKeys: [],
    });
    expect(failureOf(result)).toEqual({
      name: 'SyntaxError',
      message: 'Unexpected token',
      file: 'models/person.ts',
      line: 2,
      column: 11,
      codeFrame: '  1 | const a = 1;\n> 2 | \tconst b: = 2;\n    | \t         ^\n  3 | const c = 3;\n  4 |',
    });
  });

  test('shows where when a plugin objects, not the parser', async () => {
    const failure = failureOf(
      await run('a.ts', 'export const a = 1;\n\n  import b = require("./b"); b();\n'),
    );
    expect(failure).toMatchObject({ name: 'SyntaxError', file: 'a.ts', line: 3, column: 3 });
    expect(failure.message).toMatch(
      /^`import b = require\(...\);` is only supported when compiling modules to CommonJS/,
    );
    expect(failure.codeFrame).toContain('> 3 |   import b');
  });

  test('is a result also when a plugin fails without a place', async () => {
    const cwd = folder({
      'fail.cjs': `module.exports = () => ({ visitor: { DebuggerStatement() { throw new TypeError('no\\nreason'); } } });`,
    });
    const compiler = await open({ babel: { cwd, plugins: ['./fail.cjs'] } });
    const result = await compiler.transpile({ realm, path: 'deep/a.ts', source: 'debugger;' });
    expect(result.isError).toBe(true);
    expect(failureOf(result)).toEqual({
      name: 'TypeError',
      message: 'no\nreason',
      file: 'deep/a.ts',
      line: null,
      column: null,
      codeFrame: null,
    });
  });

  test('tells nobody where the server keeps its files, nor what to type into its shell', async () => {
    for (const source of ['let a = <b/>', 'let a; let a', 'export { b }', '\u001b', 'a b', '"']) {
      const result = await run('dir/a.js', source);
      expect({ source, isError: result.isError }).toEqual({ source, isError: true });
      expect(result.body).not.toContain(project);
      expect(result.body).not.toContain('npx');
      expect(failureOf(result)).toMatchObject({ line: 1, file: 'dir/a.js', name: 'SyntaxError' });
      expect(failureOf(result).message).not.toMatch(/\(\d+:\d+\)|\n.*\|/);
    }
  });

  test('reads well in a browser when the server was started with colours on', () => {
    const program = `const transpiler = await createTranspiler(options);
      const { body } = await transpiler.transpile({ realm: '${realm}', path: 'a.ts', source: 'let a a' });
      process.stdout.write(body);`;
    const failure = JSON.parse(inProcess(program, {}, { env: { FORCE_COLOR: '1', NO_COLOR: '' } }));
    expect(failure.codeFrame).toBe('> 1 | let a a\n    |      ^');
  });

  test('does not spoil the thread for the next one', async () => {
    const deep = '('.repeat(100_000);
    expect((await run('a.ts', deep)).isError).toBe(true);
    expect((await run('a.ts', 'let a')).isError).toBe(false);
  });
});

test('a file that Babel is told to ignore is served as it is, and still hit by changes of its imports', async () => {
  const compiler = await open({ babel: { ignore: ['vendor'] } });
  const source = "import './b.js';   export let a\n";
  const result = await compiler.transpile({ realm, path: 'vendor/a.js', source });
  expect(result).toMatchObject({ body: source, isError: false, dependencyKeys: ['vendor/b'] });
});

test('a large module keeps its layout', async () => {
  const source = `export function f(a: number) {\n  return a;\n}\n${'// padding\n'.repeat(60_000)}`;
  expect(codeOf(await run('a.ts', source))).toContain('{\n  return a;\n}');
});

test.each([
  ['no realm', 'a.ts'],
  [realm, '/a.ts'],
  [realm, '../a.ts'],
])('a module that the cache could not store is refused before work is done: %s %s', async (where, path) => {
  await expect(transpiler.transpile({ realm: where, path, source: '' })).rejects.toMatchObject({
    code: 'MC001',
  });
});

test('a source read as bytes is refused, not compiled as something else', async () => {
  const source = Buffer.from('let a') as unknown as string;
  await expect(transpiler.transpile({ realm, path: 'a.ts', source })).rejects.toMatchObject({
    code: 'MC003',
  });
});
