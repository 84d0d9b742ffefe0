import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import type { ExportDefinition, ModuleDefinition, Transpiler } from '../../src/transpile/index.js';
import { open, realm } from '../transpile/support/fixtures.js';

let transpiler: Transpiler;
beforeAll(async () => {
  transpiler = await open();
});

async function define(source: string, path = 'models/person.ts'): Promise<ModuleDefinition> {
  const { body, isError } = await transpiler.define({ realm, path, source });
  if (isError) throw new Error(body);
  return JSON.parse(body) as ModuleDefinition;
}

/** The only export of a module, which has to be of the kind. */
async function only<K extends ExportDefinition['kind']>(
  kind: K,
  source: string,
): Promise<Extract<ExportDefinition, { kind: K }>> {
  const { exports } = await define(source);
  expect(exports.map((item) => item.kind)).toEqual([kind]);
  return exports[0] as Extract<ExportDefinition, { kind: K }>;
}

/** Exports in short: `name=kind`, and for what comes from elsewhere `<source>imported`. */
const inShort = async (source: string, path?: string): Promise<string[]> =>
  (await define(source, path)).exports.map(
    (item) =>
      `${item.name}=${item.kind === 'reexport' ? `<${item.source}>${item.imported}` : item.kind}${item.typeOnly ? ' (type)' : ''}`,
  );

const parameter = { optional: false, rest: false, default: null, type: null, decorators: [], property: null };

describe('who asks what a module exports', () => {
  test.each<[string, string[]]>([
    [
      'export const a = 1, b = 2; export let { c, d: [e, ...f], ...g } = h, [, i = 1] = j;',
      'abcefgi'.split('').map((name) => `${name}=variable`),
    ],
    [
      'export function f() {} export class C {} export async function* g() {}',
      ['f=function', 'C=class', 'g=function'],
    ],
    [
      'export type T = 1; export interface I {} export enum E {}',
      ['T=type (type)', 'I=interface (type)', 'E=enum'],
    ],
    ['export namespace N { export const a = 1; }', ['N=namespace']],
    [
      'export declare const a: 1; export declare function f(): void;',
      ['a=variable (type)', 'f=function (type)'],
    ],
    [
      "export * from './a'; export * as b from './b'; export type * from './c';",
      ['*=<./a>*', 'b=<./b>*', '*=<./c>* (type)'],
    ],
    [
      "export { a, b as c, default as d, type E } from './a'; export type { F } from './f';",
      ['a=<./a>a', 'c=<./a>b', 'd=<./a>default', 'E=<./a>E (type)', 'F=<./f>F (type)'],
    ],
    ["export { 'a b' as 'c d' } from './a';", ['c d=<./a>a b']],
    [
      "import a, { b, type C } from './a'; import * as d from './d'; import type { E } from './e'; export { a, b as x, C, d, E };",
      ['a=<./a>default', 'x=<./a>b', 'C=<./a>C (type)', 'd=<./d>*', 'E=<./e>E (type)'],
    ],
    [
      "import a = require('./a'); export { a }; export import b = require('./b');",
      ['a=<./a>export=', 'b=<./b>export='],
    ],
    [
      'const a = 1; function f() {} class C {} export { a as b, f, C as default };',
      ['b=variable', 'f=function', 'default=class'],
    ],
    ['interface A {} const A = 1; export { A };', ['A=interface (type)', 'A=variable']],
    ['class A {} export type { A };', ['A=class (type)']],
    ['export default function () {}', ['default=function']],
    ['export default class A {}', ['default=class']],
    ['export default interface A {}', ['default=interface (type)']],
    ['export default (async (a) => a);', ['default=function']],
    ['export default (class {});', ['default=class']],
    ['const a = 1; export default (a);', ['default=variable']],
    ['export default { a: 1 } satisfies A;', ['default=expression']],
    ['export default globalThing;', ['default=unknown']],
    ['class A {} export = A;', ['export==class']],
    ["const hidden = 1; import './a'; declare module 'x' { export const y: 1 }", []],
  ])('is told all of it: %s', async (source, expected) => {
    expect(await inShort(source)).toEqual(expected);
  });

  test('hears the name that the module itself uses, and where it is', async () => {
    const [first, second] = (await define('const own = 1;\n\nexport { own as theirs }; export default 3'))
      .exports;
    expect(first).toMatchObject({ name: 'theirs', local: 'own', place: { line: 1, column: 7 } });
    expect(second).toMatchObject({ name: 'default', local: null, place: { line: 3, column: 42 } });
  });

  test('hears about what TypeScript drops, and about what a .d.ts file only declares', async () => {
    const source = `export const a: number; export default function f(): void;
      declare module 'x' { export const b: 1 } declare global { interface C {} }
      export namespace N { const d: 1; namespace O.P { function e(): void } } export as namespace U;`;
    const { exports } = await define(source, 'types.d.ts');
    expect(exports).toMatchObject([
      { name: 'a', kind: 'variable', type: 'number' },
      { name: 'default', local: 'f', kind: 'function', returns: 'void' },
      {
        name: 'N',
        exports: [{ name: 'd' }, { name: 'O', exports: [{ name: 'P', exports: [{ name: 'e' }] }] }],
      },
    ]);
    expect(await inShort('export namespace N.M { export const a = 1; const b = 2 }')).toEqual([
      'N=namespace',
    ]);
    const [{ exports: inside }] = [await only('namespace', 'export namespace N.M { export let a; let b }')];
    expect(inside).toMatchObject([{ name: 'M', kind: 'namespace', exports: [{ name: 'a' }] }]);
  });
});

