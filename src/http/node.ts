import type { IncomingMessage, ServerResponse } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import type { ModuleHandler } from './handler.js';
import { climbs } from './paths.js';

/** A listener for `node:http`, and a middleware for Express and Connect. */
export type NodeListener = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * Serves a handler from Node's own server. It sees the request target as it was sent, and refuses dot segments and
 * backslashes that a URL object would have resolved.
 *
 * Express takes the path of its mount away before, so `basePath` stays `/` there.
 */
export function createNodeListener(handler: ModuleHandler): NodeListener {
  const listener = getRequestListener(handler, { overrideGlobalObjects: false });
  return (request, response) => {
    if (climbs(request.url ?? '/')) {
      const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' };
      response.writeHead(400, headers).end('not a module path\n');
      return;
    }
    void listener(request, response);
  };
}
