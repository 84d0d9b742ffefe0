import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerResponse } from 'node:http2';
import { getRequestListener } from '@hono/node-server';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { Answer } from './answers.js';
import { answererOf, type ModuleHandler } from './handler.js';
import { climbs } from './paths.js';

/** A listener for `node:http`, and a middleware for Express and Connect. */
export type NodeListener = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * Serves a handler from Node's own server. It sees the request target as it was sent, and refuses dot segments and
 * backslashes that a URL object would have resolved. What `createModuleHandler` made is served without a `Response` for
 * each answer, and so faster: pass it as it is rather than in a handler of yours.
 *
 * Express takes the path of its mount away before, so `basePath` stays `/` there.
 */
export function createNodeListener(handler: ModuleHandler): NodeListener {
  const answerTo = answererOf(handler);
  const listener = getRequestListener(
    answerTo === undefined
      ? handler
      : async (request, { outgoing }) => {
          write(await answerTo(request), outgoing);
          return RESPONSE_ALREADY_SENT;
        },
    { overrideGlobalObjects: false },
  );
  return (request, response) => {
    if (climbs(request.url ?? '/')) {
      const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' };
      response.writeHead(400, headers).end('not a module path\n');
      return;
    }
    void listener(request, response);
  };
}

function write({ status, headers, body }: Answer, outgoing: ServerResponse | Http2ServerResponse): void {
  outgoing.writeHead(status, Object.fromEntries(headers));
  if (body === null) outgoing.end();
  else outgoing.end(body);
}
