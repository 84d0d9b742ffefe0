import { describe, expect, test } from '@jest/globals';
import { createJournal } from '../../src/journal.js';
import type { Snapshot } from '../../src/snapshot.js';

/** Has seen everything below 100, and nothing else. */
const snapshot: Snapshot = { xmin: 100n, xmax: 100n, xip: new Set() };

describe('an answer is outdated by', () => {
  test('an invalidation of what it covers that its snapshot has not seen', () => {
    const journal = createJournal();
    const fill = journal.begin();
    journal.record(['other'], 100n);
    journal.record(['a', 'b'], 100n);
    journal.record(['a'], 101n);
    expect(fill.outdatedAt(['x', 'b'], snapshot)).toBe(2);
    expect(fill.outdatedAt(['x'], snapshot)).toBeUndefined();
  });

  test('no invalidation that its snapshot has seen, unless somebody sent it by hand', () => {
    const journal = createJournal();
    const fill = journal.begin();
    journal.record(['a'], 99n);
    expect(fill.outdatedAt(['a'], snapshot)).toBeUndefined();
    journal.record(['a'], undefined);
    expect(fill.outdatedAt(['a'], snapshot)).toBe(2);
  });

  test('no invalidation that was applied before it set out', () => {
    const journal = createJournal();
    const earlier = journal.begin();
    journal.record(['a'], undefined);
    const later = journal.begin();
    expect(earlier.outdatedAt(['a'], snapshot)).toBe(1);
    expect(later.outdatedAt(['a'], snapshot)).toBeUndefined();
  });

  test('everything being dropped, whatever it covers', () => {
    const journal = createJournal();
    const fill = journal.begin();
    journal.recordDropAll();
    expect(fill.outdatedAt([], snapshot)).toBe(1);
    expect(journal.begin().outdatedAt([], snapshot)).toBeUndefined();
  });
});

test('trap: what had to be forgotten counts as having outdated every answer on its way', () => {
  const journal = createJournal(3);
  const fill = journal.begin();
  journal.record(['else'], 1n);
  journal.record(['a', 'b', 'c'], 100n);
  // Callers that came before all of it may have the answer, those that came after the first of it may not.
  expect(fill.outdatedAt(['unrelated'], snapshot)).toBe(1);
  // What sets out now is not concerned, and counts from nothing.
  const later = journal.begin();
  expect(later.outdatedAt(['a'], snapshot)).toBeUndefined();
  journal.record(['a', 'b'], 100n);
  expect(later.outdatedAt(['c'], snapshot)).toBeUndefined();
  expect(later.outdatedAt(['a'], snapshot)).toBe(3);
});

test('nothing is remembered while no answer is on its way, however much is invalidated', () => {
  const journal = createJournal(3);
  for (let index = 0; index < 10; index += 1) journal.record(['a'], 100n);
  const fill = journal.begin();
  journal.record(['a'], 100n);
  journal.record(['b'], 100n);
  // Had the ten been remembered, this one would be void.
  expect(fill.outdatedAt(['c'], snapshot)).toBeUndefined();
  expect(fill.outdatedAt(['a'], snapshot)).toBe(11);
  fill.end();
  expect(journal.position()).toBe(12);
});

test('an answer that is long on its way does not lose what it has to know when others end', () => {
  const journal = createJournal();
  const long = journal.begin();
  const short = journal.begin();
  journal.record(['a'], 100n);
  short.end();
  expect(long.outdatedAt(['a'], snapshot)).toBe(1);
});
