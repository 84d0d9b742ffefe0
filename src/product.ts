import type { PutArguments } from './calls.js';
import { ModuleCacheError } from './errors.js';
import { type ArtifactId, normalizeDependency } from './keys.js';
import type { Product } from './types.js';

/** What a producer returned, in the form in which it is stored. */
export type NormalProduct = Omit<PutArguments, 'token'>;

/** As every process will read it. @throws ModuleCacheError MC003 and MC001 for what cannot be kept. */
export function normalizeProduct(id: ArtifactId, product: Product): NormalProduct {
  const { body, headers = {}, dependencyKeys = [], expiresInMs } = product ?? {};
  const text = headersText(headers);
  const problem =
    typeof body !== 'string'
      ? 'its body is not a string'
      : text === undefined
        ? 'its headers are not an object that JSON can hold'
        : !Array.isArray(dependencyKeys)
          ? 'its dependencyKeys are not an array'
          : expiresInMs !== undefined && !(expiresInMs > 0 && expiresInMs < Number.POSITIVE_INFINITY)
            ? 'its expiresInMs is not a positive number'
            : undefined;
  if (problem !== undefined) {
    throw new ModuleCacheError('MC003', 'the producer returned no usable product', {
      detail: `${problem} (${id.realm}${id.path})`,
      hint: 'Return { body, headers, dependencyKeys } with a string body.',
    });
  }
  return {
    body: (body as string).toWellFormed(),
    headers: JSON.parse(text as string),
    dependencyKeys: normalizeAll(id, dependencyKeys),
    isError: product.isError === true,
    expiresInMs: expiresInMs ?? null,
  };
}

function headersText(headers: unknown): string | undefined {
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers)) return undefined;
  try {
    return JSON.stringify(headers).toWellFormed();
  } catch {
    return undefined;
  }
}

/** @throws ModuleCacheError MC001 for a key that can name no module */
function normalizeAll(id: ArtifactId, keys: readonly string[]): string[] {
  const normal = new Set<string>();
  for (const key of keys) {
    const declared = normalizeDependency(id.realm, key);
    if (declared === null) {
      throw new ModuleCacheError('MC001', 'not a dependency key', {
        detail: `key: ${JSON.stringify(key)?.slice(0, 200)}`,
        hint: 'A dependency key is a canonical path or key of the same realm, or a URL for a module of another realm.',
      });
    }
    normal.add(declared);
  }
  return [...normal];
}
