import { cache } from './guards/cache.mjs';
import { claims } from './guards/claims.mjs';
import { coherence } from './guards/coherence.mjs';
import { flight, product } from './guards/flight.mjs';
import { http } from './guards/http.mjs';
import { journal, keys, l1, snapshot } from './guards/memory.mjs';
import * as realm from './guards/realm.mjs';
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
  flight,
  product,
  claims,
  session,
  waiting,
  events,
  http,
  ...Object.values(realm),
].flatMap(({ file, guards }) =>
  guards.map(({ test: [testFile, name], ...guard }) => ({ file, ...guard, test: { file: testFile, name } })),
);
