import { dependencyKeyOf } from '../keys.js';
import type { ArtifactRow } from './database.js';
import type { ModuleStatus, RealmGraph } from './messages.js';

const better: readonly ModuleStatus[] = ['dead', 'error', 'live'];

/** Joins the artifacts of each module, whatever their kind and variant, and the modules by what they declare. */
export function graphOf(realm: string, rows: readonly ArtifactRow[], maxModules: number): RealmGraph {
  const modules = new Map<string, { status: ModuleStatus; keys: Set<string> }>();
  for (const { path, status, dependencies } of rows) {
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
  return { realm, paths, statuses, edges, isTruncated: rows.some(({ path }) => !modules.has(path)) };
}
