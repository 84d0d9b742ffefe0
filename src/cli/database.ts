import postgres, { type Sql } from 'postgres';
import { type ConnectionOptions, openOwned } from '../connection.js';
import { ModuleCacheError } from '../errors.js';
import { createOwnPool } from '../own-pool.js';
import { openPool, type Pool } from '../pool.js';
import { withDeadline } from '../waiting.js';

export interface DatabaseOptions {
  databaseUrl?: string;
  json?: boolean;
}

/**
 * What the user named: the option, DATABASE_URL, or undefined if only PG* variables may tell.
 *
 * @throws ModuleCacheError MC107 for what is no URL, without showing it
 */
export function namedUrl(options: DatabaseOptions): string | undefined {
  const url = options.databaseUrl ?? (process.env.DATABASE_URL || undefined);
  if (url !== undefined) requireUrl(url);
  return url;
}

/** @throws ModuleCacheError MC107 for what is no URL, without showing it */
export function requireUrl(url: string): void {
  // Connects to nothing until it is asked.
  openOwned(url, {});
}

export const hasPgVariables = (): boolean =>
  Boolean(process.env.PGHOST || process.env.PGDATABASE || process.env.PGSERVICE);

/** Runs one command's queries on one connection, and closes it. */
export async function withDatabase<T>(
  options: DatabaseOptions,
  work: (database: Pool, sql: Sql) => Promise<T>,
): Promise<T> {
  const sql = connect(namedUrl(options));
  try {
    return await work(await openPool(sql, 'module-cache'), sql);
  } catch (error) {
    if (['3F000', '42883', '42P01'].includes((error as { code?: string }).code ?? '')) {
      throw new ModuleCacheError('MC004', 'the database has no usable module_cache schema', {
        detail: (error as Error).message,
        hint: 'Install it with: module-cache migrate',
      });
    }
    throw error;
  } finally {
    await sql.end({ timeout: 1 });
  }
}

function connect(url: string | undefined): Sql {
  const options = {
    max: 1,
    onnotice: () => {},
    connect_timeout: 10,
    // Not worth it for a few questions, and poolers may lose what was prepared.
    prepare: false,
    // Its failure would come as an uncaught error instead of one clear line.
    fetch_types: false,
    connection: { application_name: 'module-cache' },
  } as const;
  return url === undefined ? postgres(options) : postgres(url, options);
}

/** One connection for a command that lives longer than it, or that must not wait for ever. */
export interface Questions {
  /** @throws Error if there is no answer in time; the next question goes to a new connection */
  ask<T>(question: (sql: Sql) => Promise<T>, limitMs?: number): Promise<T>;
  close(): Promise<void>;
}

const ANSWER_MS = 10_000;

export function openQuestions(
  url: string | undefined,
  applicationName: string,
  overrides: ConnectionOptions = {},
): Questions {
  const pool = createOwnPool(url ?? {}, applicationName, {
    ...{ max: 1, connect_timeout: ANSWER_MS / 1000, prepare: false },
    ...overrides,
  });
  return {
    async ask(question, limitMs = ANSWER_MS) {
      const sql = pool.sql();
      const inFlight = pool.begin(sql, 0);
      const late = new Error(`no answer for ${limitMs} ms`);
      try {
        return await withDeadline(question(sql), limitMs, () => late);
      } catch (error) {
        if (error === late) inFlight.giveUp();
        throw error;
      } finally {
        inFlight.end();
      }
    },
    close: () => pool.end(1),
  };
}

export const print = (line: string): void => void process.stdout.write(`${line}\n`);
