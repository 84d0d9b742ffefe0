// The modules of a folder below /modules/, in an application of Fastify.
import fastify from 'fastify';
import { createNodeListener } from 'pg-module-cache/http';
import { openModules, port } from './modules.mjs';

const modules = createNodeListener(await openModules('/modules/'));

const app = fastify();
app.all('/modules/*', (request, reply) => {
  reply.hijack();
  modules(request.raw, reply.raw);
});
app.get('/', (_, reply) => {
  reply.type('text/html').send('<!doctype html>\n<script type="module" src="/modules/main.ts"></script>\n');
});

console.log(`${await app.listen({ port, host: '127.0.0.1' })}/`);
