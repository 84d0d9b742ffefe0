import type { ModuleCache } from '../cache.js';
import { ModuleCacheError } from '../errors.js';
import { normalizePath, requireRealm } from '../keys.js';
import { SOURCE_HASH_HEADER } from '../realm/compare.js';
import type { ModuleSource } from '../realm/source.js';
import type { CompileFailure, Transpiler } from '../transpile/index.js';
import type { CachedModule, Product, Source } from '../types.js';
import { etagOf, matchesEtag } from './etag.js';

export interface ModuleHandlerOptions {
  cache: ModuleCache;
  /** URL of the realm whose modules are served. */
  realm: string;
  source: ModuleSource;
  transpiler: Transpiler;
  /** Sent as `x-module-cache-peer`, to tell the processes of a fleet apart. */
  peer?: string;
}

/** A web-standard request handler that serves the compiled modules of one realm. */
export type ModuleHandler = (request: Request) => Promise<Response>;

/** @throws ModuleCacheError MC001 for a realm that is none */
export function createModuleHandler(options: ModuleHandlerOptions): ModuleHandler {
  const { cache, source, transpiler } = options;
  const realm = requireRealm(options.realm);
  const { variant } = transpiler;

  async function produce(path: string, signal: AbortSignal): Promise<Product> {
    const file = await source.read(path);
    if (file === undefined) throw noSuchModule(path);
    const result = await transpiler.transpile({ realm, path, source: file.text, signal });
    return {
      ...result,
      headers: {
        ...result.headers,
        [SOURCE_HASH_HEADER]: file.hash,
        etag: etagOf(path, variant, result.body),
        ...(file.lastModified === undefined ? {} : { 'last-modified': file.lastModified.toUTCString() }),
      },
    };
  }

  async function find(path: string, request: Request): Promise<[CachedModule, Source]> {
    const after = request.headers.get('x-module-cache-after') ?? undefined;
    if (after === undefined) {
      const module = cache.peek({ realm, path, variant });
      if (module !== undefined) return [module, 'l1'];
    }
    const canonicalPath = await source.resolve(path);
    if (canonicalPath === undefined) throw noSuchModule(path);
    const served = await cache.getOrProduce(
      { realm, path: canonicalPath, variant },
      ({ signal }) => produce(canonicalPath, signal),
      { signal: request.signal, ...(after === undefined ? {} : { after }) },
    );
    return [served, served.source];
  }

  async function answer(request: Request): Promise<Response> {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return text(405, 'only GET and HEAD are served', { allow: 'GET, HEAD' });
    }
    const path = requestedPath(realm, request.url);
    if (path === undefined) return text(400, 'not a module path');
    const [module, from] = await find(path, request);
    return module.status === 'error' ? failed(request, module, from) : succeeded(request, module, from);
  }

  return async (request) => {
    let response: Response;
    try {
      response = await answer(request);
    } catch (error) {
      response = refused(error);
    }
    if (options.peer !== undefined) response.headers.set('x-module-cache-peer', options.peer);
    return response;
  };
}

function succeeded(request: Request, module: CachedModule, from: Source): Response {
  const etag = String(module.headers.etag);
  const headers = {
    etag,
    'cache-control': 'no-cache',
    ...(module.headers['last-modified'] === undefined
      ? {}
      : { 'last-modified': String(module.headers['last-modified']) }),
    'x-module-cache': from,
  };
  const ifNoneMatch = request.headers.get('if-none-match');
  if (ifNoneMatch !== null && matchesEtag(ifNoneMatch, etag))
    return new Response(null, { status: 304, headers });
  return new Response(request.method === 'HEAD' ? null : module.body, {
    headers: {
      ...headers,
      'content-type': String(module.headers['content-type']),
      'content-length': String(Buffer.byteLength(module.body)),
    },
  });
}

/** A module that does not compile: as JSON, or as text for who asks for text. */
function failed(request: Request, module: CachedModule, from: Source): Response {
  const headers = { 'cache-control': 'no-cache', vary: 'accept', 'x-module-cache': from };
  const accept = request.headers.get('accept') ?? '';
  if (!/text\/(plain|html)/.test(accept) || accept.includes('json')) {
    return new Response(request.method === 'HEAD' ? null : module.body, {
      status: 422,
      headers: { ...headers, 'content-type': 'application/json; charset=utf-8' },
    });
  }
  const failure = JSON.parse(module.body) as CompileFailure;
  const place = [failure.file, failure.line, failure.column].filter((part) => part !== null).join(':');
  return text(422, `${place}: ${failure.message}\n\n${failure.codeFrame ?? ''}`, headers);
}

function refused(error: unknown): Response {
  const { code, message, detail } = error as Partial<ModuleCacheError>;
  if (code === 'MC105') return text(404, `${message}${detail === undefined ? '' : `: ${detail}`}`);
  if (code === 'MC001' || code === 'MC002') return text(400, `${message}`);
  if (code === 'MC102') return text(504, `${message}`);
  // What went wrong inside is nothing for whoever asked.
  return text(503, code === 'MC103' ? 'the server is stopping' : 'the module could not be served');
}

function text(status: number, body: string, headers: Record<string, string> = {}): Response {
  return new Response(`${body}\n`, {
    status,
    headers: { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store', ...headers },
  });
}

/** Undefined for what can name no module; percent-decoded once. */
function requestedPath(realm: string, url: string): string | undefined {
  try {
    const path = decodeURIComponent(new URL(url).pathname.slice(1));
    return path === '' ? '' : (normalizePath(realm, path) ?? undefined);
  } catch {
    return undefined;
  }
}

function noSuchModule(path: string): ModuleCacheError {
  return new ModuleCacheError('MC105', 'no such module', { detail: path });
}
