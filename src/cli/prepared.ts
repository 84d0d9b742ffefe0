import { isRelayed } from '../pooler.js';
import { openQuestions } from './database.js';

/**
 * Whether somebody is in between, and whether it passes prepared statements on under the name that they were given: then
 * the next transaction may look for them in another session.
 */
export async function inspectPrepared(
  url: string | undefined,
  applicationName: string,
): Promise<{ relayed: boolean; prepared: boolean }> {
  const questions = openQuestions(url, applicationName, { prepare: true });
  try {
    return await questions.ask(async (sql) => {
      const answer = await sql`
        select pg_backend_pid()::text, json_agg(name)::text
        from pg_prepared_statements
        where statement like '%pg_prepared_statements%'`.values();
      const [pid, names] = answer[answer.length - 1] as unknown as [string, string | null];
      return {
        relayed: isRelayed(answer, pid),
        prepared: (JSON.parse(names ?? '[]') as string[]).includes(answer.statement.name),
      };
    });
  } finally {
    await questions.close();
  }
}
