import { createHash } from 'node:crypto';
import { createCompressor, negotiateCoding } from '../http/coding.js';
import { etagAt, matchesEtag } from '../http/etag.js';

/** Nothing but what this server itself sends, nothing inline, and no frame around it. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "worker-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

export function protect(response: Response): Response {
  const { headers } = response;
  headers.set('content-security-policy', POLICY);
  headers.set('x-content-type-options', 'nosniff');
  headers.set('referrer-policy', 'no-referrer');
  headers.set('cross-origin-opener-policy', 'same-origin');
  headers.set('cross-origin-resource-policy', 'same-origin');
  if (!headers.has('cache-control')) headers.set('cache-control', 'no-store');
  return response;
}

export function text(status: number, message: string, headers: Record<string, string> = {}): Response {
  return new Response(`${message}\n`, {
    status,
    headers: { 'content-type': 'text/plain; charset=utf-8', ...headers },
  });
}

/** Answers with a text that the browser may keep and has to ask about: compressed, and 304 if it has it. */
export type Answer = (request: Request, body: string, type: string, status?: number) => Promise<Response>;

const COMPRESSED_BYTES = 8_000_000;
const COMPRESSED_FROM_BYTES = 1024;

export function createAnswer(): Answer {
  const compressor = createCompressor(COMPRESSED_BYTES);
  return async (request, body, type, status = 200) => {
    const coding =
      body.length < COMPRESSED_FROM_BYTES
        ? 'identity'
        : negotiateCoding(request.headers.get('accept-encoding'));
    const digest = createHash('sha256').update(body).digest('base64url').slice(0, 27);
    const etag = etagAt(`"${digest}"`, undefined, coding);
    const headers = new Headers({
      'content-type': type,
      'cache-control': 'private, no-cache',
      vary: 'accept-encoding, cookie, authorization',
    });
    if (status === 200) {
      headers.set('etag', etag);
      const known = request.headers.get('if-none-match');
      if (known !== null && matchesEtag(known, etag)) return new Response(null, { status: 304, headers });
    }
    if (coding !== 'identity') headers.set('content-encoding', coding);
    const content = coding === 'identity' ? body : await compressor.compress(body, coding, etag);
    return new Response(content, { status, headers });
  };
}
