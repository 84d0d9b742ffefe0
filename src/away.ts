import { ModuleCacheError } from './errors.js';

/**
 * What the server says when it is there and cannot be used: too many connections, shutting down, crashed, starting up,
 * a standby. Class 08 is what poolers say of a server that they do not reach.
 */
const CODES_OF_ABSENCE = /^(53300|57P0[123]|08...|MC005)$/;
/** Of postgres.js, about the question and not about the connection. */
const CODES_OF_MISUSE = /^(UNDEFINED_VALUE|MAX_PARAMETERS_EXCEEDED|NOT_TAGGED_CALL|COPY_IN_PROGRESS)$/;

/** Whether an error of a call is about the way to the database, or the server as a whole, rather than the call. */
export function isAbsence(error: unknown): boolean {
  const { name, code } = error as { name?: unknown; code?: unknown };
  if (name === 'PostgresError') return CODES_OF_ABSENCE.test(String(code));
  return (name === 'Error' || name === 'AggregateError') && !CODES_OF_MISUSE.test(String(code));
}

/** Whether a question was lost with its connection, which says nothing about what another one would be answered. */
export const isOfConnection = (error: unknown): boolean =>
  /^(CONNECTION_(CLOSED|DESTROYED|ENDED)|ECONNRESET|EPIPE|57P01)$/.test(
    String((error as { code?: unknown })?.code),
  );

/** @param write whether the call may have been done all the same */
export function awayError(cause: unknown, write = false): ModuleCacheError {
  const { message, code } = cause as { message?: unknown; code?: unknown };
  return new ModuleCacheError('MC108', 'the database is away', {
    detail: String(message || code || cause),
    hint: write
      ? 'Whether it was done is not known; to invalidate once more does no harm.'
      : 'It is looked for all the time; ask again. The options graceMs and withoutDatabase say what is done meanwhile.',
    cause,
  });
}

/** It was not asked at all: nothing was done. */
export function notAsked(cause: unknown): ModuleCacheError {
  const error = awayError(cause);
  return new ModuleCacheError('MC108', error.message, {
    detail: `It was not asked, because it does not answer: ${error.detail}`,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    cause,
  });
}

export const isAway = (error: unknown): boolean =>
  error instanceof ModuleCacheError && error.code === 'MC108';

export const tooMany = (what: string, limit: number): ModuleCacheError =>
  new ModuleCacheError('MC109', `too many ${what}`, {
    detail: `There are ${limit} already.`,
    hint: 'Answer with 503 and let clients come again, ask for many at once with getMany, or give the pool more connections.',
  });
