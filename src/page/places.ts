import type { GraphModel } from './graph-model.js';

/** Where each module is, by its path. */
export type Places = Map<string, { readonly x: number; readonly y: number }>;

/**
 * A place for each module to begin with: where it was; else near one that it imports; else with those of its folder.
 * Known places become these, and those of modules that are gone are forgotten.
 */
export function firstPlaces({ paths, dependencies, indexOf }: GraphModel, known: Places): Float32Array {
  const folders = [...new Set(paths.map(folderOf))].sort();
  const radius = 10 * Math.sqrt(paths.length);
  const positions = new Float32Array(2 * paths.length);
  for (const [index, path] of paths.entries()) {
    const importsOf = dependencies[index]?.find((other) => known.has(paths[other] as string));
    const neighbour = importsOf === undefined ? undefined : known.get(paths[importsOf] as string);
    const angle = (2 * Math.PI * folders.indexOf(folderOf(path))) / folders.length;
    const near = neighbour ?? { x: radius * Math.cos(angle), y: radius * Math.sin(angle) };
    // Golden angle: no two in the same place, and the same picture each time.
    const turn = index * 2.399963;
    const away = neighbour === undefined ? 0.3 * radius * Math.sqrt((index + 1) / paths.length) : radius / 50;
    const place = known.get(path) ?? { x: near.x + away * Math.cos(turn), y: near.y + away * Math.sin(turn) };
    positions.set([place.x, place.y], 2 * index);
  }
  for (const path of known.keys()) if (indexOf(path) === undefined) known.delete(path);
  keepPlaces(paths, positions, known);
  return positions;
}

/** @param positions x and y of each path */
export function keepPlaces(paths: readonly string[], positions: Float32Array, known: Places): void {
  for (const [index, path] of paths.entries())
    known.set(path, { x: positions[2 * index] as number, y: positions[2 * index + 1] as number });
}

const folderOf = (path: string): string => path.slice(0, path.lastIndexOf('/') + 1);
