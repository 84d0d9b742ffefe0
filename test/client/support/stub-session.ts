import type { Queryable } from '../../../src/calls.js';
import type { GuardedPool } from '../../../src/guarded-pool.js';
import type { Session } from '../../../src/session.js';

/** What was asked: the text of a query with "?" for its parameters. */
export type Answers = (text: string, parameters: readonly unknown[]) => unknown[] | Promise<unknown[]>;

/** A connection whose answers a test makes up. */
export function stubSession(answer: Answers): Session & { generation: number; connected: boolean } {
  return {
    generation: 1,
    connected: true,
    run: (call) => call(stubSql(answer) as never),
    replace() {},
    async close() {},
  };
}

export const stubPool = (answer: Answers): Pick<GuardedPool, 'run'> => ({
  run: (call) => call(stubSql(answer)),
});

function stubSql(answer: Answers): Queryable {
  const ask = (strings: TemplateStringsArray, ...parameters: unknown[]) => {
    const rows = (async () => [await answer(strings.join('?'), parameters)])();
    return Object.assign(rows, { values: () => rows });
  };
  return ask as never;
}
