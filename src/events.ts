import { EventEmitter } from 'node:events';
import type { Activity } from './activity.js';
import type { ArtifactId } from './keys.js';

/**
 * What a cache tells about itself. Listeners run synchronously. What one of them throws is thrown again on its own, as
 * an uncaught exception: it can keep no invalidation from being applied, and fail no request.
 */
export interface CacheEvents {
  /** An answer came out of memory (l1) or the database (l2). */
  hit: [{ id: ArtifactId; source: 'l1' | 'l2' }];
  /** Nothing live was there. */
  miss: [{ id: ArtifactId }];
  /**
   * This process produced it, in so many ms, of which `putMs` went into storing it; `reason` is what `put` answered,
   * `failed` if there was no answer, or `away`.
   */
  produced: [{ id: ArtifactId; ms: number; putMs: number; reason: string }];
  /** The producer threw, after so many ms, and not because there is no such module. */
  failed: [{ id: ArtifactId; ms: number; error: unknown }];
  /** The producer found, after so many ms, that there is no such module: it threw MC105. No failure. */
  absent: [{ id: ArtifactId; ms: number }];
  /** The answer is the work of another caller or process. */
  coalesced: [{ id: ArtifactId }];
  /** An answer or a fill was outdated by an invalidation before it could be kept. */
  stale: [{ id: ArtifactId; reason: string }];
  /** An invalidation was applied to this process' memory. */
  invalidated: [
    {
      /** `private`: something in a private realm that this process may not see. */
      scope: 'module' | 'realm' | 'global' | 'private';
      realm?: string;
      paths?: readonly string[];
      /** The transaction that invalidated; not there if the notification was sent by hand. */
      xid?: string;
      /** Entries that memory dropped. */
      dropped: number;
    },
  ];
  /** Everything in memory was dropped, because what was missed cannot be told. */
  dropped: [{ reason: string }];
  /** The dedicated connection is gone; reconnecting. */
  disconnected: [{ error: unknown }];
  /** A catch-up is complete again after a start or a disconnection. */
  'caught-up': [{ changes: number; complete: boolean; ms: number }];
  /** The log was asked, at a heartbeat or between two, and answered within so many ms. */
  asked: [{ changes: number; complete: boolean; ms: number }];
  /** The database cannot be used; calls fail at once until it can. */
  away: [{ error: unknown }];
  /** The database can be used again. */
  back: [Record<string, never>];
  /** This process, elected for it, has collected a batch of garbage: how many rows it removed, and how many it moved. */
  collected: [{ artifacts: number; renewed: number; generations: number; invalidations: number }];
  /**
   * A sampled answer of memory was checked: whether so many ms after the database had shown it to be outdated it was
   * still served (`inconsistent`), or not, or never was outdated (`consistent`). `unknown`: the database was away, or
   * what is stored differs and the log does not say why. Where `isBound`, `withinMs` is `maxStalenessMs`, and
   * `inconsistent` breaks what the cache promises.
   */
  rechecked: [
    {
      id: ArtifactId;
      withinMs: number;
      isBound: boolean;
      outcome: 'consistent' | 'inconsistent' | 'unknown';
    },
  ];
  /** Something went wrong that no caller sees. */
  warning: [{ message: string; error?: unknown }];
}

export type CacheEmitter = EventEmitter<CacheEvents>;

/** @param observe is told before the listeners are, whoever removes those. */
export function createEmitter(observe: Activity['observe'] = () => {}): CacheEmitter {
  const emitter: CacheEmitter = new EventEmitter<CacheEvents>();
  const emit = emitter.emit.bind(emitter) as (...args: unknown[]) => boolean;
  emitter.emit = ((event: keyof CacheEvents, payload: never, ...more: unknown[]) => {
    observe(event, payload);
    try {
      // Of its own events, newListener and removeListener, Node says more.
      return emit(event, payload, ...more);
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
      return true;
    }
  }) as typeof emitter.emit;
  return emitter;
}
