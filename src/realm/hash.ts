import { createHash } from 'node:crypto';

/** Artifacts that were made from a source carry the hash of its text under this header. */
export const SOURCE_HASH_HEADER = 'source-hash';

/** SHA-256, hexadecimal. */
export const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex');
