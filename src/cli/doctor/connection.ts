import type { Sql } from 'postgres';
import { notify } from '../../calls.js';
import { openDedicated } from '../../connection.js';
import { ModuleCacheError } from '../../errors.js';
import { keepsSession } from '../../pooler.js';
import { openSession } from '../../session.js';
import { inspectPrepared } from '../prepared.js';
import { duration, percent } from '../text.js';
import { askJson, type Check, fail, pass, type Result, warn } from './check.js';

/** What may stand between a peer and the server, and whether its dedicated connection hears. */

const QUEUE_WARN = 0.25;
/** From here on the functions do not notify any more. */
const QUEUE_FAIL = 0.5;

const pooler: Check = {
  name: 'pooler',
  async run(patient) {
    const { relayed, prepared } = await inspectPrepared(patient.url, 'module-cache doctor');
    if (!relayed) return pass('none in between');
    const keeps = await patient.questions.ask((sql) =>
      keepsSession(sql, () => openDedicated(sql, { max: 1, prepare: false, fetch_types: false })),
    );
    if (keeps) return pass('one in between, with a session for each client');
    const lost = prepared ? 'it loses prepared statements' : 'prepared statements are kept apart by it';
    const figure = `one in between that shares sessions (transaction mode); ${lost}`;
    if (prepared)
      return warn(
        figure,
        'A pool of the cache prepares nothing here; an instance of postgres.js needs prepare: false, or use PgBouncer 1.21 with max_prepared_statements.',
      );
    return pass(figure);
  },
};

const listening: Check = {
  name: 'listening',
  async run({ url, listenUrl, questions }) {
    const began = performance.now();
    const dedicated = listenUrl ?? url ?? {};
    try {
      const session = await openSession({
        connection: dedicated,
        applicationName: 'module-cache doctor, listening',
        channels: [],
        broadcast: 'notify',
        notify: (channel) => questions.ask((sql: Sql) => notify(sql, channel)),
        onNotification: () => {},
        onConnected: () => {},
        onDisconnected: () => {},
      });
      await session.close();
      const way = listenUrl === undefined ? '' : ' through --listen-url';
      return pass(
        `a dedicated connection heard a notification${way}, ${duration(performance.now() - began)} after it was asked for`,
      );
    } catch (error) {
      return deafness(error);
    }
  },
};

function deafness(error: unknown): Result {
  const { message } = error as Error;
  if (!(error instanceof ModuleCacheError) || error.code !== 'MC101')
    return fail(
      message,
      'The dedicated connection cannot be opened: check --listen-url, or the limits on connections.',
    );
  return fail(
    message,
    'A pooler in transaction mode accepts LISTEN and hears nothing: give peers a URL of Postgres itself (listenConnection, --listen-url), of the same database.',
  );
}

const queue: Check = {
  name: 'notification queue',
  async run(patient) {
    const usage = await askJson<number>(patient, (sql) =>
      sql`select pg_notification_queue_usage()::text`.values(),
    );
    return judgeQueue(usage);
  },
};

/** @param usage from 0 to 1 */
export function judgeQueue(usage: number): Result {
  const figure = `${percent(usage * 100)} full`;
  const advice =
    'A listening session in an open transaction keeps it from being trimmed: find it in pg_stat_activity (wait_event, xact_start) and end it. From 50 % on nothing is notified and peers go by the log.';
  if (usage >= QUEUE_FAIL) return fail(figure, advice);
  return usage >= QUEUE_WARN ? warn(figure, advice) : pass(figure);
}

export const connectionChecks: readonly Check[] = [pooler, listening, queue];
