import { afterAll, afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import type { Pool } from '../../../src/pool.js';
import type { SessionOptions } from '../../../src/session.js';
import { modules } from './support/model.js';
import { Broken } from './support/rules.js';
import { play, type Schedule, scheduleArb } from './support/schedule.js';
import { modelCalls, type Wire } from './support/wire.js';
import { openWorld, type World } from './support/world.js';

/**
 * The client against a model of the database (support/model.ts), with every answer, notification, delay, loss and
 * reconnect in an order that fast-check draws (support/schedule.ts) and shrinks. The rules (support/rules.ts) are
 * checked after each step.
 *
 * PROPERTY_RUNS: how many schedules are drawn; with PROPERTY_SEED=random others each time. PROPERTY_SEED and
 * PROPERTY_PATH replay what a failure names.
 */

// Only what talks to the server is replaced. `connection` carries the wire.
jest.unstable_mockModule('../../../src/calls.js', () => modelCalls);
jest.unstable_mockModule('../../../src/pool.js', () => ({
  openPool: async (wire: Wire): Promise<Pool> => wire.pool,
}));
jest.unstable_mockModule('../../../src/session.js', () => ({
  openSession: (options: SessionOptions) => (options.connection as unknown as Wire).openSession(options),
}));
const { openModuleCache } = await import('../../../src/cache.js');

const [a, b] = modules;
const numRuns = Number(process.env.PROPERTY_RUNS ?? 1_000);
const replay = {
  ...(process.env.PROPERTY_SEED === 'random' ? {} : { seed: Number(process.env.PROPERTY_SEED ?? 1) }),
  ...(process.env.PROPERTY_PATH === undefined ? {} : { path: process.env.PROPERTY_PATH }),
};

jest.spyOn(Math, 'random').mockReturnValue(0.5);
afterAll(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

/** What happened until it went wrong, and what went wrong; undefined if all is well. */
async function failureOf(schedule: Schedule): Promise<string | undefined> {
  const world = await openWorld(openModuleCache);
  try {
    await play(world, schedule);
    return undefined;
  } catch (error) {
    const lines = world.story.map((line, index) => `${String(index + 1).padStart(4)}  ${line}`);
    // What no rule has said is a defect of another kind.
    const what = error instanceof Broken ? error.message : (error as Error).stack;
    return [...lines, `      → ${what}`].join('\n');
  } finally {
    world.cache.close().catch(() => {});
    jest.clearAllTimers();
    jest.useRealTimers();
  }
}

describe('trap: a server that was set back counts the same transactions anew, and memory takes them for seen', () => {
  let world: World;
  beforeEach(async () => {
    world = await openWorld(openModuleCache);
    const { server } = world;
    server.commit(server.begin(b, 'notified', []));
    world.call({ module: a, produces: true, way: 'bounded', after: undefined });
    await world.flush(true);
    expect(world.cache.peek(a)).toBeDefined();
    server.setBack(1);
    world.wire.breakAll();
    await world.settle();
  });
  afterEach(async () => {
    await world.close();
    jest.useRealTimers();
  });

  test('by the answer to its own invalidation', async () => {
    const done = world.cache.invalidate(a.realm, [a.path]);
    await world.flush(false);
    await done;
    expect(world.cache.peek(a)).toBeUndefined();
  });

  test('by a notification that arrives before the log was asked', async () => {
    world.wire.connect();
    world.server.commit(world.server.begin(a, 'notified', []));
    world.wire.deliverNotification(false);
    expect(world.cache.peek(a)).toBeUndefined();
  });
});

test(
  'no order of answers, notifications, delays and losses makes this process serve what it should not',
  async () => {
    const property = fc.asyncProperty(scheduleArb, async (schedule) => {
      const failure = await failureOf(schedule);
      if (failure !== undefined) throw new Error(failure);
    });
    const details = await fc.check(property, { numRuns, ...replay });
    if (!details.failed) return;
    const { seed, counterexamplePath, numShrinks, errorInstance } = details;
    throw new Error(
      `after ${details.numRuns} schedules and ${numShrinks} simplifications (PROPERTY_SEED=${seed} PROPERTY_PATH=${counterexamplePath}):\n` +
        (errorInstance as Error).message,
    );
  },
  30 * 60_000,
);
