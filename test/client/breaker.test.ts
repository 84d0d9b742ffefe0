import { expect, test } from '@jest/globals';
import { createBreaker } from '../../src/breaker.js';
import { until } from '../support/wait.js';

function watched() {
  const told: string[] = [];
  let looks = 0;
  let isThere = false;
  const breaker = createBreaker({
    probe: async () => {
      looks += 1;
      if (!isThere) throw new Error('refused');
    },
    onAway: () => told.push('away'),
    onBack: () => told.push('back'),
  });
  return {
    breaker,
    told,
    looks: () => looks,
    comeBack() {
      isThere = true;
    },
  };
}

test('while the database is away it is looked for less and less often, and told of once', async () => {
  const { breaker, told, looks, comeBack } = watched();
  breaker.look();
  await until(() => breaker.away !== undefined, { what: 'it is away' });
  const began = performance.now();
  await until(() => performance.now() - began > 1_500, { what: 'it was looked for' });
  expect(looks()).toBeGreaterThan(1);
  expect(looks()).toBeLessThan(50);
  comeBack();
  await until(() => breaker.away === undefined, { what: 'it is back' });
  expect(told).toEqual(['away', 'back']);
  const after = looks();
  const backAt = performance.now();
  await until(() => performance.now() - backAt > 300, { what: 'some time passes' });
  expect(looks()).toBe(after);
});

test('after it was stopped nothing looks any more', async () => {
  const { breaker, looks } = watched();
  breaker.look();
  await until(() => breaker.away !== undefined, { what: 'it is away' });
  breaker.stop();
  const stopped = looks();
  const began = performance.now();
  await until(() => performance.now() - began > 500, { what: 'it would have looked again' });
  breaker.look();
  expect(looks()).toBe(stopped);
});
