import postgres, { type Options, type PostgresType, type Sql } from 'postgres';
import type { OpenSocket } from './dialer.js';
import { ModuleCacheError } from './errors.js';

/** A URL, options of postgres.js, or an existing instance of it. */
export type Connection = string | ConnectionOptions | Sql;

export type ConnectionOptions = Options<Record<string, PostgresType>>;

export const isInstance = (connection: Connection): connection is Sql => typeof connection === 'function';

/** How the user opens sockets, if in a way of their own. */
export function socketOf(connection: Connection): OpenSocket | undefined {
  if (typeof connection === 'string') return undefined;
  const options = isInstance(connection) ? connection.options : connection;
  return (options as { socket?: OpenSocket }).socket;
}

/**
 * A connection of its own to the same server; `overrides` win over what the user passed. Nothing of an instance is
 * shared with it: not the counter that slows reconnecting down, nor the parameters of its sessions, nor its hooks.
 */
export function openDedicated(connection: Connection, overrides: ConnectionOptions): Sql {
  const own = {
    ...overrides,
    debug: false,
    onparameter: undefined,
    transform: { undefined: undefined, column: {}, value: {}, row: {} },
  } as ConnectionOptions;
  if (!isInstance(connection)) return openOwned(connection, own);
  const parsed = connection.options as unknown as ConnectionOptions;
  return postgres({
    ...parsed,
    ...own,
    connection: { ...parsed.connection, ...own.connection },
    parameters: {},
    shared: { retries: 0, typeArrayMap: {} },
  } as ConnectionOptions);
}

/**
 * As many connections as the user asks for, by whatever way.
 *
 * @throws ModuleCacheError MC107
 */
export function openOwned(connection: string | ConnectionOptions, overrides: ConnectionOptions): Sql {
  if (typeof connection !== 'string' && 'max' in connection) {
    const { max, ...others } = connection;
    // What is there and undefined would be a single connection as well.
    return openOwned(others, max == null ? overrides : { max: sizeOf(max), ...overrides });
  }
  const sql = openAsGiven(connection, overrides);
  const { max } = sql.options as { max: unknown };
  // What comes with a URL, or as PGMAX, is text to postgres.js 3.4, which opens a single connection for it.
  return typeof max === 'number' ? sql : openAsGiven(connection, { ...overrides, max: sizeOf(max) });
}

/** @throws ModuleCacheError MC107 */
function sizeOf(max: unknown): number {
  const size = Number(max);
  if (Number.isInteger(size) && size > 0) return size;
  throw new ModuleCacheError('MC107', 'the size of the pool is no number', {
    detail: `max: ${max}`,
    hint: 'Pass how many connections there may be, such as ?max=10, or leave it out.',
  });
}

function openAsGiven(connection: string | ConnectionOptions, overrides: ConnectionOptions): Sql {
  if (typeof connection === 'string') {
    try {
      return postgres(connection, { onnotice: () => {}, backoff, ...overrides });
    } catch {
      // The original error carries the whole URL, and with it the password.
      throw new ModuleCacheError('MC107', 'the connection is no URL', {
        detail: `${connection.length} characters that cannot be read as one`,
        hint: 'Pass a URL such as postgres://user:password@host/database, with special characters percent-encoded.',
      });
    }
  }
  return postgres({
    onnotice: () => {},
    backoff,
    ...connection,
    ...overrides,
    connection: { ...connection.connection, ...overrides.connection },
  });
}

/** In seconds. postgres.js waits for up to 20 of them, also for a server that has long been back. */
const backoff = (retries: number): number => (0.5 + Math.random() / 2) * Math.min(1, 0.02 * 2 ** retries);
