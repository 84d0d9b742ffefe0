import { dependencyKeyOf } from '../keys.js';
import type { ArtifactRow } from './database.js';
import type { ModuleStatus, RealmGraph } from './messages.js';

export interface GraphLimits {
  readonly maxModules: number;
  /** More rows than that mean that there are more. */
  readonly maxArtifacts: number;
}

const better: readonly ModuleStatus[] = ['dead', 'error', 'live'];

/** Joins the artifacts of each module, whatever their kind and variant, and the modules by what they declare. */
export function graphOf(
  realm: string,
  rows: readonly ArtifactRow[],
  { maxModules, maxArtifacts }: GraphLimits,
): RealmGraph {
  const modules = new Map<string, { status: ModuleStatus; keys: Set<string> }>();
  for (const { path, status, dependencies } of rows.slice(0, maxArtifacts)) {
    const module = modules.get(path) ?? { status, keys: new Set() };
    if (better.indexOf(status) > better.indexOf(module.status)) module.status = status;
    for (const key of dependencies) module.keys.add(key);
    if (modules.size < maxModules) modules.set(path, module);
  }
  const paths = [...modules.keys()];
  // Several modules can have one key, and a change of either is one of the key.
  const owners = new Map<string, number[]>();
  for (const [index, path] of paths.entries()) {
    const key = dependencyKeyOf(path);
    owners.set(key, [...(owners.get(key) ?? []), index]);
  }
  const edges: number[] = [];
  for (const [index, { keys }] of [...modules.values()].entries()) {
    for (const key of keys) {
      for (const target of owners.get(key) ?? []) if (target !== index) edges.push(index, target);
    }
  }
  const statuses = [...modules.values()].map(({ status }) => status);
  const isTruncated = rows.length > maxArtifacts || rows.some(({ path }) => !modules.has(path));
  return { realm, paths, statuses, edges, isTruncated };
}
