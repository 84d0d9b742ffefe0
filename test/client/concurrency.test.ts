import { describe, expect, test } from '@jest/globals';
import { createTurns, mapConcurrently } from '../../src/concurrency.js';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('work on many things', () => {
  test('has its results in order, and never more than so many at a time', async () => {
    let active = 0;
    let most = 0;
    const results = await mapConcurrently([5, 1, 4, 2, 3], 2, async (rounds, index) => {
      active += 1;
      most = Math.max(most, active);
      for (let i = 0; i < rounds; i += 1) await turn();
      active -= 1;
      return `${index}:${rounds}`;
    });
    expect(results).toEqual(['0:5', '1:1', '2:4', '3:2', '4:3']);
    expect(most).toBe(2);
    expect(await mapConcurrently([], 2, turn)).toEqual([]);
  });

  test('fails at once when one of them does, and begins no other', async () => {
    const begun: number[] = [];
    let finish = (): void => {};
    const open = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const failing = mapConcurrently([0, 1, 2, 3], 2, async (item) => {
      begun.push(item);
      if (item === 1) throw new Error('broken');
      await open;
    });
    await expect(failing).rejects.toThrow('broken');
    finish();
    await turn();
    expect(begun).toEqual([0, 1]);
  });
});

describe('who waits for a turn', () => {
  const never = new Promise<never>(() => {});

  test('and gives up makes room for others, and is not begun', async () => {
    const inTurn = createTurns(1, 1);
    let finish = (): void => {};
    const working = inTurn(() => new Promise<void>((resolve) => (finish = resolve)));
    const impatient = new AbortController();
    let begun = false;
    const waiting = inTurn(async () => {
      begun = true;
    }, impatient.signal);
    await expect(inTurn(async () => {})).rejects.toMatchObject({ code: 'MC109' });
    impatient.abort(new Error('gave up'));
    await expect(waiting).rejects.toThrow('gave up');
    const next = inTurn(async () => 'next');
    finish();
    await working;
    expect(await next).toBe('next');
    expect(begun).toBe(false);
  });

  test('is not begun if nobody waited for it in the first place', async () => {
    const inTurn = createTurns(1);
    await expect(inTurn(() => never, AbortSignal.abort(new Error('gave up')))).rejects.toThrow('gave up');
    expect(await inTurn(async () => 'free')).toBe('free');
  });
});
