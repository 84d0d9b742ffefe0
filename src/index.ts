export { type ModuleCache, openModuleCache } from './cache.js';
export type { Connection } from './connection.js';
export { type Database, openKysely } from './database.js';
export { ModuleCacheError, type ModuleCacheErrorCode } from './errors.js';
export type { CacheEmitter, CacheEvents } from './events.js';
export { dependencyKeyOf, normalizeDependency, normalizePath, normalizeRealm } from './keys.js';
export type { ModuleCacheOptions } from './options.js';
export type {
  ArtifactRequest,
  CachedModule,
  Consistency,
  Headers,
  InvalidateOptions,
  Invalidation,
  Json,
  Producer,
  ProducerContext,
  Product,
  ReadOptions,
  ServedModule,
  Source,
} from './types.js';
