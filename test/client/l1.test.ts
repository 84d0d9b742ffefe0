import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createL1, type L1Entry } from '../../src/l1.js';

const id = (path: string) => ({ realm: 'https://a.example/', path, kind: 'transpile', variant: '' });

function entry(path: string, covers: string[], { body = '', xmax = 100n, token = 't' } = {}): L1Entry {
  return {
    id: id(path),
    module: { status: 'hit', body, headers: {}, dependencyKeys: [] },
    covers,
    token,
    seen: {
      life: 'life',
      token: `life@${xmax}`,
      isPrivate: false,
      snapshot: { xmin: xmax, xmax, xip: new Set() },
    },
    expires: undefined,
  };
}

describe('an invalidation', () => {
  test('drops every entry that covers one of its keys, and no other', () => {
    const l1 = createL1(1e6);
    l1.set(entry('a', ['ma', 'r', 'g']));
    l1.set(entry('b', ['mb', 'r', 'g', 'ma']));
    l1.set(entry('c', ['mc', 'r', 'g']));
    expect(l1.drop(['ma', 'unknown'], 100n)).toBe(2);
    expect([l1.get(id('a')), l1.get(id('b')), l1.get(id('c'))?.id.path]).toEqual([undefined, undefined, 'c']);
  });

  test('leaves an entry alone whose snapshot has seen it; one that was sent by hand does not', () => {
    const l1 = createL1(1e6);
    l1.set(entry('a', ['ma'], { xmax: 101n }));
    expect(l1.drop(['ma'], 100n)).toBe(0);
    expect(l1.drop(['ma'], undefined)).toBe(1);
  });

  test('drops an entry that replaced another one with other dependencies', () => {
    const l1 = createL1(1e6);
    l1.set(entry('a', ['ma', 'old']));
    l1.set(entry('a', ['ma', 'new']));
    expect(l1.drop(['old'], 100n)).toBe(0);
    expect(l1.get(id('a'))).toBeDefined();
    expect(l1.drop(['new'], 100n)).toBe(1);
    expect(l1.stats()).toMatchObject({ entries: 0, bytes: 0, covers: 0 });
  });
});

describe('memory', () => {
  test('an entry larger than the whole memory is not kept, and neither is the one that it replaces', () => {
    const l1 = createL1(10_000);
    l1.set(entry('a', ['ma']));
    l1.set(entry('a', ['ma'], { body: 'x'.repeat(20_000) }));
    expect(l1.get(id('a'))).toBeUndefined();
    expect(l1.stats()).toMatchObject({ entries: 0, covers: 0 });
  });

  test.each([
    ['the body', entry('a', [], { body: 'é'.repeat(10_000) })],
    [
      'the keys that it covers',
      entry(
        'a',
        Array.from({ length: 200 }, (_, n) => `m${n}`.padEnd(100, '/')),
      ),
    ],
    ['its token', entry('a', [], { token: '1,'.repeat(10_000) })],
    [
      'the transactions that were in progress',
      {
        ...entry('a', []),
        seen: {
          life: 'life',
          token: 'life@100',
          isPrivate: false,
          snapshot: { xmin: 1n, xmax: 2n, xip: new Set(Array.from({ length: 1_000 }, (_, n) => BigInt(n))) },
        },
      },
    ],
  ])('%s counts against its bound', (_, large) => {
    const l1 = createL1(1e6);
    l1.set(large);
    expect(l1.stats().bytes).toBeGreaterThan(20_000);
  });

  test('whatever is set, replaced, evicted, deleted and dropped: the bound holds, and the index names what is there', () => {
    const keys = ['a', 'b', 'c', 'd', 'e', 'f'];
    const covers = ['1', '2', '3', '4', '5'];
    const action = fc.oneof(
      fc.record({
        do: fc.constant('set' as const),
        key: fc.constantFrom(...keys),
        covers: fc.uniqueArray(fc.constantFrom(...covers)),
        bytes: fc.integer({ min: 0, max: 6_000 }),
      }),
      fc.record({ do: fc.constant('delete' as const), key: fc.constantFrom(...keys) }),
      fc.record({ do: fc.constant('drop' as const), covers: fc.uniqueArray(fc.constantFrom(...covers)) }),
      fc.record({ do: fc.constant('get' as const), key: fc.constantFrom(...keys) }),
      fc.record({ do: fc.constant('clear' as const) }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const l1 = createL1(10_000);
        const there = (): L1Entry[] =>
          keys.map((key) => l1.get(id(key))).filter((found) => found !== undefined);
        for (const one of actions) {
          if (one.do === 'set') l1.set(entry(one.key, one.covers, { body: 'x'.repeat(one.bytes) }));
          if (one.do === 'delete') {
            const found = l1.get(id(one.key));
            if (found !== undefined) l1.delete(found);
          }
          if (one.do === 'get') l1.get(id(one.key));
          if (one.do === 'clear') l1.clear();
          if (one.do === 'drop') {
            const hit = there().filter((found) => found.covers.some((cover) => one.covers.includes(cover)));
            expect(l1.drop(one.covers, undefined)).toBe(hit.length);
            expect(hit.filter((found) => l1.get(found.id) !== undefined)).toEqual([]);
          }
          const rest = there();
          const stats = l1.stats();
          expect(stats.entries).toBe(rest.length);
          expect(stats.bytes).toBeLessThanOrEqual(10_000);
          expect(stats.covers).toBe(new Set(rest.flatMap((found) => found.covers)).size);
        }
      }),
      { numRuns: 300 },
    );
  });
});
