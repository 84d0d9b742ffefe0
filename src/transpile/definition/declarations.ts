import { importedName } from './imports.js';
import { classValue, describeClass, describeMembers } from './members.js';
import { child, children, flag, isType, type Node, nameOf, stringOf, word } from './nodes.js';
import type { Reader } from './reader.js';
import {
  describeFunction,
  describeOverloads,
  describeValue,
  type Group,
  groupOverloads,
  implementationOf,
} from './signatures.js';
import type { EnumMember, ExportBase, ExportDefinition } from './types.js';

/** Something that a scope declares, exported or not. */
export interface Declaration {
  readonly name: string | null;
  describe(as: string, typeOnly: boolean): ExportDefinition;
}

/** Describes what the statements of a namespace export, which may only be declared. */
export type DescribeBody = (statements: readonly Node[], declare: boolean) => ExportDefinition[];

/** Declarations by the node that declares them, statements that export them opened. */
export function declarationsOf(
  reader: Reader,
  statements: readonly Node[],
  describeBody: DescribeBody,
): Map<Node, Declaration[]> {
  const statementOf = new Map(statements.map((statement) => [declarationIn(statement), statement]));
  const outer = (node: Node): Node => statementOf.get(node) ?? node;
  const declarations = new Map<Node, Declaration[]>();
  for (const group of groupOverloads([...statementOf.keys()], functionKey)) {
    const found = declarationsIn({ reader, group, outer, describeBody });
    for (const node of group) declarations.set(node, found);
  }
  return declarations;
}

/** The declaration of a statement that exports one, or the statement itself. */
export const declarationIn = (statement: Node): Node =>
  (/^Export(?:Named|Default)Declaration$/.test(statement.type) && child(statement, 'declaration')) ||
  statement;

const functionKey = (node: Node): string | null =>
  node.type === 'FunctionDeclaration' || node.type === 'TSDeclareFunction'
    ? (nameOf(child(node, 'id')) ?? 'default of its own')
    : null;

interface Site {
  readonly reader: Reader;
  readonly group: Group;
  readonly outer: (node: Node) => Node;
  readonly describeBody: DescribeBody;
}

function declarationsIn(site: Site): Declaration[] {
  const [node] = site.group;
  switch (node.type) {
    case 'ImportDeclaration':
      return node.specifiers.map((specifier) => importDeclaration(site.reader, node, specifier));
    case 'VariableDeclaration':
      return node.declarations.flatMap((declarator) => variables(site, node, declarator));
    case 'TSModuleDeclaration':
      // `declare module "x"` and `declare global` speak of something else.
      return node.id.type === 'StringLiteral' || node.kind === 'global' ? [] : [namespace(site, node)];
    default: {
      const describe = describers[node.type];
      return describe === undefined ? [] : [describe(site, implementationOf(site.group))];
    }
  }
}

const describers: Record<string, ((site: Site, node: Node) => Declaration) | undefined> = {
  FunctionDeclaration: functionDeclaration,
  TSDeclareFunction: functionDeclaration,
  ClassDeclaration: (site, node) =>
    named(site, node, (base) => ({ ...base, kind: 'class', ...describeClass(site.reader, node) })),
  TSTypeAliasDeclaration: typeAlias,
  TypeAlias: typeAlias,
  OpaqueType: typeAlias,
  TSInterfaceDeclaration: (site, node) =>
    named(site, node, (base) => ({
      ...base,
      kind: 'interface',
      typeOnly: true,
      typeParameters: site.reader.textOrNull(child(node, 'typeParameters')),
      extends: children(node, 'extends').map(site.reader.text),
      members: describeMembers(site.reader, children(child(node, 'body'), 'body')),
    })),
  TSEnumDeclaration: (site, node) =>
    named(site, node, (base) => ({
      ...base,
      kind: 'enum',
      const: flag(node, 'const'),
      members: children(child(node, 'body') ?? node, 'members').map((member) =>
        enumMember(site.reader, member),
      ),
    })),
  TSImportEqualsDeclaration: importEquals,
};

type DeclaredBase = ExportBase & { declare: boolean };

/** A declaration with an `id`. */
function named(
  { reader, outer, group }: Site,
  node: Node,
  describe: (base: DeclaredBase) => ExportDefinition,
): Declaration {
  const [id = null] = qualifiedNames(child(node, 'id'));
  const name = nameOf(id);
  return {
    name,
    describe: (as, typeOnly) =>
      describe({
        name: as,
        local: name,
        typeOnly,
        declare: flag(node, 'declare'),
        doc: reader.doc(node, outer(node), ...group.map(outer)),
        place: reader.place(id ?? node),
      }),
  };
}

