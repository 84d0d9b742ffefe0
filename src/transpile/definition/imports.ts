import { child, isType, type Node, nameOf, stringOf, walk } from './nodes.js';
import type { Reader } from './reader.js';
import type { ImportDefinition, ImportedName } from './types.js';

export function describeImports(reader: Reader, program: Node): ImportDefinition[] {
  const imports: ImportDefinition[] = [];
  walk(program, (node) => {
    const found = describeImport(node);
    if (found !== null) imports.push({ ...found, place: reader.place(node) });
  });
  return imports;
}

function describeImport(node: Node): Omit<ImportDefinition, 'place'> | null {
  switch (node.type) {
    case 'ImportDeclaration':
      return {
        specifier: node.source.value,
        kind: isType(node) ? 'type' : node.specifiers.length === 0 ? 'side-effect' : 'value',
        names: node.specifiers.map((specifier) => importedName(specifier, isType(node))),
      };
    case 'ExportNamedDeclaration': {
      // Nothing is exported, but the module runs.
      const specifier = node.specifiers.length === 0 ? stringOf(child(node, 'source')) : null;
      return specifier === null ? null : { specifier, kind: 'side-effect', names: [] };
    }
    case 'TSImportEqualsDeclaration': {
      const specifier = stringOf(child(child(node, 'moduleReference'), 'expression'));
      if (specifier === null) return null;
      const local = nameOf(child(node, 'id')) ?? '';
      const names = [{ imported: 'export=', local, typeOnly: isType(node) }];
      return { specifier, kind: isType(node) ? 'type' : 'value', names };
    }
    case 'ImportExpression':
      return literalImport(node.source, 'dynamic');
    case 'CallExpression':
      return node.callee.type === 'Import' ? literalImport(node.arguments[0] ?? null, 'dynamic') : null;
    case 'TSImportType':
      return literalImport(child(node, 'source', 'argument'), 'type');
    default:
      return null;
  }
}

function literalImport(
  source: Node | null,
  kind: 'dynamic' | 'type',
): Omit<ImportDefinition, 'place'> | null {
  const specifier = stringOf(source);
  return specifier === null ? null : { specifier, kind, names: [] };
}

/** Of a specifier in an import declaration. */
export const importedName = (specifier: Node, typeOnly: boolean): ImportedName => ({
  imported:
    specifier.type === 'ImportDefaultSpecifier'
      ? 'default'
      : specifier.type === 'ImportNamespaceSpecifier'
        ? '*'
        : (nameOf(child(specifier, 'imported')) ?? ''),
  local: nameOf(child(specifier, 'local')) ?? '',
  typeOnly: typeOnly || isType(specifier),
});
