import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from '@jest/globals';
import type { TranspileRequest, TranspileResult, Transpiler } from '../../src/transpile/index.js';
import { codeOf, failureOf, folder, inProcess, open, realm, sourceMapOf } from './support/fixtures.js';

type Resolve = NonNullable<TranspileRequest['resolve']>;

let transpiler: Transpiler;
beforeAll(async () => {
  transpiler = await open();
});
const run = (source: string, resolve?: Resolve, path = 'models/person.ts', by = transpiler) =>
  by.transpile({ realm, path, source, ...(resolve && { resolve }) });

/** A resolution that takes down what it was asked for. */
function recorder(resolution: Resolve): { asked: string[]; resolve: Resolve } {
  const asked: string[] = [];
  return {
    asked,
    resolve(specifier) {
      asked.push(specifier);
      return resolution(specifier);
    },
  };
}

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
const specifiers = ['./a.ts', './b', './c.js', '../d/index.ts', './e.mts', './f.tsx', './g.gts', './h.jsx'];

test('a browser finds what a module imports, in whatever form it imports it', async () => {
  const { asked, resolve } = recorder(async (specifier) => `/v1/${specifier}`);
  const { body } = await run(everyForm, resolve);
  expect(asked).toEqual(specifiers);
  for (const specifier of specifiers) {
    expect(body).toContain(`"/v1/${specifier}"`);
    expect(codeOf({ body } as TranspileResult)).not.toMatch(new RegExp(`['"\`]${specifier}`));
  }
});

test('what the caller does not want to replace stays as its author wrote it', async () => {
  const source = 'import \'./a\';\nimport "./b";\nimport(`./c`);';
  const plain = await run(source);
  expect((await run(source, () => undefined)).body).toBe(plain.body);
  const half = await run(source, (specifier) => (specifier === './b' ? './b.js' : undefined));
  expect(codeOf(half)).toBe('import \'./a\';\nimport "./b.js";\nimport(`./c`);');
});

