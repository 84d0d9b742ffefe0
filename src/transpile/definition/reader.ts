import { type Comment, createDocumentationFinder } from './documentation.js';
import { child, children, type Node } from './nodes.js';
import type { DecoratorDefinition, Documentation, Place } from './types.js';

/** Reads texts, places and comments of the module that nodes were parsed from. */
export interface Reader {
  text(node: Node): string;
  textOrNull(node: Node | null): string | null;
  /** Text of a type annotation, without its colon. */
  typeText(annotation: Node | null): string | null;
  /** Text from one node to the end of another. */
  textBetween(from: Node, to: Node): string;
  /** Text from a node to where another begins, or to its own end if there is no other. */
  textBefore(from: Node, next: Node | null): string;
  place(node: Node): Place;
  /** Of the innermost of these nodes that has one: a declaration in a statement that exports it. */
  doc(...nodes: Node[]): Documentation | null;
  /** Of the file whose code begins with this node, which may be a declaration; null for a file without code. */
  fileDoc(code: Node | null, isDeclaration: boolean): Documentation | null;
  decorators(node: Node): DecoratorDefinition[];
}

export function createReader(source: string, comments: readonly Comment[]): Reader {
  const docs = createDocumentationFinder(source, comments);
  const start = (node: Node): number => node.start ?? 0;
  const end = (node: Node): number => node.end ?? 0;
  const text = (node: Node): string => source.slice(start(node), end(node));

  /** Decorators can stand before `export`, and then belong to the declaration behind it. */
  const decoratorsOf = (node: Node): Node[] => [
    ...children(node, 'decorators'),
    ...children(child(node, 'declaration'), 'decorators'),
  ];
  const startOf = (node: Node): number => Math.min(start(node), ...decoratorsOf(node).map(start));

  function docOf(node: Node): Documentation | null {
    const last = decoratorsOf(node).at(-1);
    return (last && docs.behind(end(last))) ?? docs.before(startOf(node));
  }

  return {
    text,
    textOrNull: (node) => (node === null ? null : text(node)),
    typeText: (annotation) =>
      annotation === null ? null : text(child(annotation, 'typeAnnotation') ?? annotation),
    textBetween: (from, to) => source.slice(start(from), end(to)),
    textBefore: (from, next) => source.slice(start(from), next === null ? end(from) : start(next)),
    place: ({ loc }) => ({ line: loc?.start.line ?? 1, column: (loc?.start.column ?? 0) + 1 }),
    doc(...nodes) {
      for (const node of nodes) {
        const doc = docOf(node);
        if (doc !== null) return doc;
      }
      return null;
    },
    decorators: (node) =>
      children(node, 'decorators').map((decorator) => {
        const expression = child(decorator, 'expression') ?? decorator;
        const callee = expression.type === 'CallExpression' ? child(expression, 'callee') : null;
        return {
          name: text(callee ?? expression),
          arguments: callee === null ? null : children(expression, 'arguments').map(text),
        };
      }),
    fileDoc: (code, isDeclaration) =>
      docs.ofFile(code === null ? source.length : startOf(code), isDeclaration),
  };
}
