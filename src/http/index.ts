export type { Cors } from './cors.js';
export { etagOf, matchesEtag } from './etag.js';
export {
  createModuleHandler,
  type ModuleHandler,
  type ModuleHandlerOptions,
  type Visibility,
} from './handler.js';
export type { ImportMap } from './import-map.js';
export { createNodeListener, type NodeListener } from './node.js';
export {
  createDefinitionProducer,
  createModuleProducer,
  type ModuleProducer,
  type ModuleProducerOptions,
  type ProduceOptions,
} from './producer.js';
