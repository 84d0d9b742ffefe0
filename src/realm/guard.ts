import { LRUCache } from 'lru-cache';
import type { ModuleCache } from '../cache.js';
import { requireRealm } from '../keys.js';
import type { CachedModule } from '../types.js';
import { SOURCE_HASH_HEADER } from './hash.js';
import type { ModuleSource } from './source.js';

/**
 * Ties what the cache answers to the source as it is: the second line of defence, for a change whose invalidation got
 * lost with the process that should have made it.
 */
export interface SourceGuard {
  /**
   * True if the module was made from the source as it is now, or was found so less than `recheckMs` ago by this process;
   * then at once, without a promise. False if it was made from another text, or the source is gone: the path has been
   * invalidated by then, in all processes and with its importers, and the caller asks the cache again.
   *
   * Hosts that keep different files under one realm would invalidate each other's modules for ever. A process therefore
   * invalidates a path at most once within `recheckMs`; until then it is served as it comes.
   *
   * @throws what the source or the cache throws: a module that cannot be compared is not called current
   */
  isCurrent(path: string, module: CachedModule): boolean | Promise<boolean>;
}

export interface SourceGuardOptions {
  cache: ModuleCache;
  /** URL of the realm whose modules come from `source`. */
  realm: string;
  source: ModuleSource;
  /** How long a comparison holds, in ms: so long can a change be served late whose invalidation was lost. 5,000. */
  recheckMs?: number;
}

/** By the clock that says more: the monotonic one stands still in suspend. */
interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}

/** What this process knows of one path. */
interface Knowledge {
  /** Taken before the text was read, so that a change in between is seen the next time. */
  stamp: string | undefined;
  hash: string | undefined;
  lookedAt: Moment;
  invalidatedAt: Moment | undefined;
}

/** Some hundred bytes each. What is forgotten is compared anew. */
const MAX_PATHS = 20_000;

/** @throws ModuleCacheError MC001 for a realm that is none */
export function createSourceGuard(options: SourceGuardOptions): SourceGuard {
  const { cache, source, recheckMs = 5_000 } = options;
  const realm = requireRealm(options.realm);
  const known = new LRUCache<string, Knowledge>({ max: MAX_PATHS });
  const looks = new Map<string, Promise<Knowledge>>();
  const invalidations = new Map<string, Promise<void>>();

  const isRecent = (moment: Moment): boolean =>
    performance.now() - moment.monotonic < recheckMs && Date.now() - moment.wall < recheckMs;

  async function look(path: string): Promise<Knowledge> {
    const lookedAt = now();
    const previous = known.get(path);
    const stamp = await source.stamp(path);
    const isSame = previous !== undefined && previous.stamp === stamp;
    const hash = stamp === undefined ? undefined : isSame ? previous.hash : (await source.read(path))?.hash;
    const knowledge = { stamp, hash, lookedAt, invalidatedAt: known.get(path)?.invalidatedAt };
    known.set(path, knowledge);
    return knowledge;
  }

  async function invalidate(path: string): Promise<void> {
    await cache.invalidate(realm, [path]);
    const knowledge = known.get(path);
    if (knowledge !== undefined) knowledge.invalidatedAt = now();
  }

  async function compare(path: string, hash: string): Promise<boolean> {
    const began = performance.now();
    const running = looks.get(path);
    // What is on its way may have begun before the caller's module was made: enough to say that it is current, no more.
    if (running !== undefined && (await running).hash === hash) return true;
    if ((await shared(looks, path, () => look(path))).hash === hash) return true;
    const { invalidatedAt } = known.get(path) ?? {};
    if (invalidatedAt !== undefined && isRecent(invalidatedAt)) {
      // What the caller holds may come from before the invalidation that another one has just made.
      return invalidatedAt.monotonic < began;
    }
    await shared(invalidations, path, () => invalidate(path));
    return false;
  }

  return {
    isCurrent(path, module) {
      if (source.isTransactional) return true;
      const hash = module.headers[SOURCE_HASH_HEADER];
      // Not made from a source of a realm, or not by a producer that says so.
      if (typeof hash !== 'string') return true;
      const knowledge = known.get(path);
      if (knowledge !== undefined && knowledge.hash === hash && isRecent(knowledge.lookedAt)) return true;
      return compare(path, hash);
    },
  };
}

const now = (): Moment => ({ monotonic: performance.now(), wall: Date.now() });

/** What is on its way for this path is waited for, not done once more. */
function shared<T>(running: Map<string, Promise<T>>, path: string, work: () => Promise<T>): Promise<T> {
  const current = running.get(path);
  if (current !== undefined) return current;
  const begun = work().finally(() => running.delete(path));
  running.set(path, begun);
  return begun;
}
