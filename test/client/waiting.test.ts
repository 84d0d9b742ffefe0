import { getEventListeners } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { MessageChannel } from 'node:worker_threads';
import { afterEach, describe, expect, test } from '@jest/globals';
import { createPatience, orAborted, shareOutcome, sleep, withDeadline } from '../../src/waiting.js';

const never = new Promise<never>(() => {});
const listeners = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length;
const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

describe('what a wait leaves behind', () => {
  const before = timers();
  // A process has to be able to end, and a signal may be shared by every request of a server.
  afterEach(() => expect(timers()).toBeLessThanOrEqual(before + 1));

  test('nothing of a deadline that was met', async () => {
    await expect(withDeadline(Promise.resolve('done'), 60_000, () => new Error('late'))).resolves.toBe(
      'done',
    );
    await expect(
      withDeadline(Promise.reject(new Error('no')), 60_000, () => new Error('late')),
    ).rejects.toThrow('no');
  });

  test('nothing of a caller that is done', async () => {
    const { signal } = new AbortController();
    const patience = createPatience(60_000, signal);
    expect(await patience.wait(Promise.resolve(1))).toBe(1);
    patience.close();
    expect(listeners(signal)).toBe(0);
  });

  test('nothing of a sleep that was cut short, or of work that is done', async () => {
    const controller = new AbortController();
    const sleeping = sleep(60_000, controller.signal);
    controller.abort();
    await sleeping;
    await sleep(60_000, controller.signal);
    const { signal } = new AbortController();
    await orAborted(Promise.resolve(), signal);
    await sleep(1, signal);
    expect([listeners(controller.signal), listeners(signal)]).toEqual([0, 0]);
  });
});

test('a deadline that passes says so', async () => {
  await expect(withDeadline(never, 1, () => new Error('late'))).rejects.toThrow('late');
  const patience = createPatience(1, undefined);
  await expect(patience.wait(never)).rejects.toMatchObject({ code: 'MC102', hint: expect.any(String) });
  patience.close();
});

test('a process that was busy for longer than the deadline takes the answer that has come meanwhile', async () => {
  const { port1, port2 } = new MessageChannel();
  const answer = new Promise((resolve) => port1.once('message', resolve));
  const answered = withDeadline(answer, 50, () => new Error('late'));
  port2.postMessage('there in time');
  const began = performance.now();
  while (performance.now() - began < 200);
  await expect(answered).resolves.toBe('there in time');
  port1.close();
});

test.each([[2 ** 31], [1e15]])(
  'a deadline of %d ms is not one of a single millisecond',
  async (deadlineMs) => {
    const patience = createPatience(deadlineMs, undefined);
    await expect(patience.wait(sleep(20).then(() => 'done'))).resolves.toBe('done');
    patience.close();
  },
);

test('a signal ends the wait with its own reason, also one that had aborted before', async () => {
  const controller = new AbortController();
  const patience = createPatience(60_000, controller.signal);
  const waiting = patience.wait(never);
  controller.abort(new Error('the user left'));
  await expect(waiting).rejects.toThrow('the user left');
  patience.close();

  const late = createPatience(60_000, controller.signal);
  await expect(late.wait(never)).rejects.toThrow('the user left');
  late.close();
  await expect(orAborted(never, controller.signal)).rejects.toThrow('the user left');
});

test('callers who leave before work ends leave nothing behind, however long it takes', () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const share = shareOutcome(new Promise<void>(() => {}));
  const use = (): number => {
    for (let n = 0; n < 100_000; n += 1) {
      const { result, leave } = share();
      result.catch(() => {});
      leave();
    }
    collect();
    return process.memoryUsage().heapUsed;
  };
  const before = use();
  expect(use() - before).toBeLessThan(5_000_000);
});
