import { createHash } from 'node:crypto';

/** A strong tag of what a URL answers: equal in every process, different for two URLs with the same body. */
export function etagOf(path: string, variant: string, body: string): string {
  const hash = createHash('sha256').update(`${path}\n${variant}\n${body}`).digest('base64url');
  return `"${hash.slice(0, 27)}"`;
}

/** Whether `If-None-Match` names the tag: `*`, or a list in which weak tags count as well (RFC 9110, 13.1.2). */
export function matchesEtag(ifNoneMatch: string, etag: string): boolean {
  if (ifNoneMatch.trim() === '*') return true;
  return [...ifNoneMatch.matchAll(/(?:W\/)?("[^"]*")/g)].some(([, tag]) => tag === etag);
}
