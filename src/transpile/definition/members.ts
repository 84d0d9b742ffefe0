import { child, children, flag, type Node, nameOf, word } from './nodes.js';
import type { Reader } from './reader.js';
import {
  describeOverloads,
  describeSignature,
  describeValue,
  type Group,
  groupOverloads,
  implementationOf,
  visibilityOf,
} from './signatures.js';
import type { ClassShape, MemberDefinition, ValueDefinition } from './types.js';

export function describeClass(reader: Reader, node: Node): ClassShape {
  const base = child(node, 'superClass');
  const baseArguments = child(node, 'superTypeParameters', 'superTypeArguments');
  return {
    abstract: flag(node, 'abstract'),
    typeParameters: reader.textOrNull(child(node, 'typeParameters')),
    extends: base && reader.textBetween(base, baseArguments ?? base),
    implements: children(node, 'implements').map(reader.text),
    decorators: reader.decorators(node),
    members: describeMembers(reader, children(child(node, 'body'), 'body')),
  };
}

/** Of a class or an interface. */
export function describeMembers(reader: Reader, nodes: readonly Node[]): MemberDefinition[] {
  const members = nodes.filter((node) => kindOf(node) !== null);
  return groupOverloads(members, overloadKey).map((group) => describeMember(reader, group));
}

/** In an interface each signature is a member of its own. */
const overloadKey = (node: Node): string | null =>
  /Method$/.test(node.type) && ['constructor', 'method'].includes(kindOf(node) ?? '')
    ? JSON.stringify([flag(node, 'static'), flag(node, 'computed'), plainKey(child(node, 'key'))])
    : null;

function describeMember(reader: Reader, group: Group): MemberDefinition {
  const node = implementationOf(group);
  const key = child(node, 'key');
  const kind = kindOf(node) as MemberDefinition['kind'];
  const called = kind !== 'property' && kind !== 'accessor';
  const signature = describeSignature(reader, node);
  return {
    name: memberName(reader, node),
    kind,
    visibility: key?.type === 'PrivateName' ? 'private' : visibilityOf(node),
    static: flag(node, 'static'),
    abstract: flag(node, 'abstract'),
    override: flag(node, 'override'),
    readonly: flag(node, 'readonly'),
    optional: flag(node, 'optional'),
    async: flag(node, 'async'),
    generator: flag(node, 'generator'),
    typeParameters: signature.typeParameters,
    parameters: called ? signature.parameters : null,
    type: signature.returns,
    value: called ? null : describeValue(reader, child(node, 'value'), classValue),
    decorators: reader.decorators(node),
    overloads: describeOverloads(reader, group),
    doc: reader.doc(node, ...group),
    place: reader.place(key ?? node),
  };
}

export const classValue = (reader: Reader, node: Node): Extract<ValueDefinition, { kind: 'class' }> => ({
  kind: 'class',
  ...describeClass(reader, node),
});

const kinds: Record<string, MemberDefinition['kind']> = {
  ClassProperty: 'property',
  ClassPrivateProperty: 'property',
  TSPropertySignature: 'property',
  ClassAccessorProperty: 'accessor',
  TSIndexSignature: 'index',
  TSCallSignatureDeclaration: 'call',
  TSConstructSignatureDeclaration: 'construct',
};
const methodKinds = new Map<string | null, MemberDefinition['kind']>([
  ['get', 'getter'],
  ['set', 'setter'],
  ['constructor', 'constructor'],
]);

/** Null for what is no member, such as a static block. */
function kindOf(node: Node): MemberDefinition['kind'] | null {
  if (/^(?:Class(?:Private)?Method|TSDeclareMethod|TSMethodSignature)$/.test(node.type)) {
    return methodKinds.get(word(node, 'kind')) ?? 'method';
  }
  return kinds[node.type] ?? null;
}

function memberName(reader: Reader, node: Node): string {
  const key = child(node, 'key');
  if (key === null) return '';
  return flag(node, 'computed') ? `[${reader.text(key)}]` : (plainKey(key) ?? reader.text(key));
}

const plainKey = (key: Node | null): string | null =>
  key?.type === 'PrivateName' ? `#${nameOf(key.id)}` : nameOf(key);
