import { ModuleCacheError } from '../errors.js';

/**
 * An optional package, imported when it is asked for.
 *
 * @throws ModuleCacheError MC107 if it is not installed
 */
export async function loadOptional<T>(name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new ModuleCacheError('MC107', `${name} is not installed`, {
      hint: `npm install ${name}`,
      cause: error,
    });
  }
}
