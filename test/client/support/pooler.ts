import { afterAll, beforeAll, expect } from '@jest/globals';
import type { ModuleCacheOptions } from '../../../src/index.js';
import { type Bouncer, startBouncer } from '../../support/pgbouncer.js';

/*
 * TEST_POOLER=pgbouncer: the pool of every peer goes through a PgBouncer in transaction mode, its dedicated connection
 * goes to the server itself. This file is the only place that knows.
 */

const chosen = process.env.TEST_POOLER ?? '';
if (!['', 'pgbouncer'].includes(chosen)) throw new Error(`TEST_POOLER is ${chosen}; there is "pgbouncer"`);

/** Files and tests that are about the way to the server itself, each with the reason why a pooler has no place there. */
const direct: Readonly<Record<string, string>> = {
  PgBouncer: 'has one of its own',
  'fill-rule.test.ts':
    'holds back the one answer to a prepared statement; an unprepared one takes two round trips',
  'get-many.test.ts the fill rule': 'the same',
  'get-many.test.ts reads that must not be outdated trap: join older work': 'the same',
  'the waiter, who has been refused, looks again': 'the same',
  'needs no transactions around single statements': 'PgBouncer refuses the parameters that settle a session',
  'are ended when they are idle': 'it waits for the end of sessions that are older than it in PgBouncer',
  'off for the session': 'PgBouncer refuses the setting',
  'lost under load': 'it counts sessions in the end, and those of PgBouncer outlive their clients',
  'has no connection, claim or entry left': 'the same',
  'opening a cache that cannot be opened': 'the same, by connections',
  'trap: max_lifetime': 'the same, and sessions of PgBouncer have an age of their own',
  'not behind its balancer': 'PgBouncer is what the balancer has behind it',
  'backends.test.ts': 'it counts sessions that end with their clients',
  'another connection of the pool was': 'it opens the sockets to the server itself',
  'has no connection left': 'PgBouncer has its own already',
  'when the database has fallen silent':
    'it waits for more questions on their way than PgBouncer lets through',
};

/** One for each server, or proxy in front of it, and user. */
const bouncers = new Map<string, Promise<Bouncer>>();
const started = new Map<string, Bouncer>();

if (chosen !== '') {
  beforeAll(() => bouncerOf(process.env.TEST_SERVER_URL as string));
  afterAll(async () => {
    const all = await Promise.all(bouncers.values());
    bouncers.clear();
    started.clear();
    await Promise.all(all.map((bouncer) => bouncer.stop()));
  });
}

const keyOf = (url: string): string => {
  const { host, username } = new URL(url);
  return `${username}@${host}`;
};

function bouncerOf(url: string): Promise<Bouncer> {
  const key = keyOf(url);
  const starting =
    bouncers.get(key) ??
    startBouncer(url).then((bouncer) => {
      started.set(key, bouncer);
      return bouncer;
    });
  bouncers.set(key, starting);
  return starting;
}

function isDirect(): boolean {
  const { testPath, currentTestName } = expect.getState();
  const name = `${testPath} ${currentTestName}`;
  return chosen === '' || Object.keys(direct).some((each) => name.includes(each));
}

const unprepared = (url: string): string => {
  const parsed = new URL(url);
  parsed.searchParams.set('prepare', 'false');
  return parsed.href;
};

/** Where instances that go through the pooler would lead to without it. */
const origins = new WeakMap<object, string>();

/** For an instance of postgres.js: the URL through the pooler, and who has to be told of the instance. */
export function instanceThroughPooler(url: string): { url: string; opened(sql: object): void } {
  const bouncer = isDirect() ? undefined : started.get(keyOf(url));
  if (bouncer === undefined) return { url, opened: () => {} };
  return { url: unprepared(bouncer.url(url)), opened: (sql) => void origins.set(sql, url) };
}

/** The options of a peer whose pool goes through the pooler, if the tests are to be run with one. */
export async function throughPooler<Options extends ModuleCacheOptions>(options: Options): Promise<Options> {
  const { connection } = options;
  if (isDirect() || !connection) return options;
  if (typeof connection === 'function') {
    const listenConnection = options.listenConnection ?? origins.get(connection);
    return listenConnection === undefined ? options : { ...options, listenConnection };
  }
  const listenConnection = options.listenConnection ?? connection;
  if (typeof connection === 'string') {
    const bouncer = await bouncerOf(connection);
    return { ...options, connection: unprepared(bouncer.url(connection)), listenConnection };
  }
  const { username, password, host, port } = connection;
  const bouncer = await bouncerOf(
    `postgres://${username}:${encodeURIComponent(String(password))}@${host}:${port}`,
  );
  const through = new URL(bouncer.url('postgres://pooler'));
  return {
    ...options,
    connection: { ...connection, host: through.hostname, port: Number(through.port), prepare: false },
    listenConnection,
  };
}
