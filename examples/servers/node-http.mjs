// The modules of a folder below /modules/, from Node's own server.
import { createServer } from 'node:http';
import { createNodeListener } from 'pg-module-cache/http';
import { openModules, port } from './modules.mjs';

const modules = createNodeListener(await openModules('/modules/'));

const server = createServer((request, response) => {
  if (request.url?.startsWith('/modules/')) return modules(request, response);
  response.setHeader('content-type', 'text/html; charset=utf-8');
  response.end('<!doctype html>\n<script type="module" src="/modules/main.ts"></script>\n');
});

server.listen(port, '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}/`);
});
