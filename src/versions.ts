import { ModuleCacheError } from './errors.js';

/** Of this client. */
export const VERSION = '0.2.0';

/**
 * Client and schema are deployed one after the other, so each says how old the other may be: the client by this, the
 * schema by `module_cache.oldest_client()`. Both are raised together with what they no longer understand.
 */
export const OLDEST_SCHEMA = '0.1.0';

/**
 * @param schema version of the schema
 * @param oldestClient that works with it, as the schema says
 * @returns ModuleCacheError MC004, naming both versions, if they do not work together
 */
export function incompatibility(schema: string, oldestClient: string): ModuleCacheError | undefined {
  if (isOlder(schema, OLDEST_SCHEMA)) {
    return new ModuleCacheError('MC004', 'the schema is too old for this client', {
      detail: `schema ${schema}, client ${VERSION}, which works with a schema from ${OLDEST_SCHEMA} on`,
      hint: 'Upgrade the schema with "module-cache migrate", "alter extension module_cache update", or the script that "module-cache sql" prints.',
    });
  }
  if (isOlder(VERSION, oldestClient)) {
    return new ModuleCacheError('MC004', 'the client is too old for this schema', {
      detail: `client ${VERSION}, schema ${schema}, which works with a client from ${oldestClient} on`,
      hint: 'Upgrade the client with "npm install pg-module-cache".',
    });
  }
  return undefined;
}

/** Compares `major.minor.patch`, number by number. */
export function isOlder(a: string, b: string): boolean {
  const [left, right] = [a, b].map((version) => version.split('.').map((part) => Number.parseInt(part, 10)));
  for (let i = 0; i < 3; i += 1) {
    const difference = (left?.[i] ?? 0) - (right?.[i] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
