import type { ModuleCache } from '../cache.js';
import { mapConcurrently } from '../concurrency.js';
import { isNoSuchModule } from '../errors.js';
import type { Product } from '../types.js';
import { createSourceGuard } from './guard.js';
import type { ModuleSource } from './source.js';

export interface WarmProgress {
  /** Modules of the source; all other figures are parts of it. */
  readonly total: number;
  /** Compiled here. */
  readonly produced: number;
  /** Compiled by another process meanwhile. */
  readonly coalesced: number;
  /** Found as they are, from an earlier run or from a fleet that serves. */
  readonly present: number;
  /** Deleted since they were listed. */
  readonly gone: number;
}

export interface WarmResult extends WarmProgress {
  /** Canonical paths of modules that do not compile, with what the compiler says; part of the counts above. */
  readonly failures: readonly { readonly path: string; readonly body: string }[];
}

export interface WarmOptions {
  cache: ModuleCache;
  /** URL of the realm. */
  realm: string;
  source: ModuleSource;
  /** Makes the artifacts of one variant, such as `createModuleProducer`. */
  producer: {
    readonly variant: string;
    produce(path: string, context: { readonly signal: AbortSignal }): Promise<Product>;
  };
  /** Modules in production at once. */
  concurrency: number;
  /** Ends it between two modules; what was compiled is stored. */
  signal?: AbortSignal;
  onProgress?(progress: WarmProgress): void;
}

/**
 * Has every module of a source compiled and stored, once in the whole fleet: beside processes that serve, and beside
 * others that warm, each module is produced by one of them. What is stored already is only compared with its source,
 * so that an interrupted run goes on where it was.
 *
 * @throws the signal's reason; the first error that is none of a module's own
 */
export async function warmRealm(options: WarmOptions): Promise<WarmResult> {
  const { cache, realm, source, producer, signal } = options;
  const guard = createSourceGuard({ cache, realm, source });
  const failed = new AbortController();
  const ended = AbortSignal.any([failed.signal, ...(signal === undefined ? [] : [signal])]);
  const paths: string[] = [];
  for await (const path of source.list()) {
    ended.throwIfAborted();
    paths.push(path);
  }
  const counts = { total: paths.length, produced: 0, coalesced: 0, present: 0, gone: 0 };
  const failures: { path: string; body: string }[] = [];

  async function warm(path: string): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      const module = await cache.getOrProduce(
        { realm, path, variant: producer.variant },
        (context) => producer.produce(path, context),
        { signal: ended },
      );
      const isStored = module.source === 'l1' || module.source === 'l2';
      if (isStored && tries < MAX_TRIES && !(await guard.isCurrent(path, module))) continue;
      if (module.status === 'error') failures.push({ path, body: module.body });
      counts[isStored ? 'present' : (module.source as 'produced' | 'coalesced')] += 1;
      return;
    }
  }

  await mapConcurrently(paths, options.concurrency, async (path) => {
    ended.throwIfAborted();
    try {
      await warm(path);
    } catch (error) {
      if (!isNoSuchModule(error)) {
        failed.abort(error);
        throw error;
      }
      counts.gone += 1;
    }
    options.onProgress?.({ ...counts });
  });
  return { ...counts, failures: failures.sort((a, b) => (a.path < b.path ? -1 : 1)) };
}

/** Of a module that is edited again and again while it is looked at. */
const MAX_TRIES = 3;
