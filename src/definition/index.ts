export type { DefinitionAnswer, DefinitionFailure } from './answer.js';
export {
  createDefinitionLookup,
  type DefinitionLookup,
  type DefinitionLookupOptions,
  type LookupOptions,
} from './lookup.js';
export type {
  DefinitionProducer,
  DefinitionRequest,
  DefinitionResult,
  ModuleName,
  ReportedFailure,
} from './production.js';
export type { AskVisibility, Visibility } from './scope.js';
