import type { types } from '@babel/core';
import { type Declaration, declarationIn, declarationsOf } from './declarations.js';
import { describeImports } from './imports.js';
import { classValue } from './members.js';
import { child, children, flag, isType, type Node, nameOf, stringOf } from './nodes.js';
import { createReader, type Reader } from './reader.js';
import { describeValue } from './signatures.js';
import type { Documentation, ExportBase, ExportDefinition, ModuleDefinition } from './types.js';

/** To be raised when the same text leads to another definition. */
export const DEFINITION_FORMAT = 1;

/** Describes a module by the syntax tree of its source, as it was parsed and with nothing transformed. */
export function describeModule(
  file: types.File,
  { realm, path, source }: { realm: string; path: string; source: string },
): ModuleDefinition {
  const reader = createReader(source, file.comments ?? []);
  const { directives, body } = file.program;
  const [code = null]: (Node | null)[] = [...directives, ...body];
  return {
    realm,
    path,
    exports: describeExports(reader, body, /\.d\.[cm]?ts$/.test(path)),
    imports: describeImports(reader, file.program),
    doc: reader.fileDoc(code, code === body[0] && code?.type !== 'ImportDeclaration'),
  };
}

interface Scope {
  readonly reader: Reader;
  /** What a node declares that has not been described where it is declared. */
  take(node: Node): readonly Declaration[];
  readonly byName: ReadonlyMap<string, readonly Declaration[]>;
}

/** `ambient`: where namespaces are only declared. `all`: also what does not say `export`. */
function describeExports(
  reader: Reader,
  statements: readonly Node[],
  ambient: boolean,
  all = false,
): ExportDefinition[] {
  const byNode = declarationsOf(reader, statements, (body, declare) => {
    const declared = ambient || declare;
    const explicit = body.some(({ type }) => /Export/.test(type));
    return describeExports(reader, body, declared, declared && !explicit);
  });
  // Overloads are several nodes of one declaration.
  const untaken = new Set([...byNode.values()].flat());
  const byName = new Map<string, Declaration[]>();
  for (const declaration of untaken) {
    const name = declaration.name ?? '';
    byName.set(name, [...(byName.get(name) ?? []), declaration]);
  }
  const take = (node: Node) => (byNode.get(node) ?? []).filter((declaration) => untaken.delete(declaration));
  return statements.flatMap((statement) => exportsOf({ reader, take, byName }, statement, all));
}

function exportsOf(scope: Scope, statement: Node, all: boolean): ExportDefinition[] {
  switch (statement.type) {
    case 'ExportAllDeclaration':
      return [reexport(scope.reader, statement, statement)];
    case 'ExportNamedDeclaration':
      if (child(statement, 'declaration') !== null) return declaredHere(scope, statement);
      return children(statement, 'specifiers').flatMap((specifier) =>
        child(statement, 'source') === null
          ? declaredElsewhere(scope, statement, specifier)
          : [reexport(scope.reader, statement, specifier)],
      );
    case 'ExportDefaultDeclaration': {
      const declarations = declaredHere(scope, statement, 'default');
      if (/Declaration$|^TSDeclare/.test(statement.declaration.type)) return declarations;
      return expressionExport(scope, statement, statement.declaration, 'default');
    }
    case 'TSExportAssignment':
      return expressionExport(scope, statement, statement.expression, 'export=');
    default:
      return all || flag(statement, 'isExport') ? declaredHere(scope, statement) : [];
  }
}

const declaredHere = (scope: Scope, statement: Node, as?: string): ExportDefinition[] =>
  scope
    .take(declarationIn(statement))
    .map((declaration) => declaration.describe(as ?? declaration.name ?? 'default', isType(statement)));

/** `export { a as b }` */
function declaredElsewhere({ reader, byName }: Scope, statement: Node, specifier: Node): ExportDefinition[] {
  const local = nameOf(child(specifier, 'local'));
  const name = nameOf(child(specifier, 'exported')) ?? local ?? '';
  const typeOnly = isType(statement) || isType(specifier);
  const declarations = byName.get(local ?? '');
  const doc = specifierDoc(reader, statement, specifier);
  if (declarations !== undefined) return describeAs(declarations, name, typeOnly, doc);
  const base = { ...baseOf(reader, name, specifier), local, typeOnly, doc };
  return [{ ...base, kind: 'unknown', type: null }];
}

/** The comment at the export counts if there is none at the declaration. */
const describeAs = (
  declarations: readonly Declaration[],
  name: string,
  typeOnly: boolean,
  doc: Documentation | null,
): ExportDefinition[] =>
  declarations.map((declaration) => {
    const described = declaration.describe(name, typeOnly);
    return { ...described, doc: described.doc ?? doc };
  });

/** What stands above a statement is about its only specifier. */
const specifierDoc = (reader: Reader, statement: Node, specifier: Node): Documentation | null =>
  children(statement, 'specifiers').length < 2 ? reader.doc(specifier, statement) : reader.doc(specifier);

/** One specifier of an export from another module, or the whole of it. */
function reexport(reader: Reader, statement: Node, specifier: Node): ExportDefinition {
  const exported = nameOf(child(specifier, 'exported'));
  const defaults = specifier.type === 'ExportDefaultSpecifier' ? 'default' : '*';
  return {
    ...baseOf(reader, exported ?? '*', specifier),
    typeOnly: isType(statement) || isType(specifier),
    doc: specifierDoc(reader, statement, specifier),
    kind: 'reexport',
    source: stringOf(child(statement, 'source')) ?? '',
    imported: nameOf(child(specifier, 'local')) ?? defaults,
  };
}

function expressionExport(scope: Scope, statement: Node, expression: Node, name: string): ExportDefinition[] {
  if (expression.type === 'ParenthesizedExpression') {
    return expressionExport(scope, statement, expression.expression, name);
  }
  const { reader, byName } = scope;
  const base = { ...baseOf(reader, name, expression), doc: reader.doc(statement) };
  if (expression.type === 'Identifier') {
    const declarations = byName.get(expression.name) ?? [];
    if (declarations.length > 0) return describeAs(declarations, name, false, base.doc);
    return [{ ...base, local: expression.name, kind: 'unknown', type: null }];
  }
  const value = describeValue(reader, expression, classValue);
  if (value?.kind === 'function') return [{ ...base, ...value, declare: false, overloads: [] }];
  if (value?.kind === 'class') return [{ ...base, ...value, declare: false }];
  return [{ ...base, kind: 'expression', type: reader.typeText(child(expression, 'typeAnnotation')) }];
}

const baseOf = (reader: Reader, name: string, node: Node): ExportBase => ({
  name,
  local: null,
  typeOnly: false,
  doc: reader.doc(node),
  place: reader.place(node),
});
