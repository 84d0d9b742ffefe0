import { LRUCache } from 'lru-cache';
import type { ArtifactId } from './keys.js';
import { isVisible, type SeenUpTo } from './snapshot.js';
import type { CachedModule, ServedModule } from './types.js';

/** One artifact in the memory of this process, with what decides whether it may still be served. */
export interface L1Entry {
  readonly id: ArtifactId;
  readonly module: CachedModule;
  /** Keys whose invalidation drops this entry. */
  readonly covers: readonly string[];
  /** Token of the read or production that it came from. */
  readonly token: string;
  readonly seen: SeenUpTo;
  /** Times in ms from which on it is not served, whichever comes first: the monotonic clock stands still in suspend. */
  readonly expires: { readonly monotonic: number; readonly wall: number } | undefined;
  /** What was answered last, and what the cursor had seen then: its token holds as long as the cursor stands still. */
  answer?: { readonly cursor: SeenUpTo | undefined; readonly module: ServedModule };
}

export interface L1 {
  get(id: ArtifactId): L1Entry | undefined;
  set(entry: L1Entry): void;
  delete(entry: L1Entry): void;
  /** Drops every entry that covers one of the keys and whose snapshot has not seen the transaction. */
  drop(covers: readonly string[], xid: bigint | undefined): number;
  clear(): void;
  /** `covers` counts the keys by which entries can be found. */
  stats(): { entries: number; bytes: number; covers: number };
}

/** Rough sizes beyond the texts: objects, and slots in maps and sets. */
const ENTRY_OVERHEAD_BYTES = 500;
const COVER_OVERHEAD_BYTES = 100;
const TRANSACTION_BYTES = 64;

/** @param maxBytes bound for bodies, headers, keys and tokens together, in bytes of UTF-8 */
export function createL1(maxBytes: number): L1 {
  const index = new Map<string, Set<L1Entry>>();
  const names = createNames<L1Entry>();
  // Keyed by the entry itself, and found by name: a key made of four strings would have to be built and hashed at
  // every hit.
  const entries = new LRUCache<L1Entry, L1Entry>({
    maxSize: maxBytes,
    sizeCalculation: sizeOf,
    dispose: unindex,
  });

  function unindex(entry: L1Entry): void {
    names.delete(entry.id, entry);
    for (const cover of entry.covers) {
      const covered = index.get(cover);
      covered?.delete(entry);
      if (covered?.size === 0) index.delete(cover);
    }
  }

  return {
    get(id) {
      const entry = names.get(id);
      return entry === undefined ? undefined : entries.get(entry);
    },
    set(entry) {
      const previous = names.get(entry.id);
      if (previous !== undefined) entries.delete(previous);
      // lru-cache leaves out what is larger than the whole cache, so the index may only hold what was kept.
      entries.set(entry, entry);
      if (entries.peek(entry) === undefined) return;
      names.set(entry.id, entry);
      for (const cover of entry.covers) {
        const covered = index.get(cover);
        if (covered === undefined) index.set(cover, new Set([entry]));
        else covered.add(entry);
      }
    },
    delete: (entry) => void entries.delete(entry),
    drop(covers, xid) {
      let dropped = 0;
      for (const cover of covers) {
        for (const entry of index.get(cover) ?? []) {
          if (xid !== undefined && isVisible(xid, entry.seen.snapshot)) continue;
          entries.delete(entry);
          dropped += 1;
        }
      }
      return dropped;
    },
    clear: () => entries.clear(),
    stats: () => ({ entries: entries.size, bytes: entries.calculatedSize, covers: index.size }),
  };
}

function sizeOf(entry: L1Entry): number {
  const { body, headers, dependencyKeys } = entry.module;
  const { realm, path, kind, variant } = entry.id;
  let bytes =
    ENTRY_OVERHEAD_BYTES + Buffer.byteLength(body) + Buffer.byteLength(realm + path + kind + variant);
  bytes += Buffer.byteLength(JSON.stringify(headers)) + entry.token.length;
  bytes += entry.seen.snapshot.xip.size * TRANSACTION_BYTES;
  for (const key of dependencyKeys) bytes += Buffer.byteLength(key);
  for (const cover of entry.covers) bytes += COVER_OVERHEAD_BYTES + Buffer.byteLength(cover);
  return bytes;
}

interface Names<T> {
  get(id: ArtifactId): T | undefined;
  set(id: ArtifactId, value: T): void;
  /** Only if the name still stands for `value`. */
  delete(id: ArtifactId, value: T): void;
}

/** A map from artifact keys that looks up their four strings one after the other, and keeps no empty map. */
function createNames<T>(): Names<T> {
  const realms = new Map<string, Map<string, Map<string, Map<string, T>>>>();
  const within = <V>(map: Map<string, Map<string, V>>, key: string): Map<string, V> => {
    const inner = map.get(key) ?? new Map<string, V>();
    map.set(key, inner);
    return inner;
  };
  return {
    get: ({ realm, path, kind, variant }) => realms.get(realm)?.get(kind)?.get(variant)?.get(path),
    set({ realm, path, kind, variant }, value) {
      within(within(within(realms, realm), kind), variant).set(path, value);
    },
    delete({ realm, path, kind, variant }, value) {
      const kinds = realms.get(realm);
      const variants = kinds?.get(kind);
      const paths = variants?.get(variant);
      if (paths?.get(path) !== value) return;
      paths.delete(path);
      if (paths.size === 0) variants?.delete(variant);
      if (variants?.size === 0) kinds?.delete(kind);
      if (kinds?.size === 0) realms.delete(realm);
    },
  };
}
