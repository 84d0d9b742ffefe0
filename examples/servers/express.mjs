// The modules of a folder below /modules/, in an application of Express, which takes the path of the mount away.
import express from 'express';
import { createNodeListener } from 'pg-module-cache/http';
import { openModules, port } from './modules.mjs';

const app = express();
app.use('/modules', createNodeListener(await openModules('/')));
app.get('/', (_, response) => {
  response.type('html').send('<!doctype html>\n<script type="module" src="/modules/main.ts"></script>\n');
});

const server = app.listen(port, '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}/`);
});
