import { child, children, flag, type Node, word } from './nodes.js';
import type { Reader } from './reader.js';
import type {
  FunctionShape,
  Overload,
  ParameterDefinition,
  Signature,
  ValueDefinition,
  Visibility,
} from './types.js';

export const describeSignature = (reader: Reader, node: Node): Signature => ({
  typeParameters: reader.textOrNull(child(node, 'typeParameters')),
  parameters: children(node, 'params', 'parameters').map((parameter) => describeParameter(reader, parameter)),
  returns: reader.typeText(child(node, 'returnType', 'typeAnnotation')),
});

export const describeFunction = (reader: Reader, node: Node): FunctionShape => ({
  async: flag(node, 'async'),
  generator: flag(node, 'generator'),
  ...describeSignature(reader, node),
});

function describeParameter(reader: Reader, node: Node): ParameterDefinition {
  const inner = child(node, 'parameter', 'left', 'argument');
  if (inner === null) return describeBinding(reader, node);
  const described = describeParameter(reader, inner);
  described.decorators.unshift(...reader.decorators(node));
  switch (node.type) {
    case 'TSParameterProperty':
      described.property = { visibility: visibilityOf(node), readonly: flag(node, 'readonly') };
      break;
    case 'AssignmentPattern':
      described.optional = true;
      described.default = reader.text(node.right);
      break;
    case 'RestElement':
      described.rest = true;
      described.type = reader.typeText(child(node, 'typeAnnotation'));
  }
  return described;
}

function describeBinding(reader: Reader, node: Node): ParameterDefinition {
  const annotation = child(node, 'typeAnnotation');
  return {
    name:
      word(node, 'name') ??
      reader
        .textBefore(node, annotation)
        .trimEnd()
        .replace(/\s*\?$/, ''),
    optional: flag(node, 'optional'),
    rest: false,
    default: null,
    type: reader.typeText(annotation),
    decorators: reader.decorators(node),
    property: null,
  };
}

export const visibilityOf = (node: Node): Visibility =>
  (word(node, 'accessibility') as Visibility | null) ?? 'public';

/** Nodes that declare one function together: overloads, then the one with a body if there is one. */
export type Group = readonly [Node, ...Node[]];

/** Groups by what `keyOf` returns, where the first of each appeared; null stands alone. */
export function groupOverloads(nodes: readonly Node[], keyOf: (node: Node) => string | null): Group[] {
  const byKey = new Map<string, [Node, ...Node[]]>();
  const groups: [Node, ...Node[]][] = [];
  for (const node of nodes) {
    const key = keyOf(node);
    const known = key === null ? undefined : byKey.get(key);
    known?.push(node);
    if (known !== undefined) continue;
    const group: [Node, ...Node[]] = [node];
    groups.push(group);
    if (key !== null) byKey.set(key, group);
  }
  return groups;
}

export const implementationOf = (group: Group): Node => group.find(hasBody) ?? group[0];

/** `outer` leads to the statement that a comment is above. */
export function describeOverloads(
  reader: Reader,
  group: Group,
  outer: (node: Node) => Node = (node) => node,
): Overload[] {
  if (group.length === 1) return [];
  return group
    .filter((node) => !hasBody(node))
    .map((node) => ({
      ...describeSignature(reader, node),
      doc: reader.doc(node, outer(node)),
      place: reader.place(child(node, 'id', 'key') ?? node),
    }));
}

const hasBody = (node: Node): boolean => child(node, 'body') !== null;

/** What an expression is worth a description for: a function or a class, whatever type it is given. */
export function describeValue(
  reader: Reader,
  expression: Node | null,
  describeClass: (reader: Reader, node: Node) => Extract<ValueDefinition, { kind: 'class' }>,
): ValueDefinition | null {
  switch (expression?.type) {
    case 'ArrowFunctionExpression':
    case 'FunctionExpression':
    case 'FunctionDeclaration':
      return { kind: 'function', ...describeFunction(reader, expression) };
    case 'ClassExpression':
    case 'ClassDeclaration':
      return describeClass(reader, expression);
    case 'TSAsExpression':
    case 'TSSatisfiesExpression':
    case 'TSNonNullExpression':
    case 'ParenthesizedExpression':
      return describeValue(reader, expression.expression, describeClass);
    default:
      return null;
  }
}
