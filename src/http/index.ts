export { etagOf, matchesEtag } from './etag.js';
export { createModuleHandler, type ModuleHandler, type ModuleHandlerOptions } from './handler.js';
