import type { Sql, TransactionSql } from 'postgres';

/** A value that JSON can hold. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };
export type Headers = { readonly [name: string]: Json };

/** Names one artifact. */
export interface ArtifactRequest {
  /** URL of the realm, ending in `/`. */
  realm: string;
  /** Canonical path inside the realm: percent-decoded, with its extension, no leading slash. */
  path: string;
  /** `transpile` (default), `definition`, or a kind of your own; 1 to 64 bytes. */
  kind?: string;
  /** Separates products that must never be mixed: the compiler's fingerprint, the reader's scope. At most 500 bytes. */
  variant?: string;
}

/** One product of a module as the cache holds it. */
export interface CachedModule {
  /** `error`: the cached product is an error, for example of a module that does not compile. */
  readonly status: 'hit' | 'error';
  readonly body: string;
  readonly headers: Headers;
  /** Normalised keys of everything that was read to make it. */
  readonly dependencyKeys: readonly string[];
}

/** Where an answer came from. */
export type Source = 'l1' | 'l2' | 'produced' | 'coalesced';

export interface ServedModule extends CachedModule {
  readonly source: Source;
  /** False if no cache holds it: it was outdated when it was ready, or made while the database is away. */
  readonly cached: boolean;
  /**
   * Coherence token: a read with it as `after`, of any module and in any process, is not older than this answer.
   * Undefined while the database cannot tell.
   */
  readonly token?: string | undefined;
  /**
   * Only of an answer within `graceMs`, while the database is away: for how long, in ms, nothing was heard from it, so
   * that an invalidation may have been missed.
   */
  readonly staleMs?: number;
}

/** What a producer makes. */
export interface Product {
  body: string;
  headers?: Headers;
  /** Everything that was read to make the body: paths or keys of the same realm, URLs for other realms. */
  dependencyKeys?: readonly string[];
  /** True for an error worth caching, such as a syntax error in the source. */
  isError?: boolean;
  /** Life in ms; without it the product lives until it is invalidated. */
  expiresInMs?: number;
}

/**
 * Makes a product from committed sources. A thrown error is told to all who wait in the fleet, and kept for a second so
 * that they learn it; who comes after it has the module produced anew. Return `isError` for an error that is to be cached.
 */
export type Producer = (context: ProducerContext) => Promise<Product> | Product;

export interface ProducerContext {
  /** Aborted when an invalidation outdates the production, when nobody waits for it any more, and on close. */
  readonly signal: AbortSignal;
}

/**
 * `bounded` (default): an answer of this process' memory is never older than `maxStalenessMs`. `strong`: the database
 * is asked whether the answer is current.
 */
export type Consistency = 'bounded' | 'strong';

export interface ReadOptions {
  consistency?: Consistency;
  /** Coherence token of an invalidation or of an earlier answer, which this one must not be older than. */
  after?: string;
  signal?: AbortSignal;
  /** Longest wait in ms; the cache's `deadlineMs` unless given. */
  deadlineMs?: number;
  /**
   * How long to wait for another producer before producing without a claim, in ms; the cache's `claimPatienceMs`
   * unless given. To be longer than the longest production. Whoever joins work that is on its way shares its patience.
   */
  claimPatienceMs?: number;
}

export interface InvalidateOptions {
  /** The caller's transaction: sources and invalidation then commit together, or not at all. */
  tx?: TransactionSql;
}

export interface Invalidation {
  /** Pass it as `after` to read what is not older than this invalidation. */
  readonly token: string;
  /** Every module invalidated, importers included. */
  readonly modules: readonly { readonly realm: string; readonly path: string }[];
}

export type AnySql = Sql;
