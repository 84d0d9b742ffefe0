import { ModuleCacheError } from '../errors.js';

export const misuse = (detail: string, hint: string): ModuleCacheError =>
  new ModuleCacheError('MC107', 'an option of the page cannot be used', { detail, hint });
