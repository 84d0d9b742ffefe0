import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { createEmitter } from '../../src/events.js';
import { createGarbageCollector, type GarbageCollector } from '../../src/garbage.js';
import { stubPool, stubSession } from './support/stub-session.js';

/** When and how the elected process collects, by a clock that stands still between steps. */

const HOUR = 3_600_000;

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(async () => {
  await stop();
  jest.useRealTimers();
});

let collector: GarbageCollector;
const busy = ['10', '0', '10', '10', 'false'];
const done = ['0', '0', '0', '0', 'true'];

interface Scene {
  elected?: boolean;
  allowed?: boolean;
  /** What a batch answers after so many ms. */
  batch?: (n: number) => { ms?: number; row?: string[]; error?: Error };
}

function open({ elected = true, allowed = true, batch = () => ({}) }: Scene) {
  const asked: string[] = [];
  const batches: { at: number; size: number }[] = [];
  const session = stubSession((text) => {
    if (text.includes('has_function_privilege')) return [String(allowed)];
    asked.push(text.includes('_elect') ? 'elect' : 'resign');
    return [String(elected)];
  });
  const pool = stubPool(async (_, parameters) => {
    batches.push({ at: performance.now(), size: Number(parameters[2]) });
    const { ms = 1, row = done, error } = batch(batches.length);
    await new Promise((resolve) => setTimeout(resolve, ms));
    if (error !== undefined) throw error;
    return row;
  });
  const events = createEmitter();
  const warnings: unknown[] = [];
  events.on('warning', ({ error }) => warnings.push(error));
  collector = createGarbageCollector({
    session,
    pool,
    events,
    everyMs: 60_000,
    keepMs: 300_000,
    keepAtMostMs: HOUR,
  });
  return { asked, batches, session, warnings };
}

const pass = (ms: number) => jest.advanceTimersByTimeAsync(ms);
async function stop(): Promise<void> {
  void collector.stop();
  await pass(60_000);
}

test('a process that is not elected tries again and again, and collects nothing', async () => {
  const { asked, batches } = open({ elected: false });
  await pass(HOUR);
  expect(asked.length).toBeGreaterThanOrEqual(60);
  expect(new Set(asked)).toEqual(new Set(['elect']));
  expect(batches).toEqual([]);
});

test('a process that may not collect, or whose schema is older, leaves it at that', async () => {
  const { asked, batches, warnings } = open({ allowed: false });
  await pass(HOUR);
  expect([asked, batches, warnings]).toEqual([[], [], []]);
});

test('a process without its dedicated connection collects nothing', async () => {
  const { session, batches } = open({});
  session.connected = false;
  await pass(HOUR);
  expect(batches).toEqual([]);
});

test('batches follow each other until all is done, and leave most of the time to others', async () => {
  const { batches } = open({ batch: (n) => ({ ms: 40, row: n < 5 ? busy : done }) });
  await pass(61_000);
  expect(batches).toHaveLength(5);
  for (const [i, { at }] of batches.slice(1).entries()) {
    expect(at - (batches[i]?.at as number)).toBeGreaterThanOrEqual(4 * 40);
  }
  await pass(HOUR);
  expect(batches.length).toBeGreaterThanOrEqual(60);
});

test('what an operator is collecting is not waited for', async () => {
  const { batches } = open({ batch: () => ({ row: ['0', '0', '0', '0', 'false'] }) });
  await pass(60_000);
  expect(batches).toHaveLength(1);
});

test('batches become smaller where they take long, and larger where they do not', async () => {
  const slow = open({ batch: () => ({ ms: 200, row: busy }) });
  await pass(90_000);
  expect(slow.batches[0]?.size).toBe(1_000);
  expect(slow.batches.at(-1)?.size).toBe(100);
  await stop();
  const fast = open({ batch: () => ({ ms: 5, row: busy }) });
  await pass(90_000);
  expect(fast.batches.at(-1)?.size).toBe(10_000);
});

test('a batch that fails is told, leaves the work to others, and is tried again with less', async () => {
  const { asked, batches, warnings } = open({
    batch: (n) => (n === 1 ? { error: new Error('took too long') } : {}),
  });
  await pass(60_000);
  expect(asked).toEqual(['elect', 'resign']);
  expect(warnings).toMatchObject([{ message: 'took too long' }]);
  await pass(60_000);
  expect(batches.map(({ size }) => size).slice(0, 2)).toEqual([1_000, 500]);
  expect(warnings).toHaveLength(1);
});

test('a process that has lost its dedicated connection stops, because another may be elected', async () => {
  const { session, batches } = open({
    batch: (n) => {
      if (n === 3) session.generation += 1;
      return { row: busy };
    },
  });
  await pass(60_000);
  expect(batches).toHaveLength(3);
});

test('nothing is begun after the end, and the end waits for what is on its way', async () => {
  const { batches } = open({ batch: () => ({ ms: 30_000, row: busy }) });
  while (batches.length === 0) await pass(1_000);
  let ended = false;
  void collector.stop().then(() => {
    ended = true;
  });
  await pass(100);
  expect(ended).toBe(false);
  await pass(30_000);
  expect(ended).toBe(true);
  await pass(HOUR);
  expect(batches).toHaveLength(1);
  expect(jest.getTimerCount()).toBe(0);
});
