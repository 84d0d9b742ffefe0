import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { CLAIM_ONCE } from '../protocol/support/guards.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { trap } from './support/guard.js';
import { observe, pair, REALM, session } from './support/session.js';

/** `claim` and `release` (DESIGN.md section 5): one producer in the fleet. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createDatabase();
});
afterAll(() => db.drop());

test('a claim excludes other sessions until it is released', async () => {
  const [one, other] = pair(db);
  expect(await one.claim('a.ts')).toBe(true);
  expect(await other.claim('a.ts')).toBe(false);
  expect(await other.release('a.ts')).toBe(false);
  expect(await one.release('a.ts')).toBe(true);
  expect(await one.release('a.ts')).toBe(false);
  expect(await other.claim('a.ts')).toBe(true);
});

trap('a claim is false for what this session already holds', CLAIM_ONCE, async (fresh) => {
  const [one, other] = pair(fresh);
  expect(await one.claim('a.ts')).toBe(true);
  expect(await one.claim('a.ts')).toBe(false);
  expect(await one.release('a.ts')).toBe(true);
  expect(await other.claim('a.ts')).toBe(true);
});

test('each artifact has its own claim', async () => {
  const [one, other] = pair(db);
  expect(await one.claim('own.ts')).toBe(true);
  expect(await other.claim('own.ts', { kind: 'definition' })).toBe(true);
  expect(await other.claim('own.ts', { variant: 'x' })).toBe(true);
  expect(await other.claim('own.ts', { realm: 'https://other.example/' })).toBe(true);
  expect(await other.claim('own.ts', { realm: 'HTTPS://App.Example/' })).toBe(false);
});

test('the server frees a claim when its session ends, however it ends', async () => {
  const [one, other] = pair(db);
  expect(await one.claim('killed.ts')).toBe(true);
  await other.run(`select pg_terminate_backend(${await one.pid()})`);
  await until(() => other.claim('killed.ts'), { timeoutMs: 1000, what: 'the claim is free' });
});

test('a claim outlives a rollback of the transaction that took it', async () => {
  const [one, other] = pair(db);
  await one.begin();
  expect(await one.claim('rolled-back.ts')).toBe(true);
  await one.rollback();
  expect(await other.claim('rolled-back.ts')).toBe(false);
  expect(await one.release('rolled-back.ts')).toBe(true);
});

test('a release tells all who wait, with the key of the claim', async () => {
  const observer = await observe(db, 'module_cache_populated');
  const one = session(db);
  await one.claim('told.ts');
  expect(await observer.heard()).toEqual([]);
  await one.release('told.ts');
  const [row] = await one.run(
    `select module_cache._claim_key('${REALM}', 'told.ts', 'transpile', '')::text as key`,
  );
  const key = row?.key as string;
  expect(await observer.heard()).toEqual([key]);
  expect(BigInt.asIntN(64, BigInt(key)).toString()).toBe(key);
});

test('claims whose keys are negative numbers are recognised as held', async () => {
  const one = session(db);
  const rows = await one.run(`
    select i, module_cache._claim_key('${REALM}', 'sign' || i, 'transpile', '') < 0 as negative
    from generate_series(1, 12) i`);
  expect(new Set(rows.map(({ negative }) => negative))).toEqual(new Set([true, false]));
  for (const { i } of rows) {
    expect(await one.claim(`sign${i}`)).toBe(true);
    expect(await one.claim(`sign${i}`)).toBe(false);
  }
  for (const { i } of rows) expect(await one.release(`sign${i}`)).toBe(true);
});

test('an advisory lock of the application is no claim', async () => {
  const one = session(db);
  await one.run('select pg_advisory_lock(1, 2), pg_advisory_lock(7), pg_advisory_lock_shared(8)');
  expect(await one.release('a.ts')).toBe(false);
  expect(await one.claim('locks.ts')).toBe(true);
  expect(await one.release('locks.ts')).toBe(true);
});
