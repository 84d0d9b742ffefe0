import { ModuleCacheError } from '../errors.js';
import { type ArtifactId, requireArtifactId } from '../keys.js';
import type { Headers, Json, Product } from '../types.js';
import { orAborted } from '../waiting.js';
import { DEPENDENCIES_HEADER, type DefinitionFailure, ERRORS_HEADER, PATH_HEADER } from './answer.js';
import type { Scope } from './scope.js';

/** What a producer is asked for. */
export interface DefinitionRequest {
  readonly realm: string;
  /** Canonical if the lookup has a `resolve`. */
  readonly path: string;
  readonly scope: 'public' | 'private';
  /** Whose view it is in the private scope; undefined in the public one. */
  readonly user: string | undefined;
  /** Aborted when an invalidation outdates the work, when nobody waits for it any more, when it takes too long, on close. */
  readonly signal: AbortSignal;
}

/** A module: a canonical path of the same realm, or one of another. */
export type ModuleName = string | { readonly realm: string; readonly path: string };

/** What is wrong with a module, as a producer tells it: its own module is meant unless it names another. */
export type ReportedFailure = Error | { readonly message: string; readonly [detail: string]: unknown };

interface Findings {
  /** Everything that was read: paths or keys of the same realm, URLs for other realms. */
  readonly dependencyKeys?: readonly string[];
  /** Modules that it was built from. They count as read, and what is wrong with them is told with each answer. */
  readonly dependencies?: readonly ModuleName[];
  /** What is wrong with modules that it was built from, as far as the producer has seen it. */
  readonly errors?: readonly ReportedFailure[];
  /** Where the module really is, if the path that was asked for is an alias; counts as read. */
  readonly canonicalPath?: string;
  /** Stored with the definition, for whoever reads the artifact. */
  readonly headers?: Headers;
  /** Life in ms. Without it errors live for `errorTtlMs`, and definitions until they are invalidated. */
  readonly expiresInMs?: number;
}

/**
 * A definition, as a value or as the text of its JSON; an error that is worth caching; or null: no such module. What
 * is thrown instead is told to all who wait, and not cached.
 */
export type DefinitionResult<Definition> =
  | ((
      | { readonly definition: Definition }
      | { readonly body: string; readonly isError?: boolean }
      | { readonly error: ReportedFailure }
    ) &
      Findings)
  | null
  | undefined;

export type DefinitionProducer<Definition> = (
  request: DefinitionRequest,
) => Promise<DefinitionResult<Definition>> | DefinitionResult<Definition>;

export interface ProductionSettings<Definition> {
  readonly produce: DefinitionProducer<Definition>;
  readonly produceWithinMs: number;
  readonly errorTtlMs: number;
}

/**
 * Runs the producer for no longer than it may take. A claim is held meanwhile, so a producer that hangs would keep the
 * whole fleet waiting.
 *
 * @throws ModuleCacheError MC102 if it takes too long, MC105 if there is no such module, MC003 and MC001 for a result
 *   that cannot be used; what the producer throws
 */
export async function makeProduct<Definition>(
  id: ArtifactId,
  scope: Scope,
  aborted: AbortSignal,
  { produce, produceWithinMs, errorTtlMs }: ProductionSettings<Definition>,
): Promise<Product> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(tookTooLong(id, produceWithinMs)), produceWithinMs);
  // A producer that nobody waits for any more, and that does not heed its signal, keeps no process alive.
  timer.unref();
  try {
    const request: DefinitionRequest = {
      realm: id.realm,
      path: id.path,
      scope: scope.user === undefined ? 'public' : 'private',
      user: scope.user,
      signal: AbortSignal.any([aborted, late.signal]),
    };
    const working = Promise.resolve().then(() => produce(request));
    return productOf(id, await orAborted(working, late.signal), errorTtlMs);
  } finally {
    clearTimeout(timer);
  }
}

function productOf(id: ArtifactId, result: DefinitionResult<unknown>, errorTtlMs: number): Product {
  if (result === null || result === undefined) {
    throw new ModuleCacheError('MC105', 'no such module', { detail: id.path });
  }
  if (typeof result !== 'object') throw unusable(id, `it is a ${typeof result}`);
  const { dependencyKeys = [], dependencies = [], errors = [], canonicalPath, headers, expiresInMs } = result;
  for (const [name, list] of Object.entries({ dependencyKeys, dependencies, errors })) {
    if (!Array.isArray(list)) throw unusable(id, `its ${name} are not an array`);
  }
  const isError = 'error' in result || ('body' in result && result.isError === true);
  const builtFrom = dependencies.map((dependency) => nameIn(id, dependency));
  const own = canonicalPath === undefined ? undefined : nameIn(id, canonicalPath);
  const read = own === undefined ? builtFrom : [...builtFrom, own];
  const life = expiresInMs ?? (isError ? errorTtlMs : undefined);
  return {
    body: bodyOf(id, result),
    isError,
    headers: {
      ...headers,
      ...(builtFrom.length > 0 ? { [DEPENDENCIES_HEADER]: builtFrom } : {}),
      ...(errors.length > 0 ? { [ERRORS_HEADER]: errors.map((error) => failureOf(id, error)) } : {}),
      ...(own === undefined ? {} : { [PATH_HEADER]: own.path }),
    },
    dependencyKeys: [...dependencyKeys, ...read.map(({ realm, path }) => realm + path)],
    ...(life === undefined ? {} : { expiresInMs: life }),
  };
}

/** Text that comes as JSON is looked at, because readers parse it at a time when nobody can help it any more. */
function bodyOf(id: ArtifactId, result: NonNullable<DefinitionResult<unknown>>): string {
  if ('error' in result) return JSON.stringify(failureOf(id, result.error));
  try {
    if ('body' in result) {
      JSON.parse(result.body);
      return result.body;
    }
    const text = JSON.stringify(result.definition);
    if (typeof text === 'string') return text;
  } catch (error) {
    throw unusable(id, (error as Error).message);
  }
  throw unusable(id, 'it has no definition, body or error that JSON can hold');
}

function failureOf(id: ArtifactId, reported: ReportedFailure): DefinitionFailure {
  const message = reported?.message;
  if (typeof message !== 'string') throw unusable(id, 'one of its errors has no message');
  const { realm, path } = id;
  try {
    // The message of an Error is none of its own properties that JSON shows.
    return JSON.parse(JSON.stringify({ realm, path, ...reported, message })) as DefinitionFailure;
  } catch (error) {
    throw unusable(id, (error as Error).message);
  }
}

/** @throws ModuleCacheError MC001 */
function nameIn(id: ArtifactId, module: ModuleName): { realm: string; path: string } & Record<string, Json> {
  const { realm, path } = requireArtifactId(typeof module === 'string' ? { ...id, path: module } : module);
  return { realm, path };
}

function unusable(id: ArtifactId, detail: string): ModuleCacheError {
  return new ModuleCacheError('MC003', 'the producer returned no usable definition', {
    detail: `${detail} (${id.realm}${id.path})`,
    hint: 'Return { definition, dependencyKeys }, { error: { message }, dependencyKeys }, or null if there is no such module.',
  });
}

function tookTooLong(id: ArtifactId, ms: number): ModuleCacheError {
  return new ModuleCacheError('MC102', 'the definition took too long to produce', {
    detail: `${id.realm}${id.path}: ${ms} ms`,
    hint: 'Allow more time by produceWithinMs, or have the producer heed its signal and fail early.',
  });
}
