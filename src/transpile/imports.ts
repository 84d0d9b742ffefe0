import type { NodePath, types } from '@babel/core';
import type { Babel } from './babel.js';

type Node = types.Node;
type Visit = (this: unknown, path: NodePath, ...rest: unknown[]) => unknown;
interface Found {
  readonly specifier: string;
  readonly start: number;
}

/** A specifier that the language itself resolves: of a declaration, or of a call of `import()`. */
export interface NativeImport extends Found {
  /** A string, or a template without expressions. */
  readonly literal: Node;
}

export interface ImportCollector {
  /** Option of Babel for the transform to be observed. */
  readonly wrapPluginVisitorMethod: (plugin: string | undefined, phase: string, visit: Visit) => Visit;
  /** Specifiers that the module imports when it runs, in order of appearance. */
  specifiers(output: Node): string[];
  /** What can be rewritten, in order of appearance: nothing in CommonJS, AMD and SystemJS. */
  nativeImports(output: Node): NativeImport[];
}

const moduleTransform = /^transform-modules-/;

/**
 * Collects what a module imports after everything that drops or rewrites imports, such as TypeScript's elision, but
 * before a transform to CommonJS, AMD or SystemJS hides it: either that transform is caught when it begins, or there
 * is none and the output still has its imports. A plugin of ours would run too early or too late.
 */
export function createImportCollector(babel: Babel): ImportCollector {
  let beforeTransform: Found[] | undefined;
  const beforeDynamicTransform: Found[] = [];
  return {
    wrapPluginVisitorMethod(plugin, phase, visit) {
      if (plugin === undefined || !moduleTransform.test(plugin)) return visit;
      return function (path, ...rest) {
        // The calls of import() are rewritten on the way, the declarations when the program is left.
        if (path.isProgram()) {
          if (phase === 'exit') beforeTransform = findImports(babel, path.node);
        } else {
          const specifier = textOf(importCallSource(path.node));
          const start = path.node.start ?? Number.POSITIVE_INFINITY;
          if (specifier !== null) beforeDynamicTransform.push({ specifier, start });
        }
        return visit.call(this, path, ...rest);
      };
    },
    specifiers(output) {
      const found =
        beforeTransform === undefined
          ? findImports(babel, output)
          : [...beforeTransform, ...beforeDynamicTransform];
      return inOrder(found).map(({ specifier }) => specifier);
    },
    nativeImports(output) {
      if (beforeTransform !== undefined) return [];
      return inOrder(findImports(babel, output).filter((found) => found.native));
    },
  };
}

const inOrder = <T extends Found>(found: T[]): T[] => found.sort((a, b) => a.start - b.start);

function findImports(babel: Babel, root: Node): (NativeImport & { native: boolean })[] {
  const found: (NativeImport & { native: boolean })[] = [];
  const pending: Node[] = [root];
  let start = 0;
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    // What a plugin made has no place of its own and stays behind what it was put after.
    start = node.start ?? start;
    const nativeSource = declarationSource(node) ?? importCallSource(node);
    const literal = nativeSource ?? requireSource(node);
    const specifier = textOf(literal);
    if (literal && specifier !== null) {
      found.push({ specifier, start, literal, native: literal === nativeSource });
    }
    const children = childrenOf(babel, node);
    for (let index = children.length - 1; index >= 0; index--) pending.push(children[index] as Node);
  }
  return found;
}

function childrenOf(babel: Babel, node: Node): Node[] {
  const fields = node as unknown as Record<string, Node | (Node | null)[] | null | undefined>;
  return (babel.types.VISITOR_KEYS[node.type] ?? [])
    .flatMap((key) => fields[key] ?? [])
    .filter((child): child is Node => child !== null);
}

function declarationSource(node: Node): Node | null | undefined {
  switch (node.type) {
    case 'ImportDeclaration':
      return node.importKind === 'type' || node.importKind === 'typeof' ? null : node.source;
    case 'ExportNamedDeclaration':
    case 'ExportAllDeclaration':
      return node.exportKind === 'type' ? null : node.source;
    default:
      return null;
  }
}

/** Babel 7 parses `import()` as a call, 8 as an expression of its own. */
function importCallSource(node: Node): Node | null | undefined {
  if (node.type === 'ImportExpression') return node.source;
  return node.type === 'CallExpression' && node.callee.type === 'Import' ? node.arguments[0] : null;
}

/** Whatever `require` is here (Node's, `createRequire`, a bundler's), the literal names a module. */
function requireSource(node: Node): Node | null | undefined {
  if (node.type === 'TSExternalModuleReference') return node.expression;
  if (node.type !== 'CallExpression' || node.callee.type !== 'Identifier') return null;
  return node.callee.name === 'require' ? node.arguments[0] : null;
}

/** The specifier, if it is written as a literal. */
function textOf(source: Node | null | undefined): string | null {
  if (source?.type === 'StringLiteral') return source.value;
  if (source?.type === 'TemplateLiteral' && source.expressions.length === 0) {
    return source.quasis[0]?.value.cooked ?? null;
  }
  return null;
}
