import type { Connection } from '../connection.js';
import { ModuleCacheError } from '../errors.js';
import { requireBasePath } from '../http/paths.js';
import { normalizeRealm } from '../keys.js';
import { type AccessOptions, createAccess } from './access.js';
import { createAnswer, protect, text } from './answers.js';
import { type Asset, readAssets } from './assets.js';
import { createPageDatabase } from './database.js';
import { graphOf } from './graph.js';
import type { Message } from './messages.js';
import { createPoller } from './poller.js';
import { createShared } from './shared.js';
import { describeTrouble } from './trouble.js';
import { createViewers } from './viewers.js';

export interface PageOptions extends AccessOptions {
  /**
   * Of a role with the rights of `module_cache_operator`: a URL, options of postgres.js, or an instance of it, which
   * stays the caller's to close.
   */
  connection: Connection;
  /** URL path under which the page is, as the handler gets to see it; `/-/` unless given. */
  basePath?: string;
  /** Browsers that watch at the same time in this process; 100 unless given. */
  maxViewers?: number;
  /** Told what the page does not tell. */
  onError?: (error: unknown) => void;
}

/**
 * A web-standard request handler with a page that shows the fleet, live. It never rejects. All that watch share one
 * poller, which asks the database only while somebody does.
 */
export interface Page {
  (request: Request): Promise<Response>;
  /** Ends all streams and closes what it has opened; then it answers 503. */
  close(): Promise<void>;
}

/** What a server of Node's gives in addition to the request. */
interface Environment {
  /** Express takes the path of its mount away, and a `/` that is not there is there then. */
  readonly incoming?: { readonly originalUrl?: string };
}

const MAX_MODULES = 5_000;
const MAX_ARTIFACTS = 20_000;
const MAX_WAITING_BYTES = 1_000_000;
const STREAM_MS = 3_600_000;
/** Who reloads the page is back before the poller has stopped. */
const LINGER_MS = 3_000;
/** All who look at a realm get the same graph for so long. */
const GRAPH_MS = 2_000;
const MAX_GRAPHS = 8;
const MAX_FORM_BYTES = 4_096;
const MAX_QUERY_LENGTH = 4_000;