test('nothing is looked up for types, twice, or for a name that is known at run time only', async () => {
  const { asked, resolve } = recorder((specifier) => `${specifier}.js`);
  const source = `import type { A } from './a'; import { B } from './b'; export type * from './c';
    import { d, type D } from './d'; import * as again from './d';
    import E = require('./e-type');
    export const all = (a: A, b: B, c: D): E => import(a + d + again);`;
  const result = await run(source, resolve);
  expect(asked).toEqual(['./d']);
  expect(codeOf(result)).not.toMatch(/'\.\/|"\.\/(?!d\.js)/);
  const none = recorder(() => 'never');
  await run('export const a: 1 = 1;', none.resolve);
  await run('export const a: number;', none.resolve, 'types.d.ts');
  expect(none.asked).toEqual([]);
});

test('also where each preset has a pass of its own, types are not looked up', async () => {
  const presets = [['@babel/preset-typescript', { onlyRemoveTypeImports: false }]];
  const by = await open({ babel: { passPerPreset: true, presets } });
  const { asked, resolve } = recorder((specifier) => `${specifier}.js`);
  const result = await run(
    "import { A } from './a'; import b from './b'; b as A;",
    resolve,
    'models/m.ts',
    by,
  );
  expect(asked).toEqual(['./b']);
  expect(codeOf(result)).toBe('import b from "./b.js";\nb;');
  expect(result.dependencyKeys).toEqual(['models/b']);
});

test('what plugins make of a specifier is what is looked up', async () => {
  const cwd = folder({
    'late.cjs': `module.exports = ({ types: t }) => ({ post(file) {
      const shared = t.stringLiteral('./shared');
      file.ast.program.body.push(t.importDeclaration([], shared), t.exportAllDeclaration(shared));
    } });`,
  });
  const by = await open({ babel: { cwd, plugins: ['./late.cjs'] } });
  const next: Record<string, string> = { './own': './shared', './shared': './other' };
  const { asked, resolve } = recorder((specifier) => next[specifier]);
  const result = await run("import './own';", resolve, 'm.js', by);
  expect(asked).toEqual(['./own', './shared']);
  expect(codeOf(result)).toBe('import "./shared";\nimport "./other";\nexport * from "./other";');
});

test.each(['commonjs', 'amd', 'systemjs'])('output as %s stays as it is', async (modules) => {
  const presets = [['@babel/preset-env', { modules, targets: { node: '20' } }], '@babel/preset-typescript'];
  const by = await open({ babel: { presets } });
  const { asked, resolve } = recorder(() => 'never');
  const source = modules === 'commonjs' ? `${everyForm} import x = require('./x'); use(x);` : everyForm;
  const plain = await run(source, undefined, 'models/m.ts', by);
  expect(await run(source, resolve, 'models/m.ts', by)).toEqual(plain);
  expect(asked).toEqual([]);
});

test('what a script requires stays as it is, and is a dependency all the same', async () => {
  const result = await run("require('./a'); import('./b');", (specifier) => `${specifier}.js`, 'm.js');
  expect(codeOf(result)).toBe('require(\'./a\');\nimport("./b.js");');
  expect(result.dependencyKeys).toEqual(['a', 'b']);
});

describe('a change reaches importers', () => {
  test('by what they wrote and by what that was resolved to, in order', async () => {
    const resolution: Record<string, string | undefined> = {
      'library/a': '../vendor/library/a.js?v=1',
      './b': './b.ts',
      './c': '/app/other/c',
      './d': 'https://cdn.example.com/d.js',
      './e': './person.ts',
      bare: 'still-bare',
      './f': undefined,
      './g': 'library/g',
    };
    const source = Object.keys(resolution).map((specifier) => `import '${specifier}';`);
    const { dependencyKeys } = await run(source.join('\n'), (specifier) => resolution[specifier]);
    expect(dependencyKeys).toEqual([
      'vendor/library/a',
      'models/b',
      'models/c',
      'other/c',
      'models/d',
      'https://cdn.example.com/d',
      'models/e',
      'models/f',
      'models/g',
    ]);
  });
});

describe('a file that Babel is told to ignore', () => {
  let by: Transpiler;
  beforeAll(async () => {
    by = await open({ babel: { ignore: ['vendor'] } });
  });

  test('is served as it is but for its specifiers', async () => {
    const source =
      "#!/usr/bin/env node\n/* é */ import './b.js';   export let a  // './b.js'\nexport*from\"./b.js\"\n" +
      "import(`./c.js`),require('./d.js'); import e from 'e'\n//# sourceMappingURL=x.js.map\n";
    const { asked, resolve } = recorder((specifier) =>
      specifier === 'e' ? undefined : `/${specifier.slice(2)}"`,
    );
    const result = await run(source, resolve, 'vendor/a.js', by);
    expect(asked).toEqual(['./b.js', './c.js', 'e']);
    const expected = source
      .replace("import './b.js'", 'import "/b.js\\""')
      .replace('"./b.js"', '"/b.js\\""')
      .replace('`./c.js`', '"/c.js\\""');
    expect(result.body).toBe(expected);
    expect(result.dependencyKeys).toEqual([
      'vendor/b',
      'https://example.com/b.js"',
      'vendor/c',
      'https://example.com/c.js"',
      'vendor/d',
    ]);
  });

  test('is served as it is if it is no JavaScript', async () => {
    const { asked, resolve } = recorder(() => 'never');
    const source = "import './b.js'; <p>";
    expect(await run(source, resolve, 'vendor/a.js', by)).toMatchObject({ body: source, isError: false });
    expect(asked).toEqual([]);
  });
});

describe('a debugger stops at the same place of the original', () => {
  const suffix = '?resolved=to-something-longer';
  const resolve: Resolve = (specifier) => specifier + suffix;

  /** The mappings with the columns in which they would be without the suffix. */
  function mappingsOf(result: TranspileResult): unknown[] {
    const lines = codeOf(result).split('\n');
    return decode(sourceMapOf(result.body).payload.mappings).map((segments, index) =>
      segments.map(([column = 0, ...original]) => {
        const before = (lines[index] ?? '').slice(0, column).split(suffix).length - 1;
        return [column - before * suffix.length, ...original];
      }),
    );
  }

  async function expectSameMap(source: string, path?: string): Promise<void> {
    const [plain, rewritten] = [await run(source, undefined, path), await run(source, resolve, path)];
    const { mappings: _, ...rest } = sourceMapOf(rewritten.body).payload;
    expect(sourceMapOf(plain.body).payload).toMatchObject(rest);
    expect(mappingsOf(rewritten)).toEqual(mappingsOf(plain));
    expect(codeOf(rewritten).replaceAll(suffix, '').replaceAll('"', "'")).toBe(
      codeOf(plain).replaceAll('"', "'"),
    );
  }

  test('in a module with imports of all forms', async () => {
    await expectSameMap(everyForm.replace(/`/g, "'"));
    await expectSameMap("import a from './a'; import('./b').then((b: B) => import('./c')); throw a;");
  });

  test('in every module of rxjs', async () => {
    const sources = join(dirname(createRequire(import.meta.url).resolve('rxjs/package.json')), 'src');
    const modules = readdirSync(sources, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.ts'),
    );
    expect(modules).toHaveLength(251);
    for (const path of modules) await expectSameMap(readFileSync(join(sources, path), 'utf8'), path);
  });

  test('of a module that was compiled before', async () => {
    const compiled = await run("interface Gone {}\n\nimport a from './a'; export const b: number =\n  a;\n");
    await expectSameMap(compiled.body, 'models/person.js');
    const again = await run(compiled.body, resolve, 'models/person.js');
    const line = codeOf(again)
      .split('\n')
      .findIndex((text) => text.includes('const b'));
    expect(sourceMapOf(again.body).map.findEntry(line, 'export const b = '.length)).toMatchObject({
      originalLine: 3,
      originalColumn: 2,
      originalSource: `${realm}models/person.ts`,
    });
  });

  test('of a module whose map is given with the options', async () => {
    const inputSourceMap = {
      version: 3,
      sources: ['original.coffee'],
      sourcesContent: ['a = 1'],
      names: [],
      mappings: 'AAAA;AACA',
    };
    const by = await open({ babel: { inputSourceMap } });
    const source = "import './a';\nuse();";
    const [plain, rewritten] = [
      await run(source, undefined, 'm.js', by),
      await run(source, resolve, 'm.js', by),
    ];
    expect(sourceMapOf(rewritten.body).payload.sources).toEqual(['original.coffee']);
    expect(mappingsOf(rewritten)).toEqual(mappingsOf(plain));
  });
});

describe('a resolution that fails', () => {
  test.each([[new TypeError('no such module')], ['text'], [undefined], [{ status: 404 }]])(
    'reaches the caller as it is: %p',
    async (error) => {
      const before = ports();
      const seen = await run("import './a'; import './b';", (specifier) => {
        if (specifier === './a') return new Promise(() => {});
        throw error;
      }).then(
        () => 'compiled',
        (reason: unknown) => ({ reason }),
      );
      expect(seen).toEqual({ reason: error });
      expect((seen as { reason: unknown }).reason).toBe(error);
      await until(() => ports() <= before);
    },
  );

  test.each([[null], [3], [{}]])('to something that is no specifier is told: %p', async (value) => {
    await expect(run("import './a';", () => value as never)).rejects.toMatchObject({
      code: 'MC003',
      detail: expect.stringContaining('./a'),
    });
    const request = { realm, path: 'a.js', source: '', resolve: value as never };
    await expect(transpiler.transpile(request)).rejects.toMatchObject({ code: 'MC003' });
  });

  test('does not cost the others a loaded compiler', async () => {
    const { by, thread } = await withThreads();
    const before = await thread();
    await expect(run("import './a'", () => Promise.reject(new Error('no')), 'a.js', by)).rejects.toThrow(
      'no',
    );
    expect(await thread()).toBe(before);
  });

  test('is not even tried for a module that does not compile', async () => {
    const { asked, resolve } = recorder(() => 'never');
    const result = await run("import './a'; let a a;", resolve);
    expect(result.isError).toBe(true);
    expect(failureOf(result)).toMatchObject({ name: 'SyntaxError', line: 1 });
    expect(asked).toEqual([]);
  });
});

describe('a resolution that never answers', () => {
  /** A call whose thread waits for its caller; in an object, since a promise in a promise would be awaited too. */
  const start = (by: Transpiler, signal?: AbortSignal) =>
    new Promise<{ result: Promise<TranspileResult> }>((resolve) => {
      const result: Promise<TranspileResult> = by.transpile({
        realm,
        path: 'a.js',
        source: "import './a';",
        resolve: () => {
          setImmediate(() => resolve({ result }));
          return new Promise(() => {});
        },
        ...(signal && { signal }),
      });
      result.catch(() => {});
    });

  test('is ended by an abort at once, and its thread compiles the next module', async () => {
    const { by, thread } = await withThreads();
    const threadBefore = await thread();
    const portsBefore = ports();
    const abort = new AbortController();
    const { result } = await start(by, abort.signal);
    expect(ports()).toBeGreaterThan(portsBefore);
    const reason = new Error('outdated');
    abort.abort(reason);
    await expect(result).rejects.toBe(reason);
    expect(await thread()).toBe(threadBefore);
    await until(() => ports() <= portsBefore);
    // Nor is the thread ended afterwards, when the time for those that go on is over.
    await sleep(300);
    expect(await thread()).toBe(threadBefore);
  });

  test('is ended by closing', async () => {
    const portsBefore = ports();
    const { by } = await withThreads();
    const { result } = await start(by);
    const queued = run("import './b'", () => './c', 'b.js', by);
    const settled = Promise.allSettled([result, queued]);
    await by.close();
    for (const outcome of await settled) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'MC103' } });
    }
    await until(() => ports() <= portsBefore);
  });

  test('and is aborted while it waits for a thread is not asked', async () => {
    const { by, thread } = await withThreads();
    const portsBefore = ports();
    const [first, second] = [new AbortController(), new AbortController()];
    const { result } = await start(by, first.signal);
    const { asked, resolve } = recorder(() => 'never');
    const queued = by.transpile({
      realm,
      path: 'b.js',
      source: "import './b'",
      resolve,
      signal: second.signal,
    });
    second.abort();
    await expect(queued).rejects.toMatchObject({ name: 'AbortError' });
    first.abort();
    await expect(result).rejects.toMatchObject({ name: 'AbortError' });
    await thread();
    expect(asked).toEqual([]);
    await until(() => ports() <= portsBefore);
  });
});

test('many modules with a resolution leave nothing behind, and keep no process alive', () => {
  const output = inProcess(
    `const transpiler = await createTranspiler(options);
    const ports = () => process.getActiveResourcesInfo().filter((name) => name === 'MessagePort').length;
    const before = ports();
    const all = await Promise.all(Array.from({ length: 50 }, (_, index) => transpiler.transpile({
      realm: '${realm}', path: 'a.ts', source: "import './a'; export let b: 1",
      resolve: async () => './' + index + '.js',
    })));
    await new Promise((resolve) => setTimeout(resolve, 50));
    console.log(all.filter(({ body }, index) => body.includes('"./' + index + '.js"')).length, ports() - before);`,
    { threads: 2 },
  );
  expect(output).toBe('50 0\n');
});

/** A transpiler with one thread that says which it is. */
async function withThreads() {
  const plugin = `const { threadId } = require('node:worker_threads');
    module.exports = () => ({ visitor: { StringLiteral(path) {
      if (path.node.value === 'thread') path.node.value = String(threadId);
    } } });`;
  const cwd = folder({ 'plugin.cjs': plugin });
  const by = await open({ babel: { cwd, plugins: ['./plugin.cjs'] } });
  const thread = async () => codeOf(await run('use("thread")', undefined, 'a.js', by));
  return { by, thread };
}

const ports = (): number => process.getActiveResourcesInfo().filter((name) => name === 'MessagePort').length;

async function until(condition: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 10_000; !condition(); await sleep(5)) {
    if (Date.now() > deadline) throw new Error(`not in 10 s: ${condition}`);
  }
}

/** Segments of each line: column of the output, then relative to the map source, line, column and name. */
function decode(mappings: string): number[][][] {
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  return mappings.split(';').map((line) => {
    let column = 0;
    return line
      .split(',')
      .filter(Boolean)
      .map((segment) => {
        const numbers: number[] = [];
        let value = 0;
        let shift = 0;
        for (const digit of segment) {
          const bits = digits.indexOf(digit);
          value += (bits & 31) << shift;
          shift += 5;
          if (bits & 32) continue;
          numbers.push(value & 1 ? -(value >> 1) : value >> 1);
          [value, shift] = [0, 0];
        }
        column += numbers[0] ?? 0;
        return [column, ...numbers.slice(1)];
      });
  });
}
