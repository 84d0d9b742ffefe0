import { batch } from './guards/batch.mjs';
import { cache } from './guards/cache.mjs';
import { claims } from './guards/claims.mjs';
import { coherence } from './guards/coherence.mjs';
import { failures, lookup, production, scope } from './guards/definition.mjs';
import { failure, flight, product } from './guards/flight.mjs';
import { http, httpAnswers, httpPaths, httpProducer, httpReader } from './guards/http.mjs';
import { journal, keys, l1, snapshot } from './guards/memory.mjs';
import { events, session, waiting } from './guards/session.mjs';

/**
 * The rules of src/ that keep it coherent, each spelled as it stands there, with the test that has to fail without it.
 * Whoever changes one of these lines changes it here as well: a guard that is not found is an error.
 */
export const allGuards = [
  coherence,
  journal,
  l1,
  snapshot,
  keys,
  cache,
  batch,
  flight,
  failure,
  product,
  claims,
  session,
  waiting,
  events,
  http,
  httpReader,
  httpProducer,
  httpAnswers,
  httpPaths,
  lookup,
  scope,
  production,
  failures,
].flatMap(({ file, guards }) =>
  guards.map(({ test: [testFile, name], ...guard }) => ({ file, ...guard, test: { file: testFile, name } })),
);
