import * as core from 'pg-module-cache';
import * as definition from 'pg-module-cache/definition';
import * as http from 'pg-module-cache/http';
import * as observe from 'pg-module-cache/observe';
import * as page from 'pg-module-cache/page';
import * as realm from 'pg-module-cache/realm';
import * as transpile from 'pg-module-cache/transpile';

const names = (module) => Object.keys(module).sort();
console.log(JSON.stringify([core, transpile, definition, realm, http, observe, page].map(names)));
