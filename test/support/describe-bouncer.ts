import { describe } from '@jest/globals';
import { findBouncer } from '../support/pgbouncer.js';

/** Tests that need one; without one they are skipped, and that is said. */
export const describeBouncer: (name: string, tests: () => void) => void = (name, tests) => {
  if (findBouncer() !== undefined) describe(name, tests);
  else {
    process.stderr.write(`skipped, because there is no pgbouncer (PGBOUNCER may name one): ${name}\n`);
    describe.skip(name, tests);
  }
};