describe('who wants to call a function', () => {
  test('sees its signature', async () => {
    const found = await only(
      'function',
      'export async function* f<T extends 1>(this: X, a: T, b?: string, { c, d = 1 }: { c: 2 } = {}, ...e: any[]): AsyncGenerator<T> {}',
    );
    expect(found).toEqual({
      name: 'f',
      local: 'f',
      kind: 'function',
      typeOnly: false,
      declare: false,
      async: true,
      generator: true,
      typeParameters: '<T extends 1>',
      parameters: [
        { ...parameter, name: 'this', type: 'X' },
        { ...parameter, name: 'a', type: 'T' },
        { ...parameter, name: 'b', optional: true, type: 'string' },
        { ...parameter, name: '{ c, d = 1 }', optional: true, default: '{}', type: '{ c: 2 }' },
        { ...parameter, name: 'e', rest: true, type: 'any[]' },
      ],
      returns: 'AsyncGenerator<T>',
      overloads: [],
      doc: null,
      place: { line: 1, column: 24 },
    });
  });

  test('sees each overload, whose comments differ', async () => {
    const source = `/** One. */
      export function f(a: 1): 2;
      /** Two. */
      export function f(a: 3): 4;
      export function f(a: any): any { return a; }`;
    expect(await only('function', source)).toMatchObject({
      parameters: [{ name: 'a', type: 'any' }],
      returns: 'any',
      doc: { text: 'One.' },
      overloads: [
        { parameters: [{ type: '1' }], returns: '2', doc: { text: 'One.' }, place: { line: 2, column: 23 } },
        { parameters: [{ type: '3' }], returns: '4', doc: { text: 'Two.' }, place: { line: 4, column: 23 } },
      ],
    });
    expect(
      (await define('export default function (a: 1): 2; export default function (a: any) {}')).exports,
    ).toMatchObject([{ name: 'default', overloads: [{ returns: '2' }] }]);
  });

  test('sees it in a constant as well, whatever type it is given', async () => {
    const source =
      'export const f: F = (async <T,>(a: T): a is B => a) as any, g = function* () {}, C = class<T> {};';
    expect((await define(source)).exports).toMatchObject([
      { type: 'F', value: { kind: 'function', async: true, typeParameters: '<T,>', returns: 'a is B' } },
      { type: null, value: { kind: 'function', generator: true } },
      { value: { kind: 'class', typeParameters: '<T>' } },
    ]);
  });

  test('reads types as they were written, with all parentheses', async () => {
    const type = '((a: 1) => 2) extends (...b: infer U) => 3 ? U : (4 | 5)[]';
    expect(await only('type', `export type T<A> = ${type};`)).toMatchObject({ typeParameters: '<A>', type });
    const returns = '((a: 1) => 2) | (new () => 3)';
    expect(await only('function', `export function f(): ${returns} {}`)).toMatchObject({ returns });
  });
});