function functionDeclaration(site: Site, node: Node): Declaration {
  const { reader, group, outer } = site;
  return named(site, node, (base) => ({
    ...base,
    kind: 'function',
    ...describeFunction(reader, node),
    overloads: describeOverloads(reader, group, outer),
  }));
}

/** `type` of TypeScript and of Flow. */
function typeAlias(site: Site, node: Node): Declaration {
  const { reader } = site;
  return named(site, node, (base) => ({
    ...base,
    kind: 'type',
    typeOnly: true,
    typeParameters: reader.textOrNull(child(node, 'typeParameters')),
    type: reader.textOrNull(child(node, 'typeAnnotation', 'right', 'impltype', 'supertype')) ?? '',
  }));
}

function enumMember(reader: Reader, node: Node): EnumMember {
  const id = child(node, 'id') ?? node;
  return {
    name: nameOf(id) ?? reader.text(id),
    value: reader.textOrNull(child(node, 'initializer')),
    doc: reader.doc(node),
    place: reader.place(id),
  };
}

/** `namespace A.B` is a namespace that exports another. */
function namespace(site: Site, node: Node): Declaration {
  const { names, body } = flattened(node);
  return named(site, node, (base) => {
    let exports = site.describeBody(children(body, 'body'), base.declare);
    for (const name of names.slice(1).reverse()) {
      exports = [{ ...base, name, local: name, doc: null, kind: 'namespace', exports }];
    }
    return { ...base, kind: 'namespace', exports };
  });
}

/** It is one node in another in Babel 7, and one with a qualified name in 8. */
function flattened(node: Node): { names: string[]; body: Node | null } {
  const names = qualifiedNames(child(node, 'id')).map((id) => nameOf(id) ?? '');
  const body = child(node, 'body');
  if (body?.type !== 'TSModuleDeclaration') return { names, body };
  const inner = flattened(body);
  return { names: [...names, ...inner.names], body: inner.body };
}

const qualifiedNames = (id: Node | null): Node[] =>
  id?.type === 'TSQualifiedName'
    ? [...qualifiedNames(id.left), ...qualifiedNames(id.right)]
    : id === null
      ? []
      : [id];

function variables({ reader, outer }: Site, declaration: Node, declarator: Node): Declaration[] {
  const target = child(declarator, 'id');
  const init = target?.type === 'Identifier' ? child(declarator, 'init') : null;
  return boundIdentifiers(target).map((id) => {
    const name = nameOf(id);
    return {
      name,
      describe: (as, typeOnly) => ({
        name: as,
        local: name,
        typeOnly,
        declare: flag(declaration, 'declare'),
        doc: reader.doc(declarator, declaration, outer(declaration)),
        place: reader.place(id),
        kind: 'variable',
        declaredAs: word(declaration, 'kind') ?? 'var',
        type: reader.typeText(child(id, 'typeAnnotation')),
        value: describeValue(reader, init, classValue),
      }),
    };
  });
}

/** Names that a pattern binds. */
function boundIdentifiers(pattern: Node | null): Node[] {
  if (pattern?.type === 'Identifier') return [pattern];
  const parts = children(pattern, 'properties', 'elements');
  const inner = child(pattern, 'value', 'argument', 'left');
  return (inner === null ? parts : [inner]).flatMap(boundIdentifiers);
}

function importDeclaration(reader: Reader, declaration: Node, specifier: Node): Declaration {
  const { imported, local, typeOnly: importedAsType } = importedName(specifier, isType(declaration));
  return {
    name: local,
    describe: (as, typeOnly) => ({
      name: as,
      local,
      typeOnly: typeOnly || importedAsType,
      doc: reader.doc(specifier),
      place: reader.place(child(specifier, 'local') ?? specifier),
      kind: 'reexport',
      source: stringOf(child(declaration, 'source')) ?? '',
      imported,
    }),
  };
}

/** `import a = require('b')`, or an alias `import a = B.C`. */
function importEquals(site: Site, node: Node): Declaration {
  const source = stringOf(child(child(node, 'moduleReference'), 'expression'));
  return named(site, node, ({ declare: _, ...base }) => {
    const typeOnly = base.typeOnly || isType(node);
    if (source === null) return { ...base, typeOnly, kind: 'expression', type: null };
    return { ...base, typeOnly, kind: 'reexport', source, imported: 'export=' };
  });
}
