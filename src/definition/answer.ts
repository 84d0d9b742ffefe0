import type { CachedModule, Json, Source } from '../types.js';

/** What is wrong with a module; realm, path and message tell it from others. */
export interface DefinitionFailure {
  readonly realm: string;
  readonly path: string;
  readonly message: string;
  /** Whatever else the producer said: file, line, code frame. */
  readonly [detail: string]: Json;
}

interface Answered {
  readonly realm: string;
  /** The canonical path, as far as it is known. */
  readonly path: string;
}

interface Found extends Answered {
  /** What is wrong with modules that it was built from, however indirectly: each once, and as far as it is cached. */
  readonly errors: readonly DefinitionFailure[];
  readonly dependencyKeys: readonly string[];
  readonly source: Source;
  /** False if no cache holds it: it was outdated when it was ready, or made while the database is away. */
  readonly cached: boolean;
  /** As of a module that is served within `graceMs` while the database is away. */
  readonly staleMs?: number;
}

export type DefinitionAnswer<Definition = Json> =
  | (Found & {
      readonly status: 'ok';
      /** Parsed when it is read for the first time; each answer has a value of its own. */
      readonly definition: Definition;
      /** The definition as it is stored. */
      readonly json: string;
    })
  | (Found & { readonly status: 'error'; readonly error: DefinitionFailure })
  /** There is no such module; nothing of that is cached. */
  | (Answered & { readonly status: 'missing' })
  /** The realm is not for this user to see, whether there is such a module or not. */
  | (Answered & { readonly status: 'forbidden' });

export const DEPENDENCIES_HEADER = 'definition-dependencies';
export const ERRORS_HEADER = 'definition-errors';
export const PATH_HEADER = 'definition-path';

/** A module and what is stored of it. */
export interface Stored {
  readonly realm: string;
  readonly path: string;
  readonly module: CachedModule;
}

export function answerOf<Definition>(
  { realm, path, module }: Stored & { module: { source: Source; cached: boolean; staleMs?: number } },
  errors: readonly DefinitionFailure[],
): DefinitionAnswer<Definition> {
  const { body, headers, dependencyKeys, source, cached, staleMs } = module;
  const named = headers[PATH_HEADER];
  const found = { realm, path: typeof named === 'string' ? named : path };
  const late = staleMs === undefined ? {} : { staleMs };
  const rest = { errors, dependencyKeys, source, cached, ...late };
  if (module.status === 'error') {
    return { status: 'error', ...found, error: ownFailure({ realm, path, module }), ...rest };
  }
  let parsed: { readonly value: Definition } | undefined;
  return {
    status: 'ok',
    ...found,
    get definition() {
      parsed ??= { value: JSON.parse(body) as Definition };
      return parsed.value;
    },
    json: body,
    ...rest,
  };
}

/** What an error that is stored says; whoever stored it, it has a message. */
export function ownFailure({ realm, path, module }: Stored): DefinitionFailure {
  return toFailure(realm, path, parse(module.body)) ?? { realm, path, message: module.body };
}

export function errorsOf({ realm, path, module }: Stored): DefinitionFailure[] {
  return listOf(module.headers[ERRORS_HEADER]).flatMap((error) => toFailure(realm, path, error) ?? []);
}

export function dependenciesOf({ module }: Stored): { realm: string; path: string }[] {
  return listOf(module.headers[DEPENDENCIES_HEADER]).flatMap((entry) => {
    const { realm, path } = objectOf(entry);
    return typeof realm === 'string' && typeof path === 'string' ? [{ realm, path }] : [];
  });
}

function toFailure(realm: string, path: string, value: unknown): DefinitionFailure | undefined {
  const failure = objectOf(value);
  if (typeof failure.message !== 'string') return undefined;
  return { ...failure, ...namesOf(failure, realm, path), message: failure.message };
}

const namesOf = (failure: Record<string, Json>, realm: string, path: string) => ({
  realm: typeof failure.realm === 'string' ? failure.realm : realm,
  path: typeof failure.path === 'string' ? failure.path : path,
});

const listOf = (value: Json | undefined): readonly Json[] => (Array.isArray(value) ? value : []);

const objectOf = (value: unknown): Record<string, Json> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, Json>) : {};

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
