import { ModuleCacheError } from '../errors.js';

/** One clear line on standard error (and a hint, where there is one), and a non-zero exit. */
export function fail(error: unknown): never {
  process.stderr.write(`${describe(error)}\n`);
  process.exit(1);
}

export function describe(error: unknown): string {
  const { message, detail, hint, code } = error as {
    message?: string;
    detail?: string;
    hint?: string;
    code?: string;
  };
  if (code === 'ECONNREFUSED' || code === 'CONNECT_TIMEOUT' || code === 'ENOTFOUND') {
    return `module-cache: the database cannot be reached (${code}). Check --database-url, DATABASE_URL or the PG* variables.`;
  }
  const what = message === undefined || message === '' ? String(code ?? error) : message;
  const values = error instanceof ModuleCacheError && detail !== undefined ? ` (${detail})` : '';
  return `module-cache: ${what}${values}${hint === undefined ? '' : `. ${hint}`}`;
}
