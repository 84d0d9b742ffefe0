import { createHash } from 'node:crypto';

const digest = (...parts: string[]): string =>
  createHash('sha256').update(parts.join('\n')).digest('base64url').slice(0, 27);

/** A strong tag of what a module's own URL answers: equal in every process, different for two modules with one body. */
export const etagOf = (path: string, variant: string, body: string): string =>
  `"${digest(path, variant, body)}"`;

/**
 * The tag under another URL of the module (an alias, a query) and in another coding: each is a representation of its
 * own, and a strong tag names one.
 */
export function etagAt(etag: string, otherUrl: string | undefined, coding: string): string {
  const bare = etag.slice(1, -1);
  const located = otherUrl === undefined ? bare : digest(bare, otherUrl);
  return coding === 'identity' ? `"${located}"` : `"${located}-${coding}"`;
}

/** Whether `If-None-Match` names the tag: `*`, or a list in which weak tags count as well (RFC 9110, 13.1.2). */
export function matchesEtag(ifNoneMatch: string, etag: string): boolean {
  if (ifNoneMatch.trim() === '*') return true;
  return [...ifNoneMatch.matchAll(/(?:W\/)?("[^"]*")/g)].some(([, tag]) => tag === etag);
}
