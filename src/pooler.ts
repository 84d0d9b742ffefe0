import type { Sql } from 'postgres';
import { only } from './calls.js';
import { withDeadline } from './waiting.js';

/**
 * A pooler in transaction mode gives every transaction whatever session of the server is free. What belongs to a session
 * (locks, listening, settings, prepared statements) is then left behind for others, and not there when it is needed.
 */

const ANSWER_TIMEOUT_MS = 5_000;
const ROUNDS = 4;

interface Answer {
  /** The server's process as the connection was told when it was opened. */
  readonly state?: { readonly pid?: number } | null;
}

/** Whether somebody in between speaks for the server: the process that was announced is not the one that answers. */
export const isRelayed = (answer: Answer, backendPid: unknown): boolean =>
  answer.state?.pid !== undefined && String(answer.state.pid) !== String(backendPid);

/**
 * Whether a connection keeps its session from one transaction to the next. Of a pooler that does not answer in time
 * the worst is assumed.
 *
 * @param sql of one connection at most, that prepares nothing
 */
export async function keepsSession(sql: Sql, openAnother: () => Sql): Promise<boolean> {
  if (!(await askSession(sql)).relayed) return true;
  const other = openAnother();
  try {
    const shared = compareSessions(sql, other);
    return !(await withDeadline(shared, ANSWER_TIMEOUT_MS, () => new Error('no session within the time')));
  } catch {
    return false;
  } finally {
    await other.end({ timeout: 0 });
  }
}

/**
 * True as soon as both have had the same session, or one of them two. An idle pooler gives the session that was used
 * last, or each in its turn, which two questions in a row bring to light; a busy one gives any.
 */
async function compareSessions(one: Sql, other: Sql): Promise<boolean> {
  const first = await askSession(one);
  for (let round = 0; round < ROUNDS; round += 1) {
    if ((await askSession(other)).pid === first.pid) return true;
    for (let again = 0; again < 2; again += 1) if ((await askSession(one)).pid !== first.pid) return true;
  }
  return false;
}

async function askSession(sql: Sql): Promise<{ pid: string; relayed: boolean }> {
  const answer = await sql`select pg_backend_pid()::text`.values();
  const pid = only(answer)[0] as string;
  return { pid, relayed: isRelayed(answer, pid) };
}

/** Whether the way to the server leads through somebody who may share sessions. */
export const leadsThroughPooler = async (sql: Sql): Promise<boolean> => (await askSession(sql)).relayed;
