import postgres, { type Sql } from 'postgres';
import { ModuleCacheError } from '../errors.js';

export interface DatabaseOptions {
  databaseUrl?: string;
  json?: boolean;
}

/** What the user named: the option, DATABASE_URL, or undefined if only PG* variables may tell. */
export const namedUrl = (options: DatabaseOptions): string | undefined =>
  options.databaseUrl ?? (process.env.DATABASE_URL || undefined);

export const hasPgVariables = (): boolean =>
  Boolean(process.env.PGHOST || process.env.PGDATABASE || process.env.PGSERVICE);

/** Runs one command's queries on one connection, and closes it. */
export async function withDatabase<T>(options: DatabaseOptions, work: (sql: Sql) => Promise<T>): Promise<T> {
  const sql = connect(namedUrl(options));
  try {
    return await work(sql);
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
    connection: { application_name: 'module-cache', default_transaction_isolation: 'read committed' },
  } as const;
  return url === undefined ? postgres(options) : postgres(url, options);
}

export const print = (line: string): void => void process.stdout.write(`${line}\n`);
