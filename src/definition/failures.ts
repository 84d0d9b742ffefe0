import type { CachedModule } from '../types.js';
import { type DefinitionFailure, dependenciesOf, errorsOf, ownFailure, type Stored } from './answer.js';

interface Name {
  readonly realm: string;
  readonly path: string;
}

/**
 * What is wrong with the modules that each of `roots` was built from, transitively. Asked at each lookup, because an
 * error has a life of its own, and a dependency may be looked up long after what was built from it. Only what is
 * cached counts: `load` is called once for each step away from the roots, with modules that it was not asked for yet.
 */
export async function collectFailures(
  roots: readonly Stored[],
  load: (names: readonly Name[]) => Promise<readonly (CachedModule | undefined)[]>,
): Promise<DefinitionFailure[][]> {
  const known = new Map<string, Stored | undefined>(roots.map((root) => [keyOf(root), root]));
  for (let front: readonly Stored[] = roots; front.length > 0; ) {
    const next = new Map<string, Name>();
    for (const name of front.flatMap(dependenciesOf)) {
      if (!known.has(keyOf(name))) next.set(keyOf(name), name);
    }
    const names = [...next.values()];
    const modules = names.length === 0 ? [] : await load(names);
    front = names.flatMap((name, index) => {
      const module = modules[index];
      const stored = module === undefined ? undefined : { ...name, module };
      known.set(keyOf(name), stored);
      return stored ?? [];
    });
  }
  return roots.map((root) => failuresBelow(root, known));
}

/** Nearest first, each once; not what is wrong with the root itself, even if a cycle leads back to it. */
function failuresBelow(root: Stored, known: ReadonlyMap<string, Stored | undefined>): DefinitionFailure[] {
  const found = new Map<string, DefinitionFailure>();
  const add = (failure: DefinitionFailure): void => {
    const identity = identityOf(failure);
    if (!found.has(identity)) found.set(identity, failure);
  };
  const reached = new Set([keyOf(root)]);
  const queue: Stored[] = [root];
  // The queue grows while it is walked.
  for (const stored of queue) {
    if (stored !== root && stored.module.status === 'error') add(ownFailure(stored));
    for (const error of errorsOf(stored)) add(error);
    for (const name of dependenciesOf(stored)) {
      const key = keyOf(name);
      if (reached.has(key)) continue;
      reached.add(key);
      const dependency = known.get(key);
      if (dependency !== undefined) queue.push(dependency);
    }
  }
  if (root.module.status === 'error') found.delete(identityOf(ownFailure(root)));
  return [...found.values()];
}

const keyOf = ({ realm, path }: Name): string => `${realm}\0${path}`;
const identityOf = ({ realm, path, message }: DefinitionFailure): string =>
  JSON.stringify([realm, path, message]);
