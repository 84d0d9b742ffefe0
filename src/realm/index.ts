export { type CompareOptions, compareWithStored, SOURCE_HASH_HEADER } from './compare.js';
export { openDirectory } from './directory.js';
export { createSourceGuard, type SourceGuard, type SourceGuardOptions } from './guard.js';
export { candidatesOf, type ModuleSource, type SourceFile } from './source.js';
export { openTable, type TableOptions } from './table.js';
export {
  type WarmOptions,
  type WarmProgress,
  type WarmResult,
  warmRealm,
} from './warm.js';
export { type RealmWatcher, type WatchOptions, watchRealm } from './watch.js';