/** @throws ModuleCacheError MC107 if nothing protects the page, or for an option that cannot be used */
export function createPage(options: PageOptions): Page {
  const basePath = requireBasePath(options.basePath ?? '/-/');
  const access = createAccess(options);
  const database = createPageDatabase(options.connection);
  const answer = createAnswer();
  const graphs = createShared(
    async (realm) => {
      const limits = { maxModules: MAX_MODULES, maxArtifacts: MAX_ARTIFACTS };
      return JSON.stringify(graphOf(realm, await database.artifacts(realm, MAX_ARTIFACTS + 1), limits));
    },
    { keepMs: GRAPH_MS, maxKept: MAX_GRAPHS },
  );
  const explanations = createShared(
    (module) => database.explain(...(JSON.parse(module) as [realm: string, path: string])),
    { keepMs: 0, maxKept: 0 },
  );
  let assets: ReadonlyMap<string, Asset> | undefined;
  let linger: NodeJS.Timeout | undefined;
  let closed = false;

  const onError = (error: unknown): void => {
    if (!closed) queueMicrotask(() => options.onError?.(error));
  };
  function send(message: Message | string): void {
    // The fleet is told as text, and changes neither.
    if (typeof message !== 'string' && message.type !== 'trouble') {
      graphs.outdate();
      explanations.outdate();
    }
    viewers.send(message);
  }
  const poller = createPoller({ database, onError, send });
  const viewers = createViewers({
    maxViewers: options.maxViewers ?? 100,
    maxBytes: MAX_WAITING_BYTES,
    maxAgeMs: STREAM_MS,
    onFirst() {
      clearTimeout(linger);
      poller.start();
    },
    onNone() {
      clearTimeout(linger);
      linger = setTimeout(() => poller.stop(), LINGER_MS).unref();
    },
  });

  function asset(request: Request, name: string, status = 200): Promise<Response> {
    assets ??= readAssets();
    const found = assets.get(name);
    if (found === undefined) return Promise.resolve(nothingHere());
    return answer(request, found.body, found.type, status);
  }

  const json = (request: Request, body: string): Promise<Response> =>
    answer(request, body, 'application/json');

  function events(request: Request): Response {
    if (viewers.isFull) return text(503, 'too many watch already', { 'retry-after': '10' });
    const body = request.method === 'HEAD' ? null : viewers.add(poller.snapshot);
    // Some proxies keep an answer until it is complete, unless told otherwise.
    return new Response(body, {
      headers: { 'content-type': 'text/event-stream; charset=utf-8', 'x-accel-buffering': 'no' },
    });
  }

  async function login(request: Request): Promise<Response> {
    const form = new URLSearchParams(await readText(request, MAX_FORM_BYTES));
    const cookie = access.sessionFor(request, form.get('token') ?? '');
    if (cookie === undefined) return asset(request, 'login.html', 401);
    return new Response(null, { status: 303, headers: { location: './', 'set-cookie': cookie } });
  }

  async function route(request: Request, original: string | undefined): Promise<Response> {
    const url = new URL(request.url);
    if (`${url.pathname}/` === basePath) return toFolder(url.pathname);
    if (!url.pathname.startsWith(basePath)) return text(404, 'the page is not here');
    const name = url.pathname.slice(basePath.length);
    const mounted = original?.split('?', 1)[0];
    if (name === '' && mounted?.endsWith('/') === false) return toFolder(mounted);
    const verdict = await access.judge(request);
    if (verdict === 'refused')
      return text(403, 'this page is not for requests from elsewhere: open its address yourself');
    if (name === 'login' && access.hasToken && request.method === 'POST') return login(request);
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return text(405, 'only GET and HEAD are served', { allow: 'GET, HEAD' });
    // What the form needs holds nothing that is not in the package.
    const isAsset = name.startsWith('assets/');
    if (verdict === 'unknown' && !isAsset) {
      const response = await (name === ''
        ? asset(request, 'login.html', 401)
        : text(401, 'the page needs its token'));
      response.headers.set('www-authenticate', 'Bearer realm="module-cache page"');
      return response;
    }
    if (isAsset) return asset(request, name.slice('assets/'.length));
    if (name === '') return asset(request, 'index.html');
    if (name === 'events') return events(request);
    return ask(request, name, url.searchParams);
  }

  async function ask(request: Request, name: string, query: URLSearchParams): Promise<Response> {
    const realm = normalizeRealm(query.get('realm') ?? '');
    const [path, wanted] = [query.get('path') ?? '', query.get('text') ?? ''];
    if (!['graph', 'explain', 'search'].includes(name)) return nothingHere();
    if (realm === null || Math.max(path.length, wanted.length) > MAX_QUERY_LENGTH || /\0/.test(path + wanted))
      return text(400, 'not a module');
    if (name === 'graph') return json(request, await graphs.get(realm));
    if (name === 'search') return json(request, await database.search(realm, wanted));
    return json(request, await explanations.get(JSON.stringify([realm, path])));
  }

  async function page(request: Request, { incoming }: Environment = {}): Promise<Response> {
    let response: Response;
    try {
      response = closed ? text(503, 'the page is closed') : await route(request, incoming?.originalUrl);
    } catch (error) {
      const { code } = error as Partial<ModuleCacheError>;
      if (code === 'MC001') {
        response = text(400, 'not a module');
      } else {
        onError(error);
        const trouble = describeTrouble(error);
        response = closed
          ? text(503, 'the page is closed')
          : text(trouble.status, trouble.text, trouble.status === 503 ? { 'retry-after': '1' } : {});
      }
    }
    protect(response);
    const { status, headers } = response;
    return request.method === 'HEAD' ? new Response(null, { status, headers }) : response;
  }

  return Object.assign(page, {
    async close() {
      closed = true;
      viewers.close();
      clearTimeout(linger);
      const stopped = poller.stop();
      await database.close();
      await stopped;
    },
  });
}

/** Relative to the address as it is: what is in between may have another path for it. */
const toFolder = (path: string): Response =>
  text(308, 'the page is a folder', { location: `./${path.slice(path.lastIndexOf('/') + 1)}/` });

const nothingHere = (): Response =>
  text(404, 'there is nothing here: where the page is, there can be no module');

/** @throws ModuleCacheError MC001 if there is more than that */
async function readText(request: Request, maxBytes: number): Promise<string> {
  const decoder = new TextDecoder();
  let read = '';
  let bytes = 0;
  for await (const chunk of (request.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) throw new ModuleCacheError('MC001', 'more than a token');
    read += decoder.decode(chunk, { stream: true });
  }
  return read + decoder.decode();
}
