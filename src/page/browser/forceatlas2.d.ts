// The parts of the library that its own worker is made of; it has no types for them.
declare module 'graphology-layout-forceatlas2/defaults.js' {
  const defaults: Record<string, number | boolean>;
  // biome-ignore lint/style/noDefaultExport: this is how the library exports it
  export default defaults;
}

declare module 'graphology-layout-forceatlas2/iterate.js' {
  // biome-ignore lint/style/noDefaultExport: this is how the library exports it
  export default function iterate(
    settings: Record<string, number | boolean>,
    nodes: Float32Array,
    edges: Float32Array,
  ): unknown;
}
