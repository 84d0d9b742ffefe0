import { expect, test } from '@jest/globals';
import { createLanes } from '../../src/lanes.js';
import { until } from '../support/wait.js';

const hanging = () => {
  const ends: (() => void)[] = [];
  const work = () => new Promise<void>((resolve) => ends.push(resolve));
  return { work, ends };
};

test('beyond what may wait a call fails at once, and says what to do', async () => {
  const lanes = createLanes({ connections: 1, maxWaiting: 2 });
  const { work, ends } = hanging();
  const calls = Array.from({ length: 12 }, () => lanes.run(work));
  expect(ends).toHaveLength(10);
  await expect(lanes.run(work)).rejects.toMatchObject({ code: 'MC109', hint: expect.any(String) });
  for (const end of ends.splice(0)) end();
  await until(() => ends.length === 2, { what: 'those who waited have their turn' });
  for (const end of ends) end();
  await Promise.all(calls);
  await lanes.run(async () => {});
});

test('who gives up while waiting makes room for others', async () => {
  const lanes = createLanes({ connections: 1, maxWaiting: 1 });
  const { work, ends } = hanging();
  const working = Array.from({ length: 10 }, () => lanes.run(work));
  const impatient = new AbortController();
  const waiting = lanes.run(work, impatient.signal);
  impatient.abort(new Error('gave up'));
  await expect(waiting).rejects.toThrow('gave up');
  const next = lanes.run(async () => 'next');
  for (const end of ends) end();
  expect(await next).toBe('next');
  await Promise.all(working);
});

test('all that wait fail together, and what works goes on', async () => {
  const lanes = createLanes({ connections: 1, maxWaiting: 100 });
  const { work, ends } = hanging();
  const working = Array.from({ length: 10 }, () => lanes.run(work));
  const waiting = Array.from({ length: 5 }, () => lanes.run(work));
  lanes.failAll(new Error('away'));
  for (const one of await Promise.allSettled(waiting)) expect(one.status).toBe('rejected');
  for (const end of ends) end();
  await Promise.all(working);
});

test('after an absence calls begin one at a time, and more bit by bit', async () => {
  const lanes = createLanes({ connections: 5, maxWaiting: 1_000 });
  lanes.slowStart();
  const began = performance.now();
  let working = 0;
  const most: { ms: number; working: number }[] = [];
  const work = async () => {
    working += 1;
    most.push({ ms: performance.now() - began, working });
    await new Promise((resolve) => setTimeout(resolve, 10));
    working -= 1;
  };
  await Promise.all(Array.from({ length: 200 }, () => lanes.run(work)));
  // One more each tenth of a second; a late look sees later times, never more at work.
  for (const { ms, working: count } of most.filter(({ ms: at }) => at < 400)) {
    expect(count).toBeLessThanOrEqual(1 + Math.floor(ms / 100));
  }
  expect(Math.max(...most.map(({ working: count }) => count))).toBeGreaterThan(5);
});

test('after an absence a call that takes long does not hold up those behind it', async () => {
  const lanes = createLanes({ connections: 5, maxWaiting: 1_000 });
  lanes.slowStart();
  const { work, ends } = hanging();
  const long = lanes.run(work);
  await lanes.run(async () => {});
  expect(ends).toHaveLength(1);
  for (const end of ends) end();
  await long;
});
