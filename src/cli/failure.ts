import { ModuleCacheError } from '../errors.js';

/** One clear line on standard error (and a hint, where there is one), and a non-zero exit. */
export function fail(error: unknown): never {
  process.stderr.write(`${describe(error)}\n`);
  process.exit(1);
}

/** A schema, a table or view, a function, a column that is not there. */
const NO_SCHEMA: readonly string[] = ['3F000', '42P01', '42883', '42703'];

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
  if (
    code === '42501' &&
    /^permission denied for (schema module_cache|view|function) ?/.test(message ?? '')
  ) {
    return `module-cache: ${message}. This role needs more rights: grant module_cache_operator to it (module_cache_writer is enough for warm, invalidate and bench), or connect as another one.`;
  }
  if (NO_SCHEMA.includes(code ?? '') && message?.includes('module_cache')) {
    return `module-cache: the database has no module_cache schema with what this command needs (${message}). Install or upgrade it with: module-cache migrate`;
  }
  const what = message === undefined || message === '' ? String(code ?? error) : message;
  const values = error instanceof ModuleCacheError && detail !== undefined ? ` (${detail})` : '';
  return `module-cache: ${what}${values}${hint === undefined ? '' : `. ${hint}`}`;
}
