import { ModuleCacheError } from '../errors.js';

/** What may be told of an error of the database: nothing of where it is, and nothing of what it holds. */
export function describeTrouble(error: unknown): string {
  const { code } = error as { code?: unknown };
  if (code === '42501')
    return 'The role of this page may not read the views of operators: grant it module_cache_operator.';
  if (error instanceof ModuleCacheError && (error.code === 'MC004' || error.code === 'MC005'))
    return `The database cannot be used: ${error.message}.`;
  return 'The database cannot be reached.';
}
