import { isAway } from '../away.js';
import type { ModuleCache } from '../cache.js';
import type { SourceGuard } from '../realm/guard.js';
import type { ModuleSource } from '../realm/source.js';
import type { ServedModule } from '../types.js';
import { type ModuleProducer, noSuchModule } from './producer.js';

/** What one request wants to read. */
export interface Wanted {
  /** As it was asked for: a canonical path, or another name of a module. */
  readonly path: string;
  readonly kind: 'transpile' | 'definition';
  /** Coherence token that the answer has to have seen. */
  readonly after: string | undefined;
  readonly signal: AbortSignal;
}

export interface Found {
  readonly module: ServedModule;
  readonly canonicalPath: string;
  readonly variant: string;
}

export interface ReaderOptions {
  readonly cache: ModuleCache;
  readonly realm: string;
  readonly source: ModuleSource;
  readonly guard: SourceGuard;
  readonly producers: { readonly [kind in Wanted['kind']]: ModuleProducer };
}

/** How often the cache is asked again for a module whose source is another than it was made from. */
const MAX_TRIES = 3;

/** Finds what is served: in the cache, or made for it. @throws ModuleCacheError MC105 if there is no such module */
export function createReader({
  cache,
  realm,
  source,
  guard,
  producers,
}: ReaderOptions): (wanted: Wanted) => Promise<Found> {
  async function read({ path, kind, after, signal: aborted }: Wanted, strong: boolean): Promise<Found> {
    const producer = producers[kind];
    // Memory knows canonical paths only, and needs no look at the source for them.
    if (after === undefined && !strong) {
      const { variant } = producer;
      const module = cache.peek({ realm, path, kind, variant });
      if (module !== undefined) return { module, canonicalPath: path, variant };
    }
    const canonicalPath = await source.resolve(path);
    if (canonicalPath === undefined) throw noSuchModule(path);
    // Under the name of its folder a module's relative specifiers start one folder higher.
    const folder = folderOf(path);
    const isShifted = kind === 'transpile' && folder !== folderOf(canonicalPath);
    const variant = isShifted ? `${producer.variant}~folder` : producer.variant;
    const module = await cache.getOrProduce(
      { realm, path: canonicalPath, kind, variant },
      ({ signal }) => producer.produce(canonicalPath, isShifted ? { signal, folder } : { signal }),
      {
        signal: aborted,
        ...(after === undefined ? {} : { after }),
        ...(strong ? { consistency: 'strong' } : {}),
      },
    );
    return { module, canonicalPath, variant };
  }

  return async (wanted) => {
    let strong = false;
    for (let tries = 1; ; tries += 1) {
      const found = await read(wanted, strong);
      const { module, canonicalPath } = found;
      if (module.source === 'produced' || module.source === 'coalesced' || tries > MAX_TRIES) return found;
      try {
        if (await guard.isCurrent(canonicalPath, module)) return found;
      } catch (error) {
        // It is outdated, and that cannot be told to anybody: memory must not answer, with or without the database.
        if (!isAway(error)) throw error;
        strong = true;
      }
    }
  };
}

/** With its final slash; `` for the root. */
export const folderOf = (path: string): string => path.slice(0, path.lastIndexOf('/') + 1);
