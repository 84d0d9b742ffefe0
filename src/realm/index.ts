export { compareWithStored, SOURCE_HASH_HEADER } from './compare.js';
export { openDirectory } from './directory.js';
export { candidatesOf, type ModuleSource, type SourceFile } from './source.js';
export { type RealmWatcher, type WatchOptions, watchRealm } from './watch.js';
