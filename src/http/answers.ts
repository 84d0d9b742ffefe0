import Negotiator from 'negotiator';
import type { ModuleCacheError } from '../errors.js';
import type { CompileFailure } from '../transpile/index.js';
import type { ServedModule } from '../types.js';
import { type Compressor, negotiateCoding } from './coding.js';
import { etagAt, etagOf, matchesEtag } from './etag.js';

/** What is answered, before it is a Response, whose stream costs a server as much as a quarter of its time. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string | Uint8Array<ArrayBuffer> | null;
}

/** What decides about an answer besides the module itself. */
export interface Asked {
  readonly request: Request;
  readonly canonicalPath: string;
  readonly variant: string;
  /** Path and query under which it was asked for, if that is not the module's own URL. */
  readonly otherUrl: string | undefined;
  /** Of the module's own URL, relative to the one asked for; undefined if they are one. */
  readonly contentLocation: string | undefined;
  readonly cacheControl: string;
  readonly vary: readonly string[];
}

/** Smaller bodies are not worth the headers. */
const COMPRESSED_FROM_BYTES = 1024;
/** How long a client had better wait, in seconds: a failed production is remembered for one. */
const RETRY_AFTER = '1';

/** 200, or 304 if the client has it. Whatever it says is of the one module that it is given. */
export async function succeeded(asked: Asked, module: ServedModule, compressor: Compressor): Promise<Answer> {
  const { request } = asked;
  const { body, headers: known } = module;
  const bytes = Buffer.byteLength(body);
  const coding =
    bytes < COMPRESSED_FROM_BYTES ? 'identity' : negotiateCoding(request.headers.get('accept-encoding'));
  const own = typeof known.etag === 'string' ? known.etag : etagOf(asked.canonicalPath, asked.variant, body);
  const etag = etagAt(own, asked.otherUrl, coding);
  const headers = headersOf(asked, module, ['accept-encoding']);
  // Nobody is to keep what may be outdated, nor to be told that theirs is still good.
  const stale = module.staleMs !== undefined;
  if (!stale) headers.set('etag', etag);
  if (asked.contentLocation !== undefined) headers.set('content-location', asked.contentLocation);
  const ifNoneMatch = request.headers.get('if-none-match');
  if (!stale && ifNoneMatch !== null && matchesEtag(ifNoneMatch, etag))
    return { status: 304, headers, body: null };

  const content =
    coding === 'identity' ? body : await compressor.compress(body, coding, etagAt(own, undefined, coding));
  headers.set('content-type', String(known['content-type'] ?? 'text/javascript; charset=utf-8'));
  headers.set('content-length', String(typeof content === 'string' ? bytes : content.byteLength));
  if (coding !== 'identity') headers.set('content-encoding', coding);
  if (!stale && typeof known['last-modified'] === 'string')
    headers.set('last-modified', known['last-modified']);
  return { status: 200, headers, body: content };
}

/** A module that does not compile: as JSON, or as text for who likes text better. */
export function failed(asked: Asked, module: ServedModule): Answer {
  const headers = headersOf(asked, module, ['accept']);
  const accept = asked.request.headers.get('accept') ?? '*/*';
  const liked = new Negotiator({ headers: { accept } }).mediaType([
    'application/json',
    'text/plain',
    'text/html',
  ]);
  if (liked === undefined || liked === 'application/json') {
    headers.set('content-type', 'application/json; charset=utf-8');
    return withText(422, module.body, headers);
  }
  const failure = JSON.parse(module.body) as CompileFailure;
  const place = [failure.file, failure.line, failure.column].filter((part) => part !== null).join(':');
  return plain(422, `${place}: ${failure.message}\n\n${failure.codeFrame ?? ''}`, headers);
}

function headersOf(asked: Asked, module: ServedModule, vary: readonly string[]): Headers {
  const headers = new Headers({
    'cache-control': module.staleMs === undefined ? asked.cacheControl : 'no-store',
    vary: [...vary, ...asked.vary].join(', '),
    'x-module-cache': module.source,
  });
  if (module.staleMs !== undefined)
    headers.set('x-module-cache-stale', String(Math.ceil(module.staleMs / 1000)));
  if (module.token !== undefined) headers.set('x-module-cache-token', module.token);
  return headers;
}

/** The same bytes for what does not exist and for what is not to be known to exist. */
export const notFound = (): Answer => plain(404, 'no such module');

/** The module lies in a private realm, and the role of this process is no member of its role. */
export const isRefusedByRole = (error: unknown): boolean =>
  (error as Partial<ModuleCacheError>).code === 'MC006';

export function refused(error: unknown): Answer {
  const { code, message } = error as Partial<ModuleCacheError>;
  if (code === 'MC105' || isRefusedByRole(error)) return notFound();
  if (code === 'MC001' || code === 'MC002') return plain(400, `${message}`);
  // What went wrong inside is nothing for whoever asked.
  const told = code === 'MC103' ? 'the server is stopping' : 'the module could not be served';
  return plain(503, told, { 'retry-after': RETRY_AFTER });
}

export function plain(status: number, text: string, more: Headers | Record<string, string> = {}): Answer {
  const headers = new Headers(more);
  headers.set('content-type', 'text/plain; charset=utf-8');
  if (!headers.has('cache-control')) headers.set('cache-control', 'no-store');
  return withText(status, `${text}\n`, headers);
}

function withText(status: number, text: string, headers: Headers): Answer {
  headers.set('content-length', String(Buffer.byteLength(text)));
  return { status, headers, body: text };
}
