import type { NodePath, types } from '@babel/core';
import type { NativeImport } from './imports.js';
import type { Resolution } from './protocol.js';

type Node = types.Node;

/** A plugin for `rewrite` to be what happens last to the output's syntax tree before Babel generates code and map. */
export const rewritingPlugin = (rewrite: (output: Node) => Promise<void>): object => ({
  // There is nothing to traverse for.
  visitor: { Program: (path: NodePath) => path.skip() },
  post: ({ ast }: { ast: Node }) => rewrite(ast),
});

export function rewriteNodes(imports: readonly NativeImport[], resolution: Resolution): void {
  for (const { literal, specifier } of imports) {
    const value = resolution.get(specifier);
    if (value === undefined) continue;
    // In place, so that comments and the place in the source stay. A plugin may use one node twice.
    Object.assign(literal, { type: 'StringLiteral', value, extra: undefined });
  }
}

export function rewriteText(
  source: string,
  imports: readonly NativeImport[],
  resolution: Resolution,
): string {
  const parts: string[] = [];
  let end = 0;
  for (const { literal, specifier } of imports) {
    const value = resolution.get(specifier);
    if (value === undefined || literal.start == null || literal.end == null) continue;
    parts.push(source.slice(end, literal.start), JSON.stringify(value));
    end = literal.end;
  }
  return parts.join('') + source.slice(end);
}
