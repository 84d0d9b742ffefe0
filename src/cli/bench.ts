import { randomUUID } from 'node:crypto';
import postgres, { type Sql } from 'postgres';
import * as calls from '../calls.js';
import type { ArtifactId } from '../keys.js';
import { withDeadline } from '../waiting.js';
import { type DatabaseOptions, namedUrl, openQuestions, print } from './database.js';
import { inspectPrepared } from './prepared.js';
import { stopOnSignal } from './signals.js';
import { styleFor } from './style.js';
import { type Column, duration, table } from './text.js';

export interface BenchOptions extends DatabaseOptions {
  quick?: boolean;
  /** Of Postgres itself, if the database URL leads to a pooler. */
  listenUrl?: string;
}

/** How long is measured, in ms; opening and cleaning up come on top. */
const QUICK_MS = 5_000;
const THOROUGH_MS = 30_000;
const LEAST_ROUNDS = 5;
/** Each invalidation is news for the whole fleet, so there are few of them. */
const MOST_INVALIDATIONS = 200;
const ANSWER_MS = 5_000;
const INTERRUPTED = 130;

/** What is measured, with what is normal for its ratio to a primary-key select on a machine that is not overloaded. */
const OPERATIONS = {
  select1: { title: 'select 1', usual: [0.3, 1] },
  select: { title: 'primary-key select, same body', usual: [1, 1] },
  get: { title: 'get, hit, 5 dependencies', usual: [1.1, 2.5] },
  put: { title: 'put, 5 dependencies', usual: [1.5, 8] },
  invalidate: { title: 'invalidate one module', usual: [1.5, 8] },
  notification: { title: 'notification, sent until heard', usual: [0.5, 3] },
} as const;

type Operation = keyof typeof OPERATIONS;

export interface Measured {
  readonly operation: Operation;
  readonly runs: number;
  /** Median. */
  readonly ms: number;
  readonly toSelect1: number;
  readonly toSelect: number;
  /** From, to: of `toSelect`. */
  readonly usual: readonly [number, number];
}

/**
 * Measures this database as this process reaches it, with the simplest questions beside the real ones, in a realm of its
 * own which is taken away again, also after Ctrl-C.
 */
export async function benchCommand(options: BenchOptions): Promise<void> {
  const stop = stopOnSignal();
  const url = namedUrl(options);
  // As in an application, unless a pooler might lose what was prepared.
  const { relayed } = await inspectPrepared(url, 'module-cache bench');
  const questions = openQuestions(url, 'module-cache bench', { prepare: !relayed });
  const realm = `https://bench-${randomUUID()}.example/`;
  let rows: Measured[] = [];
  let left = '';
  try {
    try {
      const listener = await openListener(options.listenUrl ?? url);
      try {
        const durations = await measure(questions.ask, listener, realm, budgetOf(options), stop);
        rows = summarize(durations);
      } finally {
        await listener.close();
      }
    } finally {
      left = await cleanUp(questions.ask, realm);
    }
  } finally {
    await questions.close();
  }
  if (stop.aborted) {
    process.stderr.write('module-cache: interrupted; the realm of the measurement was cleaned up\n');
    process.exitCode = INTERRUPTED;
  } else if (options.json) print(JSON.stringify({ realm, operations: rows, left }));
  else for (const line of describeMeasured(rows, left)) print(line);
}

const budgetOf = ({ quick }: BenchOptions): number => (quick ? QUICK_MS : THOROUGH_MS);

type Ask = ReturnType<typeof openQuestions>['ask'];

interface Listener {
  readonly channel: string;
  /** Resolves when the next notification is there. */
  heard(): Promise<void>;
  close(): Promise<void>;
}

async function openListener(url: string | undefined): Promise<Listener> {
  const settings = {
    max: 1,
    prepare: false,
    fetch_types: false,
    connect_timeout: ANSWER_MS / 1000,
    onnotice: () => {},
    connection: { application_name: 'module-cache bench, listening' },
  };
  const sql = url === undefined ? postgres(settings) : postgres(url, settings);
  const channel = `module_cache_bench_${randomUUID().replaceAll('-', '')}`;
  let wake = (): void => {};
  try {
    await sql.listen(channel, () => wake());
  } catch (error) {
    await sql.end({ timeout: 0 });
    throw error;
  }
  return {
    channel,
    heard: () =>
      new Promise((resolve) => {
        wake = resolve;
      }),
    close: () => sql.end({ timeout: 1 }),
  };
}

