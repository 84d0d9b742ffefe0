import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { sqlFiles } from '../../src/schema/files.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { startServer, type TestServer } from '../support/server.js';

/**
 * What has to stay cheap in a large cache, counted in pages touched, which no busy machine can change.
 * SIZE=1000000 is the long form. A server of its own, because long statements hold back what other tests collect.
 */

const SIZE = Number(process.env.SIZE ?? 50_000);
const realm = 'https://large.example/';

let server: TestServer;
let db: TestDatabase;
/** The session that has planned everything while all tables were empty: plans are kept, tables grow. */
let early: Awaited<ReturnType<TestDatabase['sql']['reserve']>>;

beforeAll(async () => {
  server = await startServer();
  db = await createDatabase({ template: false, serverUrl: server.url });
  await db.sql.begin(async (tx) => {
    for (const { text } of sqlFiles()) await tx.unsafe(text);
  });
  early = await db.sql.reserve();
  for (let i = 0; i < 10; i += 1) {
    await early`select module_cache.invalidate('https://early.example/', array['a.ts', 'b.ts'])`;
    await early`select status from module_cache.get('https://early.example/', 'a.ts')`;
  }
  await early`select from module_cache.changes_since(null)`;
}, 60_000);
afterAll(async () => {
  early.release();
  await db.drop();
  await server.remove();
});

/** Artifacts `from/1.ts` and on, each importing `imported`. */
async function store(from: string, imported: string, count: number): Promise<void> {
  await early`
    insert into module_cache._artifacts
    select
      ${realm}, path, 'transpile', '', 'body', '{}', array[${imported}::text], false, null,
      (select epoch from module_cache._epoch()), pg_current_snapshot(), pg_current_xact_id(),
      module_cache._module_hash(${realm}, path), module_cache._realm_hash(${realm}),
      module_cache._dependency_hashes(${realm}, array[${imported}::text]), now(), null
    from (select ${from}::text || '/' || i || '.ts' as path from generate_series(1, ${count}::int) i) p`;
}

/** How many pages a statement touches, with everything that it calls. */
async function pages(statement: string): Promise<number> {
  const [row] = await early.unsafe<{ 'QUERY PLAN': [{ Plan: Record<string, number> }] }[]>(
    `explain (analyze, buffers, format json) ${statement}`,
  );
  const plan = row?.['QUERY PLAN'][0].Plan;
  return (plan?.['Shared Hit Blocks'] ?? Number.NaN) + (plan?.['Shared Read Blocks'] ?? Number.NaN);
}

const clearRealm = `select module_cache.clear_realm('${realm}')`;
const clearAll = 'select module_cache.clear_all()';
const get = (path: string): string => `select * from module_cache.get('${realm}', '${path}')`;
const invalidate = (path: string): string =>
  `select count(*) from module_cache.invalidate('${realm}', array['${path}'])`;

test(`clear_realm and clear_all cost the same for ten artifacts and for ${SIZE}`, async () => {
  await store('few', 'few/base', 10);
  const few = [await pages(clearRealm), await pages(clearAll)];
  await store('many', 'many/base', SIZE);
  const many = [await pages(clearRealm), await pages(clearAll)];
  // An index may have grown by a level.
  for (const [i, count] of many.entries()) expect(count).toBeLessThan((few[i] as number) + 10);
  expect(await early`select status from module_cache.get(${realm}, 'many/7.ts')`).toMatchObject([
    { status: 'miss' },
  ]);
}, 300_000);

test('a session that planned while the cache was small reads and invalidates one module of a large one by index', async () => {
  const [hit] = await early`select count(*)::int as n from module_cache._artifacts`;
  expect(hit?.n).toBeGreaterThanOrEqual(SIZE);
  await early`insert into module_cache._generations (key, xid) select i, '5' from generate_series(1, ${SIZE}::int) i`;
  await early`
    insert into module_cache._invalidations (xid, scope, realm_url, canonical_paths)
    select '5', 'module', 'https://other.example/', '{a.ts}' from generate_series(1, ${SIZE}::int)`;
  // Dead, so that every check runs to its end.
  expect(await pages(get('many/8.ts'))).toBeLessThan(200);
  expect(await pages(invalidate('many/8.ts'))).toBeLessThan(200);
  const [{ cursor }] = (await early`select cursor from module_cache.changes_since(null)`) as unknown as [
    { cursor: string },
  ];
  await early.unsafe(invalidate('many/9.ts'));
  expect(await pages(`select * from module_cache.changes_since('${cursor}')`)).toBeLessThan(200);
}, 300_000);

test('a fan-out costs as much as there are importers', async () => {
  await store('tenth', 'tenth/base', SIZE / 10);
  const tenth = await pages(invalidate('tenth/base.ts'));
  const whole = await pages(invalidate('many/base.ts'));
  const reached = await early`
    select scope, cardinality(canonical_paths) as n from module_cache._invalidations
    where named_paths = array['many/base.ts']`;
  expect(reached).toMatchObject([{ scope: 'module', n: SIZE + 1 }]);
  expect(whole / tenth).toBeLessThan(20);
}, 300_000);
