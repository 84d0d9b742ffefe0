import { isAway } from '../away.js';
import type { ModuleCache } from '../cache.js';
import { mapConcurrently } from '../concurrency.js';
import { isNoSuchModule, ModuleCacheError } from '../errors.js';
import { isText, MAX_VARIANT_BYTES, requireArtifactId, requireRealm } from '../keys.js';
import { checkRead, wrongShape } from '../options.js';
import type { ArtifactRequest, CachedModule, Json, ReadOptions, ServedModule } from '../types.js';
import { createPatience } from '../waiting.js';
import { answerOf, type DefinitionAnswer, type Stored } from './answer.js';
import { collectFailures } from './failures.js';
import { type DefinitionProducer, makeProduct } from './production.js';
import { type AskVisibility, askScope, checkUser, MAX_SCOPE_BYTES, type Scope } from './scope.js';

export interface DefinitionLookupOptions<Definition = Json> {
  cache: ModuleCache;
  /** URL of the realm whose modules are looked up. */
  realm: string;
  produce: DefinitionProducer<Definition>;
  /**
   * The canonical path that a path stands for, asked before the cache at every lookup, so that an alias and its target
   * are one artifact; undefined if there is no such module. For example `resolve` of a `ModuleSource`.
   */
  resolve?: (path: string) => Promise<string | undefined>;
  /** Asked at every lookup, also for what is in memory, and never remembered. Everything is public without it. */
  visibility?: AskVisibility;
  /** Fingerprint of whatever else definitions depend on, such as the version of the producer; at most 430 bytes. */
  variant?: string;
  /** Life of an error that a producer returns, in ms; 30,000 unless given. */
  errorTtlMs?: number;
  /** Longest production in ms; 160,000 unless given. A longer one fails, and is not cached. */
  produceWithinMs?: number;
  /** Longest wait of a lookup in ms; 20,000 more than `produceWithinMs` unless given. */
  deadlineMs?: number;
}

export interface LookupOptions extends Omit<ReadOptions, 'claimPatienceMs'> {
  /** Id of the user who asks; left out for somebody who is not known. */
  user?: string;
}

/** Definitions of the modules of one realm: artifacts of the kind `definition`, with JSON bodies. */
export interface DefinitionLookup<Definition = Json> {
  /**
   * What the cache holds, or what the producer makes: once for all who ask in the fleet.
   *
   * @throws ModuleCacheError MC102 when the deadline passes or the production takes too long, MC104 if the production
   *   failed in another process, MC001 and MC003 for arguments or results that cannot be used; what the producer,
   *   `resolve` or `visibility` throw; the signal's reason
   */
  lookup(path: string, options?: LookupOptions): Promise<DefinitionAnswer<Definition>>;
  /**
   * The same for many, in the order of the paths: one question to the database for all that memory does not hold (for
   * each 10,000), and then what is missing is produced, up to 64 at a time. Fails if one of them does; those that had
   * begun are cached by then.
   */
  lookupMany(paths: readonly string[], options?: LookupOptions): Promise<DefinitionAnswer<Definition>[]>;
}

const KIND = 'definition';
/** A process that hangs is waited for as long as its producer may take, and a little longer. */
const CLAIM_MARGIN_MS = 10_000;
const DEADLINE_MARGIN_MS = 20_000;
const MAX_PREFIX_BYTES = MAX_VARIANT_BYTES - MAX_SCOPE_BYTES - 1;
/** As many as the cache reads at once. */
const MAX_BATCH = 10_000;
/** Productions of one call at a time, each of which has a claim. Those that begin inside of them have a call of their own. */
const MAX_PRODUCTIONS = 64;

