import type { ModuleStatus, RealmGraph } from './messages.js';

/** The modules of one realm, by their positions, with their edges in both directions. */
export interface GraphModel {
  readonly realm: string;
  readonly paths: readonly string[];
  readonly statuses: readonly ModuleStatus[];
  /** Pairs: a module and one that it depends on. */
  readonly edges: readonly number[];
  readonly isTruncated: boolean;
  indexOf(path: string): number | undefined;
  readonly dependencies: readonly (readonly number[])[];
  readonly dependents: readonly (readonly number[])[];
}

export function modelOf(graph: RealmGraph): GraphModel {
  const { paths, edges } = graph;
  const indexes = new Map(paths.map((path, index) => [path, index]));
  const dependencies: number[][] = paths.map(() => []);
  const dependents: number[][] = paths.map(() => []);
  for (let edge = 0; edge < edges.length; edge += 2) {
    const [from, to] = [edges[edge] as number, edges[edge + 1] as number];
    dependencies[from]?.push(to);
    dependents[to]?.push(from);
  }
  return { ...graph, indexOf: (path) => indexes.get(path), dependencies, dependents };
}

/** A module that an invalidation reached, how many imports away from a named one, and through which module. */
export interface Reached {
  readonly index: number;
  readonly distance: number;
  /** -1 for one that was named. */
  readonly through: number;
}

/**
 * Who is reached from the named modules over their importers, the nearest first; each once, by a shortest way.
 *
 * @param within only these, if they are known
 */
export function reach(
  { dependents }: GraphModel,
  named: readonly number[],
  within?: ReadonlySet<number>,
): Reached[] {
  const seen = new Set(named);
  const reached: Reached[] = [...seen].map((index) => ({ index, distance: 0, through: -1 }));
  for (let next = 0; next < reached.length; next += 1) {
    const { index, distance } = reached[next] as Reached;
    for (const dependent of dependents[index] ?? []) {
      if (seen.has(dependent) || within?.has(dependent) === false) continue;
      seen.add(dependent);
      reached.push({ index: dependent, distance: distance + 1, through: index });
    }
  }
  return reached;
}
