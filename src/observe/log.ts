import type { ModuleCache } from '../cache.js';
import { listen } from './readings.js';

/** What is used of a logger of pino, or of any that takes an object and a message. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface ModuleCacheLog {
  /** To be called when the cache is closed. */
  close(): void;
}

/**
 * Logs what a cache tells about itself, errors under `err`. Answers, misses and heartbeats are left to metrics and
 * traces: they are too many, and a log of them would cost more than they do.
 */
export function logModuleCache(cache: ModuleCache, logger: Logger): ModuleCacheLog {
  const close = listen(cache, {
    produced: ({ id, ms, putMs, reason }) =>
      logger.debug({ ...id, ms, putMs, reason }, 'a module was produced'),
    failed: ({ id, ms, error }) => logger.info({ ...id, ms, err: error }, 'a production failed'),
    absent: ({ id, ms }) => logger.debug({ ...id, ms }, 'there is no such module'),
    stale: ({ id, reason }) =>
      logger.debug({ ...id, reason }, 'an answer was outdated before it could be kept'),
    invalidated: ({ scope, realm, paths, xid, dropped }) =>
      logger.debug({ scope, realm, paths, xid, dropped }, 'an invalidation was applied'),
    dropped: ({ reason }) => logger.info({ reason }, 'all of memory was dropped'),
    disconnected: ({ error }) => logger.warn({ err: error }, 'the dedicated connection is lost'),
    'caught-up': ({ changes, complete, ms }) =>
      logger.info({ changes, complete, ms }, 'the cache has caught up'),
    away: ({ error }) => logger.warn({ err: error }, 'the database is away'),
    back: () => logger.info({}, 'the database is back'),
    collected: (rows) => logger.debug({ ...rows }, 'garbage was collected'),
    rechecked({ id, withinMs, isBound, outcome }) {
      if (outcome === 'inconsistent' && isBound)
        logger.warn({ ...id, withinMs }, 'an answer from memory was older than maxStalenessMs');
    },
    warning: ({ message, error }) => logger.warn(error === undefined ? {} : { err: error }, message),
  });
  return { close };
}
