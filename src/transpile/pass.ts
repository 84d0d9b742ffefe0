import type { TransformOptions } from '@babel/core';

/** Babel's options with a plugin that comes after all others, those of presets that have their own pass included. */
export function withLastPlugin(options: TransformOptions, plugin: object): TransformOptions {
  const presets = [...(options.presets ?? []), { plugins: [plugin] }];
  // What is in the configuration keeps the pass that it has; ours gets one of its own.
  const ownPass = { presets, passPerPreset: true };
  return { ...options, ...(ownPass as object) };
}
