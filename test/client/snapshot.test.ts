import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { isVisible, parseCoherenceToken, parseSnapshotToken } from '../../src/snapshot.js';
import { createDatabase, type TestDatabase } from '../support/database.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

const life = `${'0123456789abcdef'.repeat(2)}-1f`;

/** The ids whose lower half is below 3 are left out by Postgres, and 0 there is not even read. */
const isGivenOut = (xid: bigint): boolean => xid % 2n ** 32n >= 3n;

/** A snapshot as Postgres writes it, from a young cluster to one beyond what a double can hold. */
const snapshots = fc
  .tuple(
    fc.constantFrom(3n, 1_000n, 2n ** 32n - 20n, 2n ** 53n - 20n, 2n ** 61n + 5n),
    // Above 30 in progress Postgres searches in another way.
    fc.uniqueArray(fc.bigInt({ min: 0n, max: 60n }), { maxLength: 45 }),
    fc.bigInt({ min: 0n, max: 5n }),
  )
  .map(([base, offsets, beyond]) => {
    const xip = offsets
      .map((offset) => base + offset)
      .filter(isGivenOut)
      .sort((a, b) => (a < b ? -1 : 1));
    const xmin = xip[0] ?? base;
    const xmax = (xip.at(-1) ?? base - 1n) + 1n + beyond;
    return { text: `${xmin}:${xmax}:${xip.join(',')}`, xmin, xmax };
  })
  .filter(({ xmax }) => isGivenOut(xmax));

test('this process judges as Postgres does which transactions a snapshot has seen', async () => {
  const cases = fc.array(
    snapshots.chain(({ text, xmin, xmax }) =>
      fc
        .bigInt({ min: xmin > 3n ? xmin - 3n : 1n, max: xmax + 3n })
        .filter((xid) => xid % 2n ** 32n !== 0n)
        .map((xid) => ({ snapshot: text, xid: String(xid) })),
    ),
    { minLength: 100, maxLength: 200 },
  );
  await fc.assert(
    fc.asyncProperty(cases, async (pairs) => {
      const rows = await database.sql<{ visible: boolean }[]>`
        select pg_visible_in_snapshot((c->>'xid')::xid8, (c->>'snapshot')::pg_snapshot) as visible
        from jsonb_array_elements(${JSON.stringify(pairs)}::text::jsonb) with ordinality x (c, position)
        order by position`;
      const own = pairs.map(({ snapshot, xid }) =>
        isVisible(BigInt(xid), parseSnapshotToken(`${life}/${snapshot}`).snapshot),
      );
      expect(own).toEqual(rows.map(({ visible }) => visible));
    }),
    { numRuns: 60 },
  );
});

test('what the database hands out as token, cursor and coherence token can be read here', async () => {
  const [row] = await database.sql`
    select token, cursor, module_cache.coherence_token() as coherence
    from module_cache.get('https://a.example/', 'a.ts'), module_cache.changes_since(null)`;
  const token = parseSnapshotToken(row?.token);
  expect(token.life).toBe(parseSnapshotToken(row?.cursor).life);
  expect(token.life).toBe(parseCoherenceToken(row?.coherence).life);
  expect(token.snapshot.xmin).toBeGreaterThan(0n);
});

test.each([
  ['', parseSnapshotToken],
  ['garbage', parseSnapshotToken],
  [`${life}@5`, parseSnapshotToken],
  [`${life}/5:6`, parseSnapshotToken],
  [`${life}/-5:6:`, parseSnapshotToken],
  [`${life}/5:6:7\n`, parseSnapshotToken],
  [`${life}/5:5:`, parseCoherenceToken],
  [`${life}@`, parseCoherenceToken],
  [`${life}@5 `, parseCoherenceToken],
  [null as unknown as string, parseCoherenceToken],
])('text that is no token is refused with what to do: %j', (text, parse) => {
  expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'MC002', hint: expect.any(String) }));
});
