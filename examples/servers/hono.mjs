// The modules of a folder below /modules/, in an application of Hono.
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { openModules, port } from './modules.mjs';

const modules = await openModules('/modules/');

const app = new Hono();
app.all('/modules/*', (context) => modules(context.req.raw));
app.get('/', (context) =>
  context.html('<!doctype html>\n<script type="module" src="/modules/main.ts"></script>\n'),
);

serve({ fetch: app.fetch, port, hostname: '127.0.0.1' }, (address) => {
  console.log(`http://127.0.0.1:${address.port}/`);
});
