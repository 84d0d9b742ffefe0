import * as batch from './guards/batch.mjs';
import * as cache from './guards/cache.mjs';
import * as claims from './guards/claims.mjs';
import * as coherence from './guards/coherence.mjs';
import * as definition from './guards/definition.mjs';
import * as flight from './guards/flight.mjs';
import * as garbage from './guards/garbage.mjs';
import * as http from './guards/http.mjs';
import * as memory from './guards/memory.mjs';
import * as operators from './guards/operators.mjs';
import * as pressure from './guards/pressure.mjs';
import * as privateRealms from './guards/private-realms.mjs';
import * as realm from './guards/realm.mjs';
import * as session from './guards/session.mjs';
import * as transpile from './guards/transpile.mjs';

/**
 * The rules of src/ that keep it coherent, each spelled as it stands there, with the test that has to fail without it.
 * Whoever changes one of these lines changes it here as well: a guard that is not found is an error.
 */
export const allGuards = [
  batch,
  cache,
  claims,
  coherence,
  definition,
  flight,
  garbage,
  http,
  memory,
  operators,
  pressure,
  privateRealms,
  realm,
  session,
  transpile,
]
  .flatMap((guarded) => Object.values(guarded))
  .flatMap(({ file, guards }) =>
    guards.map(({ test: [testFile, name], ...guard }) => ({
      file,
      ...guard,
      test: { file: testFile, name },
    })),
  );
