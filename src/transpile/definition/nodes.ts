import type { types } from '@babel/core';

export type Node = types.Node;

/*
 * Fields of syntax nodes are read by name: Babel 7 and 8 do not call all of them the same, and the type declarations
 * know 7 only. The first name that a node has counts.
 */

export function child(node: Node | null, ...names: string[]): Node | null {
  for (const name of names) {
    const value = field(node, name);
    if (isNode(value)) return value;
  }
  return null;
}

/** Without the holes of a pattern. */
export function children(node: Node | null, ...names: string[]): Node[] {
  for (const name of names) {
    const value = field(node, name);
    if (Array.isArray(value)) return value.filter(isNode);
  }
  return [];
}

/** False also for a field that is not there. */
export const flag = (node: Node | null, name: string): boolean => field(node, name) === true;

export function word(node: Node | null, name: string): string | null {
  const value = field(node, name);
  return typeof value === 'string' ? value : null;
}

/** Says `type` in an import or export, or `typeof` as Flow does. */
export const isType = (node: Node): boolean =>
  ['type', 'typeof'].includes(word(node, 'importKind') ?? word(node, 'exportKind') ?? '');

/** Name of an identifier, or value of a string. */
export function nameOf(node: Node | null): string | null {
  return node?.type === 'Identifier' ? node.name : stringOf(node);
}

/** Value of a string, a template without expressions, or the type of either. */
export function stringOf(node: Node | null): string | null {
  if (node?.type === 'StringLiteral') return node.value;
  if (node?.type === 'TSLiteralType') return stringOf(node.literal);
  if (node?.type === 'TemplateLiteral' && node.quasis.length === 1) {
    return node.quasis[0]?.value.cooked ?? null;
  }
  return null;
}

/** Calls `visit` with all nodes below, the node itself included, in order of appearance. */
export function walk(root: Node, visit: (node: Node) => void): void {
  const pending: Node[] = [root];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    visit(node);
    const below: Node[] = [];
    for (const value of Object.values(node)) {
      if (isNode(value)) below.push(value);
      else if (Array.isArray(value)) for (const item of value) if (isNode(item)) below.push(item);
    }
    below.sort((a, b) => (b.start ?? 0) - (a.start ?? 0));
    for (const next of below) pending.push(next);
  }
}

const field = (node: Node | null, name: string): unknown =>
  (node as unknown as Record<string, unknown> | null)?.[name];

/** Comments have a place and a type as well. */
const isNode = (value: unknown): value is Node =>
  typeof value === 'object' &&
  value !== null &&
  typeof (value as { type?: unknown }).type === 'string' &&
  !(value as Node).type.startsWith('Comment');
