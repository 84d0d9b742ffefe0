import { randomUUID } from 'node:crypto';
import { inspect } from 'node:util';
import type { ReadRow } from './calls.js';
import { ModuleCacheError } from './errors.js';
import type { Headers } from './types.js';

/**
 * What a producer throws is not cached. It is stored for a second all the same, so that those who wait for it in other
 * processes learn it, and none of them produces and fails in its turn; who comes later has nothing to do with it.
 */

/** Marks what is stored as the news of a failure; its value tells it from others. */
export const FAILURE_HEADER = 'module-cache-failure';
export const FAILURE_LIFE_MS = 1_000;

/** The failures that callers of this process were told of. */
export interface Failures {
  /** Headers of a new one. */
  mark(): Headers;
  /** To be called before callers are told. */
  noteTold(headers: Headers): void;
  /**
   * Whether it ended before a flight began, whose times are in ms. What this process has told is known exactly;
   * otherwise the server's clock says how old a failure was when it was read, which errs by the time that the answer
   * took, and then for those who may have waited.
   */
  isFromBefore(row: ReadRow, began: { readonly monotonic: number; readonly wall: number }): boolean;
}

export function createFailures(): Failures {
  const toldAt = new Map<string, number>();
  return {
    mark: () => ({ [FAILURE_HEADER]: randomUUID() }),
    noteTold({ [FAILURE_HEADER]: mark }) {
      // Earlier clients mark all of theirs alike.
      if (typeof mark !== 'string') return;
      const now = performance.now();
      for (const [id, at] of toldAt) {
        if (now - at <= FAILURE_LIFE_MS) break;
        toldAt.delete(id);
      }
      toldAt.set(mark, now);
    },
    isFromBefore({ headers, expiresInMs }, began) {
      const told = toldAt.get(String(headers[FAILURE_HEADER]));
      if (told !== undefined && told <= began.monotonic) return true;
      const ageMs = Math.max(performance.now() - began.monotonic, Date.now() - began.wall);
      return expiresInMs !== null && FAILURE_LIFE_MS - expiresInMs > ageMs;
    },
  };
}

interface Failure {
  readonly name: string;
  readonly message: string;
  readonly code: string | null;
}

/** Whatever it is: what cannot be told must not take the place of what was thrown. */
export function bodyOfFailure(error: unknown): string {
  const { name, message } = error instanceof Error ? error : { name: 'Error', message: textOf(error) };
  const code = (error as { code?: unknown } | null | undefined)?.code;
  const failure: Failure = {
    name: `${name}`,
    message: `${message}`,
    code: typeof code === 'string' ? code : null,
  };
  return JSON.stringify(failure);
}

const textOf = (thrown: unknown): string => (typeof thrown === 'string' ? thrown : inspect(thrown));

/** What another process' producer threw, as this one learns it. */
export function failureOf(body: string): ModuleCacheError {
  const failure = JSON.parse(body) as Failure;
  if (failure.code === 'MC105') {
    return new ModuleCacheError('MC105', failure.message);
  }
  return new ModuleCacheError('MC104', failure.message, {
    detail: `The producer failed with ${failure.name}.`,
    hint: 'It is tried again for callers that come now.',
    cause: failure,
  });
}
