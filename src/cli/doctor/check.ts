import type { Sql } from 'postgres';
import { only } from '../../calls.js';
import type { Questions } from '../database.js';

/** What the checks of `doctor` have in common. */

export type CheckStatus = 'pass' | 'warn' | 'fail' | 'skip';

export interface Result {
  readonly status: CheckStatus;
  /** What was found, or why it was not looked for. */
  readonly figure: string;
  /** What to do; empty if nothing is to be done. */
  readonly advice: string;
}

export interface Finding extends Result {
  readonly name: string;
}

export interface Patient {
  readonly url: string | undefined;
  /** Of Postgres itself, if the database URL leads to a pooler. */
  readonly listenUrl: string | undefined;
  readonly questions: Questions;
  /** Whether the schema is installed at all. */
  readonly hasSchema: boolean;
}

export interface Check {
  readonly name: string;
  /** It asks the schema's own views or functions. */
  readonly needsSchema?: boolean;
  run(patient: Patient): Promise<Result>;
}

export const pass = (figure: string): Result => ({ status: 'pass', figure, advice: '' });
export const warn = (figure: string, advice: string): Result => ({ status: 'warn', figure, advice });
export const fail = (figure: string, advice: string): Result => ({ status: 'fail', figure, advice });
export const skip = (figure: string): Result => ({ status: 'skip', figure, advice: '' });

/** The one JSON document that a query answers with. */
export const askJson = async <T>(
  patient: Patient,
  query: (sql: Sql) => Promise<readonly unknown[]>,
): Promise<T> => JSON.parse(only(await patient.questions.ask(query))[0] as string) as T;

/** A check says what it found; that it cannot look, for want of rights or a schema, is nobody's failure. */
export async function runCheck({ name, needsSchema, run }: Check, patient: Patient): Promise<Finding> {
  if (needsSchema && !patient.hasSchema) return { name, ...skip('there is no schema module_cache') };
  try {
    return { name, ...(await run(patient)) };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (code === '42501') return { name, ...skip(`${message}; module_cache_operator may`) };
    if (code === '42P01' || code === '42883' || code === '42703')
      return { name, ...skip('this schema does not tell it; upgrade it') };
    return { name, ...fail(message, 'Run it again; if it stays, look into the log of the server.') };
  }
}