/** @throws ModuleCacheError MC001 for a realm that is none, MC107 for other options that cannot be used */
export function createDefinitionLookup<Definition = Json>(
  options: DefinitionLookupOptions<Definition>,
): DefinitionLookup<Definition> {
  const { cache, realm, resolve, settings, visibility, variantOf } = checkOptions(options);

  /** Asked for one call, and forgotten with it. */
  function createScopes(user: string | undefined) {
    const scopes = new Map<string, Promise<Scope | undefined>>();
    return (of: string): Promise<Scope | undefined> => {
      const scope = scopes.get(of) ?? askScope(visibility, user, of);
      scopes.set(of, scope);
      return scope;
    };
  }

  /** Undefined if there is no such module. */
  async function getOrProduce(
    path: string,
    scope: Scope,
    read: ReadOptions,
  ): Promise<ServedModule | undefined> {
    const id = requireArtifactId({ realm, path, kind: KIND, variant: variantOf(scope) });
    try {
      return await cache.getOrProduce(id, ({ signal }) => makeProduct(id, scope, signal, settings), read);
    } catch (error) {
      if (isNoSuchModule(error)) return undefined;
      throw error;
    }
  }

  async function errorsBelow(
    roots: readonly (Stored & { readonly module: ServedModule })[],
    scopeIn: ReturnType<typeof createScopes>,
    read: () => ReadOptions,
  ) {
    const withoutDatabase = roots.some(({ module }) => !module.cached || module.staleMs !== undefined);
    return collectFailures(roots, async (names) => {
      const scopes = await Promise.all(names.map((name) => scopeIn(name.realm)));
      // Of a realm that the user may not see nothing is told, not even its errors.
      const visible = names.flatMap((name, index) => {
        const scope = scopes[index];
        return scope === undefined
          ? []
          : [{ index, request: { ...name, kind: KIND, variant: variantOf(scope) } }];
      });
      const requests = visible.map(({ request }) => request);
      const found = await getMany(requests, read).catch((error: unknown) => {
        // Of roots that came without the database memory tells what it knows.
        if (!isAway(error) || !withoutDatabase) throw error;
        return requests.map(cache.peek);
      });
      const modules: (CachedModule | undefined)[] = [];
      for (const [position, { index }] of visible.entries()) modules[index] = found[position];
      return modules;
    });
  }

  async function getMany(
    requests: readonly ArtifactRequest[],
    read: () => ReadOptions,
  ): Promise<(ServedModule | undefined)[]> {
    const found: (ServedModule | undefined)[] = [];
    for (let from = 0; from < requests.length; from += MAX_BATCH) {
      found.push(...(await cache.getMany(requests.slice(from, from + MAX_BATCH), read())));
    }
    return found;
  }

  async function find(
    paths: readonly string[],
    user: string | undefined,
    read: () => ReadOptions,
  ): Promise<DefinitionAnswer<Definition>[]> {
    const scopeIn = createScopes(user);
    const scope = await scopeIn(realm);
    if (scope === undefined) return paths.map((path) => ({ status: 'forbidden', realm, path }));
    const resolved = await Promise.all(paths.map((path) => (resolve === undefined ? path : resolve(path))));
    const wanted = [...new Set(resolved.filter((path) => path !== undefined))];
    const cached =
      wanted.length === 1
        ? []
        : await getMany(
            wanted.map((path) => ({ realm, path, kind: KIND, variant: variantOf(scope) })),
            read,
          ).catch(oneByOne);
    const found = await mapConcurrently(wanted, MAX_PRODUCTIONS, async (path, index) => {
      const module = cached[index] ?? (await getOrProduce(path, scope, read()));
      return module === undefined ? [] : [{ realm, path, module }];
    });
    const stored = found.flat();
    const errors = await errorsBelow(stored, scopeIn, read);
    const byPath = new Map(stored.map((one, index) => [one.path, { one, errors: errors[index] ?? [] }]));
    return paths.map((asked, index) => {
      const path = resolved[index] ?? asked;
      const answer = byPath.get(path);
      return answer === undefined
        ? { status: 'missing', realm, path }
        : answerOf<Definition>(answer.one, answer.errors);
    });
  }

  async function lookupMany(
    paths: readonly string[],
    { user, ...how }: LookupOptions = {},
  ): Promise<DefinitionAnswer<Definition>[]> {
    if (!Array.isArray(paths)) throw wrongShape('paths is no array', 'Pass an array of paths.');
    // Only `resolve` knows what the root of the realm stands for.
    for (const path of paths) if (path !== '' || resolve === undefined) requireArtifactId({ realm, path });
    checkUser(user);
    checkRead(how);
    const deadlineMs = how.deadlineMs ?? settings.deadlineMs;
    const ends = performance.now() + deadlineMs;
    const { claimPatienceMs } = settings;
    const read = (): ReadOptions => ({
      ...how,
      claimPatienceMs,
      deadlineMs: Math.max(ends - performance.now(), 1),
    });
    const patience = createPatience(deadlineMs, how.signal);
    try {
      return await patience.wait(find(paths, user, read));
    } finally {
      patience.close();
    }
  }

  return {
    async lookup(path, how) {
      const [answer] = await lookupMany([path], how);
      return answer as DefinitionAnswer<Definition>;
    },
    lookupMany,
  };
}

/** While the database is away each module may still be in memory, or be made. */
function oneByOne(error: unknown): [] {
  if (!isAway(error)) throw error;
  return [];
}

function checkOptions<Definition>(options: DefinitionLookupOptions<Definition>) {
  const { cache, produce, resolve, visibility = () => 'public' as const, variant = '' } = options ?? {};
  if (typeof cache?.getOrProduce !== 'function') {
    throw misuse('cache is no module cache', 'Pass what openModuleCache resolved to.');
  }
  for (const [name, value] of Object.entries({ produce, resolve, visibility })) {
    if (typeof value === 'function' || (name === 'resolve' && value === undefined)) continue;
    throw misuse(`${name} is no function`, `Pass a function as ${name}.`);
  }
  if (!isText(variant) || Buffer.byteLength(variant) > MAX_PREFIX_BYTES) {
    throw misuse('variant cannot be used', `Pass text of at most ${MAX_PREFIX_BYTES} bytes, without NUL.`);
  }
  const { errorTtlMs = 30_000, produceWithinMs = 160_000 } = options;
  const { deadlineMs = produceWithinMs + DEADLINE_MARGIN_MS } = options;
  for (const [name, value] of Object.entries({ errorTtlMs, produceWithinMs, deadlineMs })) {
    // Node's timers can wait for so long.
    if (!(Number.isFinite(value) && value > 0 && value < 2 ** 31)) {
      throw misuse(`${name} is ${String(value)}`, 'Pass a positive number of ms, of less than 25 days.');
    }
  }
  const claimPatienceMs = produceWithinMs + CLAIM_MARGIN_MS;
  return {
    cache,
    realm: requireRealm(options.realm),
    resolve,
    visibility,
    /** A scope has no slash in it, so no two pairs run into each other. */
    variantOf: (scope: Scope): string => (variant === '' ? scope.name : `${variant}/${scope.name}`),
    settings: { produce, produceWithinMs, errorTtlMs, deadlineMs, claimPatienceMs },
  };
}

function misuse(detail: string, hint: string): ModuleCacheError {
  return new ModuleCacheError('MC107', 'an option of createDefinitionLookup cannot be used', {
    detail,
    hint,
  });
}