/** One after the other, round by round, so that what else the machine does falls upon all of them. */
async function measure(
  ask: Ask,
  listener: Listener,
  realm: string,
  budgetMs: number,
  stop: AbortSignal,
): Promise<Record<Operation, number[]>> {
  const { oid, body } = await ask(findBody);
  const dependencyKeys = Array.from({ length: 5 }, (_, index) => `dependency/${index}`);
  const product = { body, headers: {}, dependencyKeys, expiresInMs: 3_600_000, isError: false };
  const id = (path: string): ArtifactId => ({ realm, path, kind: 'transpile', variant: '' });
  const put = async (path: string): Promise<() => Promise<unknown>> => {
    const { token } = await ask((sql) => calls.get(sql, id(path)));
    return () => ask((sql) => calls.put(sql, id(path), { ...product, token }));
  };
  await (await put('hit.ts'))();
  const operations: Record<Operation, () => Promise<() => Promise<unknown>>> = {
    select1: async () => () => ask((sql) => sql`select ${'1'}::text`.values()),
    select: async () => () =>
      ask((sql) => sql`select p.prosrc from pg_catalog.pg_proc p where p.oid = ${oid}::text::oid`.values()),
    get: async () => () => ask((sql) => calls.get(sql, id('hit.ts'))),
    put: () => put('put.ts'),
    invalidate: async () => {
      await (await put('invalidated.ts'))();
      return () => ask((sql) => calls.invalidate(sql, realm, ['invalidated.ts']));
    },
    notification: async () => async () => {
      const heard = listener.heard();
      await ask((sql) => calls.notify(sql, listener.channel));
      await withDeadline(
        heard,
        ANSWER_MS,
        () => new Error('a notification was not heard: add --listen-url with the URL of Postgres itself'),
      );
    },
  };
  const durations = Object.fromEntries(
    Object.keys(OPERATIONS).map((name) => [name, []]),
  ) as unknown as Record<Operation, number[]>;
  const until = performance.now() + budgetMs;
  for (let round = 0; !stop.aborted && (performance.now() < until || round <= LEAST_ROUNDS); round += 1) {
    for (const [name, prepare] of Object.entries(operations) as [
      Operation,
      () => Promise<() => Promise<unknown>>,
    ][]) {
      if (name === 'invalidate' && round > MOST_INVALIDATIONS) continue;
      if (stop.aborted) break;
      const run = await prepare();
      const began = performance.now();
      await run();
      // The first round opens connections and makes plans.
      if (round > 0) durations[name].push(performance.now() - began);
    }
  }
  return durations;
}

/** Something of several kB that stands in a table of every server, under a primary key, and is the same for both reads. */
async function findBody(sql: Sql): Promise<{ oid: string; body: string }> {
  const rows = await sql`
    select p.oid::text, p.prosrc
    from pg_catalog.pg_proc p
    where p.pronamespace = (select n.oid from pg_namespace n where n.nspname = 'module_cache')
    order by length(p.prosrc) desc
    limit 1`.values();
  const [oid, body] = calls.only(rows) ?? [];
  if (oid == null || body == null) throw Object.assign(new Error('no schema'), { code: '3F000' });
  return { oid, body };
}

/** Returns what is left for garbage collection. */
async function cleanUp(ask: Ask, realm: string): Promise<string> {
  try {
    await ask((sql) => sql`delete from module_cache.artifacts where realm_url = ${realm}`);
  } catch (error) {
    const { code } = error as { code?: string };
    if (code !== '42501') throw error;
    await ask((sql) => calls.clearRealm(sql, realm));
  }
  return 'its log rows and tombstones, which the next garbage collection removes';
}

function summarize(durations: Record<Operation, number[]>): Measured[] {
  const medians = (Object.keys(OPERATIONS) as Operation[]).map((operation) => ({
    operation,
    runs: durations[operation].length,
    ms: median(durations[operation]),
  }));
  const of = (operation: Operation): number =>
    medians.find((measured) => measured.operation === operation)?.ms ?? Number.NaN;
  return medians.map((measured) => ({
    ...measured,
    toSelect1: measured.ms / of('select1'),
    toSelect: measured.ms / of('select'),
    usual: OPERATIONS[measured.operation].usual,
  }));
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

const NEAR_MS = 1;

const COLUMNS: readonly Column<Measured>[] = [
  { title: 'operation', text: ({ operation }) => OPERATIONS[operation].title },
  { title: 'median', isNumber: true, text: ({ ms }) => duration(ms) },
  { title: 'to select 1', isNumber: true, text: ({ toSelect1 }) => toSelect1.toFixed(1) },
  { title: 'to the select', isNumber: true, text: ({ toSelect }) => toSelect.toFixed(1) },
  { title: 'normal', text: ({ usual: [from, to] }) => (from === to ? '' : `${from} to ${to}`) },
  { title: 'runs', isNumber: true, text: ({ runs }) => String(runs) },
];

export function describeMeasured(rows: readonly Measured[], left: string): string[] {
  const style = styleFor(process.stdout);
  const [head = '', ...lines] = table(COLUMNS, rows);
  const far = (rows.find(({ operation }) => operation === 'select1')?.ms ?? 0) > NEAR_MS;
  const slow = rows.filter(({ toSelect, usual: [, most] }) => toSelect > most);
  return [
    style('bold', head),
    ...lines.map((line, index) => (slow.includes(rows[index] as Measured) ? style('yellow', line) : line)),
    '',
    far
      ? 'The way to the server takes more than a millisecond: it counts in every row, and ratios come near to 1. Memory hits do not pay it.'
      : 'Normal is a ratio to the primary-key select; absolute times are of this machine, this network and this moment.',
    slow.length === 0
      ? 'All is as usual.'
      : `Slower than usual: ${slow.map(({ operation }) => OPERATIONS[operation].title).join('; ')}. A busy server or slow disk does that; "module-cache doctor" looks for other reasons.`,
    `Cleaned up; what is left: ${left}.`,
  ];
}
