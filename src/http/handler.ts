import type { ModuleCache } from '../cache.js';
import { requireRealm } from '../keys.js';
import { createSourceGuard } from '../realm/guard.js';
import type { ModuleSource } from '../realm/source.js';
import { parseCoherenceToken } from '../snapshot.js';
import type { Transpiler } from '../transpile/index.js';
import {
  type Answer,
  type Asked,
  failed,
  isRefusedByRole,
  notFound,
  plain,
  refused,
  succeeded,
} from './answers.js';
import { createCompressor } from './coding.js';
import { type Cors, createCors } from './cors.js';
import type { ImportMap } from './import-map.js';
import { relativeUrl, requestedPath, requireBasePath, urlPathOf } from './paths.js';
import { createDefinitionProducer, createModuleProducer } from './producer.js';
import { createReader, folderOf, type Wanted } from './reader.js';

/** `none`: for whoever asks there is no such module. */
export type Visibility = 'public' | 'private' | 'none';

export interface ModuleHandlerOptions {
  cache: ModuleCache;
  /** URL of the realm whose modules are served. */
  realm: string;
  source: ModuleSource;
  transpiler: Transpiler;
  /** Where bare specifiers lead; those that it does not name are left to the browser's import map. */
  imports?: ImportMap;
  /** URL path under which the modules are, as the handler gets to see it; `/` unless given. */
  basePath?: string;
  /**
   * Who may read what, asked at every request and never remembered. Anything else than `public` and `private` counts
   * as `none`. Without it answers say `no-cache` and nothing about who may keep them.
   */
  visibility?: (request: Request) => Visibility | Promise<Visibility>;
  /** Pages of other origins that may load modules; none unless given. */
  cors?: Cors;
  /** How often, in ms, the source of a cached module is looked at; see `createSourceGuard`. */
  recheckMs?: number;
  /** Bound for the compressed bodies that are remembered, in bytes; 32 MB unless given. */
  compressedBytes?: number;
  /** Sent as `x-module-cache-peer`, to tell the processes of a fleet apart. */
  peer?: string;
  /** Told what a 503 does not tell, and a 404 because of a private realm that this process may not read (MC006). */
  onError?: (error: unknown, request: Request) => void;
}

/**
 * A web-standard request handler that serves the compiled modules of one realm, and with `?definition` what they export
 * and import. It never rejects.
 *
 * A URL object resolves dot segments before a handler sees them: behind Node's own server use `createNodeListener`.
 */
export type ModuleHandler = (request: Request) => Promise<Response>;

/** What a handler of this package answers, for a server that needs no Response. It never rejects. */
export type Answerer = (request: Request) => Promise<Answer>;

const answerers = new WeakMap<ModuleHandler, Answerer>();
export const answererOf = (handler: ModuleHandler): Answerer | undefined => answerers.get(handler);

const METHODS = 'GET, HEAD, OPTIONS';

/** @throws ModuleCacheError MC001 for a realm that is none, MC107 for an option that cannot be used */
export function createModuleHandler(options: ModuleHandlerOptions): ModuleHandler {
  const { cache, source, visibility, recheckMs } = options;
  const realm = requireRealm(options.realm);
  const basePath = requireBasePath(options.basePath ?? '/');
  const addCors = createCors(options.cors);
  const compressor = createCompressor(options.compressedBytes ?? 32_000_000);
  const read = createReader({
    cache,
    realm,
    source,
    guard: createSourceGuard({ cache, realm, source, ...(recheckMs === undefined ? {} : { recheckMs }) }),
    producers: { transpile: createModuleProducer(options), definition: createDefinitionProducer(options) },
  });

  async function find(request: Request): Promise<Answer> {
    if (request.method === 'OPTIONS')
      return { status: 204, headers: new Headers({ allow: METHODS }), body: null };
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return plain(405, 'only GET and HEAD are served', { allow: METHODS });
    }
    const url = new URL(request.url);
    const requested = requestedPath(realm, basePath, url);
    if (requested === 'outside') return notFound();
    if (requested === 'malformed') return plain(400, 'not a module path');
    const after = request.headers.get('x-module-cache-after') ?? undefined;
    // Before anything else: the answer must not tell whether there is such a module.
    if (after !== undefined && !isToken(after)) {
      return plain(
        400,
        'not a token: x-module-cache-after takes what x-module-cache-token or an invalidation said',
      );
    }
    const visible = visibility === undefined ? undefined : await visibility(request);
    if (visibility !== undefined && visible !== 'public' && visible !== 'private') return notFound();

    const { path } = requested;
    const kind = url.searchParams.has('definition') ? 'definition' : 'transpile';
    const wanted: Wanted = { path, kind, after, signal: request.signal };
    const found = await read(wanted);
    const { module, canonicalPath } = found;
    const asked: Asked = {
      ...found,
      request,
      otherUrl: path === canonicalPath && url.search === '' ? undefined : path + url.search,
      contentLocation: path === canonicalPath ? undefined : ownUrl(path, canonicalPath, kind),
      cacheControl: visible === undefined ? 'no-cache' : `${visible}, no-cache`,
      vary: visible === 'private' ? ['cookie', 'authorization'] : [],
    };
    return module.status === 'error' ? failed(asked, module) : await succeeded(asked, module, compressor);
  }

  const answerTo: Answerer = async (request) => {
    let answer: Answer;
    try {
      answer = await find(request);
    } catch (error) {
      answer = refused(error);
      if ((answer.status === 503 || isRefusedByRole(error)) && !request.signal.aborted) {
        // On its own, so that what it throws keeps no answer from the client, as with the events of the cache.
        queueMicrotask(() => options.onError?.(error, request));
      }
    }
    const { headers } = answer;
    // A text in a user's module must not become a page.
    headers.set('x-content-type-options', 'nosniff');
    if (options.peer !== undefined) headers.set('x-module-cache-peer', options.peer);
    addCors(request, headers);
    return request.method === 'HEAD' ? { ...answer, body: null } : answer;
  };
  const handler: ModuleHandler = async (request) => {
    const { status, headers, body } = await answerTo(request);
    return new Response(body, { status, headers });
  };
  answerers.set(handler, answerTo);
  return handler;
}

/** Of a module, relative to the URL under which it was asked for by another name. */
const ownUrl = (path: string, canonicalPath: string, kind: Wanted['kind']): string =>
  relativeUrl(folderOf(path), urlPathOf(canonicalPath)) + (kind === 'definition' ? '?definition' : '');

function isToken(text: string): boolean {
  try {
    parseCoherenceToken(text);
    return true;
  } catch {
    return false;
  }
}