test('who extends a class sees its members', async () => {
  const found = await only(
    'class',
    `export abstract class Person<T> extends mixin(Base)<T> implements I, J<T> {
      static #count = 0;
      readonly name?: string = 'x';
      declare other: number;
      constructor(private readonly a: string, b = 2, readonly c?: 3) { super(); }
      protected static async *gen(): AsyncGenerator<T> {}
      get full(): string { return ''; }
      private set full(v) {}
      over(a: 1): 2;
      over(a: any) {}
      override [Symbol.iterator]() {}
      'quoted name' = 1; 42 = 1;
      handler = async (e: Event) => {};
      protected abstract todo?(): void;
      [key: string]: unknown;
      static {}
    }`,
  );
  expect(found).toMatchObject({
    abstract: true,
    typeParameters: '<T>',
    extends: 'mixin(Base)<T>',
    implements: ['I', 'J<T>'],
  });
  expect(found.members).toMatchObject([
    { name: '#count', kind: 'property', static: true, visibility: 'private', parameters: null },
    { name: 'name', kind: 'property', readonly: true, optional: true, type: 'string', visibility: 'public' },
    { name: 'other', kind: 'property', type: 'number' },
    {
      name: 'constructor',
      kind: 'constructor',
      parameters: [
        { name: 'a', property: { visibility: 'private', readonly: true } },
        { name: 'b', property: null, default: '2' },
        { name: 'c', property: { visibility: 'public', readonly: true }, optional: true },
      ],
    },
    { name: 'gen', kind: 'method', static: true, visibility: 'protected', async: true, generator: true },
    { name: 'full', kind: 'getter', type: 'string', parameters: [] },
    { name: 'full', kind: 'setter', visibility: 'private', parameters: [{ name: 'v' }] },
    { name: 'over', kind: 'method', parameters: [{ type: 'any' }], overloads: [{ returns: '2' }] },
    { name: '[Symbol.iterator]', kind: 'method', override: true },
    { name: 'quoted name', kind: 'property' },
    { name: '42', kind: 'property' },
    { name: 'handler', value: { kind: 'function', async: true, parameters: [{ name: 'e' }] } },
    { name: 'todo', kind: 'method', abstract: true, optional: true, visibility: 'protected', type: 'void' },
    { name: '', kind: 'index', parameters: [{ name: 'key', type: 'string' }], type: 'unknown' },
  ]);
  expect(found.members).toHaveLength(14);
});

test('who implements an interface, or uses an enum, sees what it holds', async () => {
  const source = `export interface I<T> extends K, L<T> {
    /** Doc of a. */
    readonly a?: string;
    m<U>(x: U): void; m(y: 1): 2;
    (z: 3): number; new (x: string): I;
    [k: string]: any; get g(): string; set g(v);
  }`;
  expect(await only('interface', source)).toMatchObject({
    typeParameters: '<T>',
    extends: ['K', 'L<T>'],
    members: [
      {
        name: 'a',
        kind: 'property',
        readonly: true,
        optional: true,
        type: 'string',
        doc: { text: 'Doc of a.' },
      },
      { name: 'm', kind: 'method', typeParameters: '<U>', type: 'void' },
      { name: 'm', kind: 'method', parameters: [{ name: 'y' }], type: '2' },
      { kind: 'call', parameters: [{ name: 'z' }], type: 'number' },
      { kind: 'construct', type: 'I' },
      { kind: 'index', type: 'any' },
      { name: 'g', kind: 'getter', type: 'string' },
      { name: 'g', kind: 'setter' },
    ],
  });
  expect(
    await only('enum', "export const enum E { A, /** Doc of B. */ B = 1 << 2, 'c d' = 'e' }"),
  ).toMatchObject({
    const: true,
    members: [
      { name: 'A', value: null, doc: null },
      { name: 'B', value: '1 << 2', doc: { text: 'Doc of B.' } },
      { name: 'c d', value: "'e'" },
    ],
  });
});

