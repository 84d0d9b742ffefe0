import { createHash } from 'node:crypto';
import { ModuleCacheError } from '../errors.js';
import { isText } from '../keys.js';
import { wrongShape } from '../options.js';

/**
 * How a user sees a realm. `public`: as everybody does, and shares definitions with everybody. `private`: in a way of
 * their own. `none`: not at all.
 */
export type Visibility = 'public' | 'private' | 'none';

/** @param user undefined for somebody who is not known */
export type AskVisibility = (user: string | undefined, realm: string) => Visibility | Promise<Visibility>;

/** Whose definitions a lookup reads and makes; they are variants of one artifact, so they never mix. */
export interface Scope {
  /** `public`, or `user:` and the SHA-256 of the user's id, hexadecimal. */
  readonly name: string;
  /** Undefined for the public scope: what everybody gets must not depend on who happened to ask first. */
  readonly user: string | undefined;
}

/** Bytes of the longest name of a scope. */
export const MAX_SCOPE_BYTES = 'user:'.length + 64;

/**
 * Undefined for who may see nothing. The id of a user is hashed because it can be of any length, and because variants
 * are shown to operators and kept in tables that are not about people.
 *
 * @throws ModuleCacheError MC107 for an answer that is none of the three: not to know is not to allow
 */
export async function askScope(
  ask: AskVisibility,
  user: string | undefined,
  realm: string,
): Promise<Scope | undefined> {
  const visibility = await ask(user, realm);
  if (visibility === 'public') return { name: 'public', user: undefined };
  if (visibility === 'none') return undefined;
  if (visibility !== 'private') {
    throw new ModuleCacheError('MC107', 'visibility gave no usable answer', {
      detail: `visibility: ${String(visibility)}`,
      hint: 'Return "public", "private" or "none", or a promise of one of them.',
    });
  }
  // Nobody in particular has no private view.
  if (user === undefined) return undefined;
  return { name: `user:${createHash('sha256').update(user).digest('hex')}`, user };
}

/** @throws ModuleCacheError MC003; two ids that are no text could have one hash. */
export function checkUser(user: unknown): void {
  if (user === undefined || (isText(user) && user !== '')) return;
  throw wrongShape(
    'user is no text',
    'Pass the id of a user, or leave it out for somebody who is not known.',
  );
}
