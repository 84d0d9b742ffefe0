import type { NodePath, types } from '@babel/core';
import type { Babel } from './babel.js';

type Node = types.Node;
type Visit = (this: unknown, path: NodePath, ...rest: unknown[]) => unknown;
interface Found {
  readonly specifier: string;
  readonly start: number;
}

export interface ImportCollector {
  /** Option of Babel for the transform to be observed. */
  readonly wrapPluginVisitorMethod: (plugin: string | undefined, phase: string, visit: Visit) => Visit;
  /** Specifiers that the module imports when it runs, in order of appearance. */
  specifiers(output: Node): string[];
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
          const specifier = importCallOf(path.node);
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
      return found.sort((a, b) => a.start - b.start).map(({ specifier }) => specifier);
    },
  };
}

function findImports(babel: Babel, root: Node): Found[] {
  const found: Found[] = [];
  const pending: Node[] = [root];
  let start = 0;
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    // What a plugin made has no place of its own and stays behind what it was put after.
    start = node.start ?? start;
    const specifier = specifierOf(node);
    if (specifier !== null) found.push({ specifier, start });
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

/** The specifier of a node that imports, if it is one and written as a literal. */
function specifierOf(node: Node): string | null {
  switch (node.type) {
    case 'ImportDeclaration':
      return node.importKind === 'type' || node.importKind === 'typeof' ? null : node.source.value;
    case 'ExportNamedDeclaration':
    case 'ExportAllDeclaration':
      return node.exportKind === 'type' ? null : (node.source?.value ?? null);
    case 'TSExternalModuleReference':
      return node.expression.value;
    default:
      return importCallOf(node) ?? requireCallOf(node);
  }
}

/** Babel 7 parses `import()` as a call, 8 as an expression of its own. */
function importCallOf(node: Node): string | null {
  if (node.type === 'ImportExpression') return literal(node.source);
  return node.type === 'CallExpression' && node.callee.type === 'Import' ? literal(node.arguments[0]) : null;
}

/** Whatever `require` is here (Node's, `createRequire`, a bundler's), the literal names a module. */
function requireCallOf(node: Node): string | null {
  if (node.type !== 'CallExpression' || node.callee.type !== 'Identifier') return null;
  return node.callee.name === 'require' ? literal(node.arguments[0]) : null;
}

function literal(node: Node | undefined): string | null {
  if (node?.type === 'StringLiteral') return node.value;
  if (node?.type === 'TemplateLiteral' && node.expressions.length === 0) {
    return node.quasis[0]?.value.cooked ?? null;
  }
  return null;
}