describe('who reads decorators', () => {
  const decorated = `@plain @called({ a: 1 }, 'b') @some.where() class A {
    @field name = contains(StringField);
    @field() accessor other = 1;
    @(expression[0]) method() {}
  }`;
  test.each([
    `export ${decorated}`,
    `${decorated} export { A };`,
    decorated.replace('class', 'export class'),
  ])('finds them without a configuration that transforms them: %#', async (source) => {
    const found = await only('class', source);
    expect(found.decorators).toEqual([
      { name: 'plain', arguments: null },
      { name: 'called', arguments: ['{ a: 1 }', "'b'"] },
      { name: 'some.where', arguments: [] },
    ]);
    expect(found.members).toMatchObject([
      { name: 'name', decorators: [{ name: 'field', arguments: null }] },
      { name: 'other', kind: 'accessor', decorators: [{ name: 'field', arguments: [] }] },
      { name: 'method', decorators: [{ name: '(expression[0])', arguments: null }] },
    ]);
  });

  test('finds the older ones of TypeScript', async () => {
    const source = `@Injectable() export class A {
      constructor(@Inject('b') private b: B, @Optional() c = 1) {}
      @Input() declare d: string;
    }`;
    expect((await only('class', source)).members).toMatchObject([
      {
        parameters: [
          {
            name: 'b',
            decorators: [{ name: 'Inject', arguments: ["'b'"] }],
            property: { visibility: 'private' },
          },
          { name: 'c', decorators: [{ name: 'Optional', arguments: [] }], default: '1' },
        ],
      },
      { name: 'd', decorators: [{ name: 'Input' }] },
    ]);
  });

  test.each(['decorators', 'decorators-legacy'])('configured as %s, all the same', async (plugin) => {
    const by = await open({
      babel: {
        presets: ['@babel/preset-typescript'],
        parserOpts: { plugins: [plugin] },
      },
    });
    const { body } = await by.define({ realm, path: 'a.ts', source: '@dec export class A {}' });
    expect(JSON.parse(body).exports).toMatchObject([{ name: 'A', decorators: [{ name: 'dec' }] }]);
  });
});

describe('the comment of an author', () => {
  test('is found above a declaration, with its tags', async () => {
    const { doc } = await only(
      'function',
      `/**
        * Adds numbers,
        *   indented.
        *
        * @param a the first,
        *   on two lines
        * @example
        * \`\`\`ts
        * @decorator() class A {}
        * \`\`\`
        * @deprecated
        */
       // eslint-disable-next-line
       export function add(a) {}`,
    );
    expect(doc).toEqual({
      text: 'Adds numbers,\n  indented.',
      tags: [
        { name: 'param', text: 'a the first,\n  on two lines' },
        { name: 'example', text: '```ts\n@decorator() class A {}\n```' },
        { name: 'deprecated', text: '' },
      ],
    });
  });

  test.each([
    ['/** Doc */ export const a = 1;'],
    ['/** Doc */\r\nexport const a = 1;'],
    ['/**\n  Doc\n */\nexport const a = 1;'],
    ['/**\n * Doc\n **/\nexport const a = 1;'],
    ['/** Not */\n/** Doc */\nexport const a = 1;'],
    ['/** Doc */\nconst a = 1;\nexport { a };'],
    ['const a = 1;\n/** Doc */\nexport { a };'],
    ['const a = 1;\n/** Doc */\nexport default a;'],
    ['/** Doc */\nexport default () => 1;'],
    ["/** Doc */\nexport * from './a';"],
    ["/** Doc */\nexport { a } from './a';"],
    ["export {\n  /** Doc */\n  a,\n} from './a';"],
    ['/** Doc */\n@dec export class A {}'],
    ['@dec\n/** Doc */\nexport class A {}'],
    ['/** Doc */\nexport @dec class A {}'],
  ])('is found here: %j', async (source) => {
    expect((await define(source)).exports[0]?.doc).toEqual({ text: 'Doc', tags: [] });
  });

  test.each([
    ['/* Doc */ export const a = 1;'],
    ['// Doc\nexport const a = 1;'],
    ['/** Doc */\n\nexport const a = 1;'],
    ['/** Doc */ const b = 1;\nexport const a = 1;'],
    ['const b = 1; /** Doc of b */\nexport const a = 1;'],
    ['/**/ export const a = 1;'],
    ['/** @module */\nexport const a = 1;'],
  ])('is not taken from elsewhere: %j', async (source) => {
    expect((await define(source)).exports[0]?.doc).toBeNull();
  });

  test.each([
    ['/** Doc */\n\nexport const a = 1;'],
    ["/** Doc */\nimport './a';"],
    ['/** Doc */\n/** Other */\nexport const a = 1;'],
    ['#!/usr/bin/env node\n/** Doc */\n"use strict"; export const a = 1;'],
    ['/** Doc */'],
  ])('about the file is that of the module: %j', async (source) => {
    expect((await define(source)).doc).toEqual({ text: 'Doc', tags: [] });
  });

  test('about the file is not mistaken for that of a declaration', async () => {
    expect((await define('/** Doc */\nexport const a = 1;')).doc).toBeNull();
    expect((await define('export const a = 1;\n/** Doc */')).doc).toBeNull();
    const tagged = await define('/** Doc\n * @packageDocumentation */\nexport const a = 1;');
    expect(tagged.doc).toEqual({ text: 'Doc', tags: [{ name: 'packageDocumentation', text: '' }] });
  });

  test('is found at members, and in a class whose decorators come first', async () => {
    const source = `export class A {
      /** One */ a = 1;
      @dec
      /** Two */
      b = 2; /** Three */ c = 3;
      d = 4;
      /** Four */
      e(): void;
      e() {}
    }`;
    const { members } = await only('class', source);
    expect(members.map(({ doc }) => doc?.text)).toEqual(['One', 'Two', 'Three', undefined, 'Four']);
  });
});

