import { expect, test } from '@jest/globals';
import { createShared, type Shared } from '../../src/page/shared.js';

/** Questions that many ask at once, with a database that answers when the test says so. */

interface Question {
  readonly key: string;
  answer(text: string): void;
  fail(): void;
}

function open(keepMs = 60_000, maxKept = 10): { shared: Shared; asked: Question[] } {
  const asked: Question[] = [];
  const ask = (key: string): Promise<string> =>
    new Promise((resolve, reject) => {
      asked.push({ key, answer: resolve, fail: () => reject(new Error('no answer')) });
    });
  return { shared: createShared(ask, { keepMs, maxKept }), asked };
}

const turns = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('all who ask meanwhile, and for a while after, get one answer', async () => {
  const { shared, asked } = open();
  const answers = [shared.get('a'), shared.get('a'), shared.get('b')];
  expect(asked.map(({ key }) => key)).toEqual(['a', 'b']);
  asked[0]?.answer('one');
  asked[1]?.answer('two');
  expect(await Promise.all(answers)).toEqual(['one', 'one', 'two']);
  expect(await shared.get('a')).toBe('one');
  expect(asked).toHaveLength(2);
});

test('after a change nobody gets what was asked before it', async () => {
  const { shared, asked } = open();
  const first = shared.get('a');
  asked[0]?.answer('old');
  await first;
  shared.outdate();
  const second = shared.get('a');
  shared.outdate();
  const third = shared.get('a');
  asked[1]?.answer('newer');
  expect(await second).toBe('newer');
  await turns();
  asked[2]?.answer('newest');
  expect(await third).toBe('newest');
});

test('a slow question is asked once at a time, however often something changes', async () => {
  const { shared, asked } = open();
  const answers = [];
  for (let turn = 0; turn < 5; turn += 1) {
    answers.push(shared.get('a'));
    shared.outdate();
    await turns();
  }
  expect(asked).toHaveLength(1);
  asked[0]?.answer('first');
  await turns();
  expect(asked).toHaveLength(2);
  asked[1]?.answer('second');
  expect(await Promise.all(answers)).toEqual(['first', 'second', 'second', 'second', 'second']);
});

test('how old an answer is counts from when it came', async () => {
  const { shared, asked } = open(200);
  const now = performance.now;
  try {
    const first = shared.get('a');
    performance.now = () => now.call(performance) + 10_000;
    const second = shared.get('a');
    asked[0]?.answer('slow');
    expect(await Promise.all([first, second])).toEqual(['slow', 'slow']);
    expect(await shared.get('a')).toBe('slow');
    performance.now = () => now.call(performance) + 20_000;
    void shared.get('a');
    expect(asked).toHaveLength(2);
  } finally {
    performance.now = now;
  }
});

test('a failure is told to those who wait, and kept for nobody', async () => {
  const { shared, asked } = open();
  const failed = shared.get('a');
  shared.outdate();
  const next = shared.get('a');
  asked[0]?.fail();
  await expect(failed).rejects.toThrow('no answer');
  await turns();
  asked[1]?.answer('good');
  expect(await next).toBe('good');
});

test('only so many answers are kept, the newest', async () => {
  const { shared, asked } = open(60_000, 1);
  for (const key of ['a', 'b']) {
    const answer = shared.get(key);
    asked.at(-1)?.answer(key);
    await answer;
  }
  await shared.get('b');
  expect(asked).toHaveLength(2);
  void shared.get('a');
  expect(asked).toHaveLength(3);
});
