import { expect, test } from '@jest/globals';
import { createActivity } from '../../src/activity.js';
import { createEmitter } from '../../src/events.js';

/** What listeners are told. */

const id = { realm: 'https://example.com/', path: 'a.ts', kind: 'transpile', variant: '' };

test('who listens for listeners is told which one', () => {
  const events = createEmitter(createActivity().observe);
  const told: unknown[][] = [];
  const emitter = events as unknown as NodeJS.EventEmitter;
  emitter.on('newListener', (...args) => told.push(args));
  const listener = (): void => {};
  events.on('miss', listener);
  expect(told).toEqual([['miss', listener]]);
});

test('what is counted does not depend on who listens', () => {
  const activity = createActivity();
  const events = createEmitter(activity.observe);
  events.emit('miss', { id });
  events.removeAllListeners();
  events.emit('hit', { id, source: 'l1' });
  expect(activity.take()).toEqual([{ realm: id.realm, kind: id.kind, counts: { misses: 1, l1_hits: 1 } }]);
});
