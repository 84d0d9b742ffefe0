import type { NodePath, TransformOptions, types } from '@babel/core';
import type { NativeImport } from './imports.js';
import type { Resolution } from './protocol.js';

type Node = types.Node;

/**
 * Babel's options with `rewrite` as the last that happens to the output's syntax tree, so that Babel itself generates
 * the code and its map from what is left behind.
 */
export function withLastPass(
  options: TransformOptions,
  rewrite: (output: Node) => Promise<void>,
): TransformOptions {
  const plugin = {
    // There is nothing to traverse for.
    visitor: { Program: (path: NodePath) => path.skip() },
    post: ({ ast }: { ast: Node }) => rewrite(ast),
  };
  const presets = [...(options.presets ?? []), { plugins: [plugin] }];
  // What is in the configuration keeps the pass that it has; ours gets one of its own.
  const ownPass = { presets, passPerPreset: true };
  return { ...options, ...(ownPass as object) };
}

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