test('who draws a graph sees what a module imports, and how', async () => {
  const { imports } = await define(`import a, { b as c, type D } from './a';
    import * as e from 'e'; import type F from './f'; import './g'; import {} from './h';
    import i = require('i'); import type j = require('j'); export {} from './k';
    export const l = () => import('./l').then(() => import(\`./m\`)), n = import(a);
    export type O = import('./o').P<typeof import('./p')>; require('./q'); export { r } from './r';`);
  expect(imports.map(({ specifier, kind }) => `${kind} ${specifier}`)).toEqual([
    'value ./a',
    'value e',
    'type ./f',
    'side-effect ./g',
    'side-effect ./h',
    'value i',
    'type j',
    'side-effect ./k',
    'dynamic ./l',
    'dynamic ./m',
    'type ./o',
    'type ./p',
  ]);
  expect(imports[0]).toEqual({
    specifier: './a',
    kind: 'value',
    names: [
      { imported: 'default', local: 'a', typeOnly: false },
      { imported: 'b', local: 'c', typeOnly: false },
      { imported: 'D', local: 'D', typeOnly: true },
    ],
    place: { line: 1, column: 1 },
  });
  expect(imports[1]?.names).toEqual([{ imported: '*', local: 'e', typeOnly: false }]);
  expect(imports[5]?.names).toEqual([{ imported: 'export=', local: 'i', typeOnly: false }]);
});

describe('rxjs', () => {
  const sources = join(dirname(createRequire(import.meta.url).resolve('rxjs/package.json')), 'src');
  const definitions = new Map<string, ModuleDefinition>();
  beforeAll(async () => {
    const modules = readdirSync(sources, { recursive: true, encoding: 'utf8' });
    for (const path of modules.filter((name) => name.endsWith('.ts'))) {
      const source = readFileSync(join(sources, path), 'utf8');
      definitions.set(path.replaceAll('\\', '/'), await define(source, path.replaceAll('\\', '/')));
    }
  });

  test('every module can be described, and no export is left open', () => {
    expect(definitions.size).toBe(251);
    for (const [path, { exports }] of definitions) {
      const open = exports.filter(({ kind, name }) => kind === 'unknown' || name === '');
      expect({ path, open }).toEqual({ path, open: [] });
    }
  });

  test('all that a package exports at run time is in the definition of its entry', async () => {
    const interop = ['default', 'module.exports', '__esModule'];
    const actual = Object.keys((await import('rxjs')) as object);
    const defined = (definitions.get('index.ts') as ModuleDefinition).exports;
    const names = new Set(defined.map(({ name }) => name));
    const missing = actual.filter((name) => !names.has(name) && !interop.includes(name));
    expect(missing).toEqual([]);
    expect(defined.length).toBeGreaterThan(150);
  });

  test('what a module exports from another is there', () => {
    let checked = 0;
    for (const [path, { exports }] of definitions) {
      for (const item of exports) {
        if (item.kind !== 'reexport' || item.imported === '*') continue;
        const from = join(dirname(path), item.source);
        const target = definitions.get(`${from}.ts`) ?? definitions.get(join(from, 'index.ts'));
        const found = target?.exports.some(({ name }) => name === item.imported);
        expect({ path, name: item.imported, found }).toEqual({ path, name: item.imported, found: true });
        checked++;
      }
    }
    expect(checked).toBeGreaterThan(300);
  });

  test('an operator is described as its documentation says', () => {
    const exports = definitions.get('internal/operators/map.ts')?.exports ?? [];
    expect(exports).toMatchObject([
      {
        name: 'map',
        kind: 'function',
        typeParameters: '<T, R>',
        parameters: [
          { name: 'project', type: '(value: T, index: number) => R' },
          { name: 'thisArg', optional: true, type: 'any' },
        ],
        returns: 'OperatorFunction<T, R>',
        overloads: [{ doc: null }, { doc: { tags: [{ name: 'deprecated' }] } }],
      },
    ]);
    expect(exports[0]?.doc?.text).toMatch(/^Applies a given `project` function/);
  });
});
