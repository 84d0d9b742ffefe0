/** Codes of the errors that the client itself raises; those of the database start with the same prefix. */
export type ModuleCacheErrorCode =
  | 'MC001' // a realm, path, key, kind or variant that cannot name a module
  | 'MC002' // a token or cursor that this product did not write
  | 'MC003' // an argument of the wrong shape
  | 'MC004' // the database has no usable schema, or cannot hold one
  | 'MC005' // the server is a standby
  | 'MC006' // a private realm, and the role of the connection is no member of its role
  | 'MC101' // the dedicated connection cannot hear itself
  | 'MC102' // the deadline passed
  | 'MC103' // the cache is closed
  | 'MC104' // the production failed in this or another process
  | 'MC105' // the module does not exist
  | 'MC106' // the embedded server could not be started
  | 'MC107' // misuse of a configuration option
  | 'MC108' // the database is away, or does not answer in time
  | 'MC109'; // more is on its way already than can be kept in memory

/** Whatever the error is of: a producer may come from another copy of this package. */
export const isNoSuchModule = (error: unknown): boolean =>
  (error as { code?: unknown } | null | undefined)?.code === 'MC105';

/** An error that says what to do: `detail` carries the values, `hint` the next step (as in Postgres). */
export class ModuleCacheError extends Error {
  readonly code: ModuleCacheErrorCode;
  readonly detail: string | undefined;
  readonly hint: string | undefined;

  constructor(
    code: ModuleCacheErrorCode,
    message: string,
    extra: { detail?: string; hint?: string; cause?: unknown } = {},
  ) {
    super(message, extra.cause === undefined ? undefined : { cause: extra.cause });
    this.name = 'ModuleCacheError';
    this.code = code;
    this.detail = extra.detail;
    this.hint = extra.hint;
  }
}
