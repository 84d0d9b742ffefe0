import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { createActivity } from '../../src/activity.js';
import { createEmitter } from '../../src/events.js';
import { createPeerReports, type PeerReports } from '../../src/peer-reports.js';
import { parseSnapshotToken, type SeenUpTo } from '../../src/snapshot.js';
import { stubSession } from './support/stub-session.js';

/** What a process reports that it needs, and when. */

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  reports.stop();
  jest.useRealTimers();
});

let reports: PeerReports;
const LIFE = `${'a'.repeat(32)}-1`;
const at = (xid: number, life = LIFE): SeenUpTo => parseSnapshotToken(`${life}/${xid}:${xid}:`);
const pass = (ms: number) => jest.advanceTimersByTimeAsync(ms);

function open({ allowed = true } = {}) {
  const reported: string[] = [];
  const done: unknown[] = [];
  const warnings: unknown[] = [];
  let asked = 0;
  const state = {
    cursor: at(10) as SeenUpTo | undefined,
    newest: 0n,
    flights: new Set<{ needs(): SeenUpTo | undefined }>(),
    fails: undefined as Error | undefined,
  };
  const session = stubSession((text, [needs, , counted]) => {
    if (text.includes('has_function_privilege')) {
      asked += 1;
      return [String(allowed)];
    }
    if (state.fails !== undefined) throw state.fails;
    reported.push(needs as string);
    done.push(...JSON.parse(counted as string));
    return ['true'];
  });
  const activity = createActivity();
  const events = createEmitter();
  events.on('warning', ({ error }) => warnings.push(error));
  reports = createPeerReports({
    session,
    coherence: { seen: () => state.cursor, newestInvalidation: () => state.newest },
    flights: state.flights,
    events,
    activity,
    memory: { stats: () => ({ entries: 1, bytes: 2, covers: 3 }) },
    name: 'test',
    broadcast: 'notify',
    heartbeatMs: 1_000,
  });
  return { activity, done, reported, session, state, warnings, asked: () => asked };
}

test('what is needed is reported shortly after the start', async () => {
  const { reported } = open();
  await pass(2_000);
  expect(reported).toEqual([`${LIFE}@10`]);
});

test('a process that has not caught up yet, or has no connection, reports nothing', async () => {
  const { reported, session, state } = open();
  state.cursor = undefined;
  await pass(30_000);
  state.cursor = at(10);
  session.connected = false;
  await pass(30_000);
  expect(reported).toEqual([]);
});

test('what is on its way needs what its token has not seen', async () => {
  const { reported, state } = open();
  state.flights.add({ needs: () => at(7) });
  state.flights.add({ needs: () => undefined });
  state.flights.add({ needs: () => at(3, `${'b'.repeat(32)}-1`) });
  await pass(2_000);
  expect(reported).toEqual([`${LIFE}@7`]);
});

test('it is not reported again while the log holds nothing that is in the way', async () => {
  const { reported, state } = open();
  await pass(2_000);
  state.cursor = at(20);
  await pass(50_000);
  expect(reported).toHaveLength(1);
  state.newest = 10n;
  await pass(5_000);
  expect(reported).toEqual([`${LIFE}@10`, `${LIFE}@20`]);
});

test('nor more often than every few seconds, however much happens', async () => {
  const { reported, state } = open();
  for (let second = 0; second < 60; second += 1) {
    state.cursor = at(100 + second);
    state.newest = BigInt(100 + second);
    await pass(1_000);
  }
  expect(reported.length).toBeLessThanOrEqual(25);
});

test('but once a minute, so that operators see that it is there', async () => {
  const { reported } = open();
  await pass(2_000);
  await pass(600_000);
  expect(reported.length).toBeGreaterThanOrEqual(9);
  expect(reported.length).toBeLessThanOrEqual(11);
});

test('what it has served is reported within seconds, and each answer once', async () => {
  const { activity, done } = open();
  const id = { realm: 'https://example.com/', path: 'a.ts', kind: 'transpile', variant: '' };
  await pass(2_000);
  activity.observe('hit', { id, source: 'l1' });
  activity.observe('hit', { id, source: 'l1' });
  activity.observe('produced', { id, putMs: 0, ms: 5, reason: 'stale' });
  await pass(5_000);
  const first = {
    realm: id.realm,
    kind: id.kind,
    counts: { l1_hits: 2, productions: 1, production_ms: 5, stale: 1 },
  };
  expect(done).toEqual([first]);
  activity.observe('miss', { id });
  await pass(5_000);
  expect(done).toEqual([first, { realm: id.realm, kind: id.kind, counts: { misses: 1 } }]);
});

test('a server for many tenants reports them in turn, and counts no more than a thousand apart', async () => {
  const { activity, done } = open();
  await pass(2_000);
  for (let n = 0; n < 1_500; n += 1) {
    const id = { realm: `https://tenant-${n}.example/`, path: 'a.ts', kind: 'transpile', variant: '' };
    activity.observe('miss', { id });
  }
  await pass(5_000);
  expect(done.length).toBeGreaterThanOrEqual(100);
  expect(done.length % 100).toBe(0);
  await pass(60_000);
  expect(done).toHaveLength(1_001);
  expect(done).toContainEqual({ realm: null, kind: 'transpile', counts: { misses: 500 } });
});

test('beyond a thousand each of twenty kinds is counted by itself, and the others together', () => {
  const { activity } = open();
  const miss = (realm: string, kind: string) =>
    activity.observe('miss', { id: { realm, path: 'a.ts', kind, variant: '' } });
  for (let n = 0; n < 1_000; n += 1) miss(`https://tenant-${n}.example/`, 'transpile');
  for (let n = 0; n < 75; n += 1) miss(`https://more-${n}.example/`, `k${n % 25}`);
  const beyond = activity.totals().filter(({ realm }) => realm === null);
  expect(beyond).toHaveLength(21);
  expect(beyond.find(({ kind }) => kind === 'k0')?.counts.misses).toBe(3);
  expect(beyond.find(({ kind }) => kind === 'any')?.counts.misses).toBe(15);
});

test('that it has applied what it was behind by is reported, whatever else it needs', async () => {
  const { reported, state } = open();
  // Something begun long ago holds back what is needed.
  state.flights.add({ needs: () => at(3) });
  await pass(2_000);
  state.newest = 15n;
  state.cursor = at(20);
  await pass(5_000);
  expect(reported).toEqual([`${LIFE}@3`, `${LIFE}@3`]);
});

test('what a report that failed would have said is lost, and not made up for', async () => {
  const { activity, done, state } = open();
  const id = { realm: 'https://example.com/', path: 'a.ts', kind: 'transpile', variant: '' };
  await pass(2_000);
  activity.observe('miss', { id });
  state.fails = new Error('the connection was lost: nobody knows whether it was taken');
  await pass(5_000);
  state.fails = undefined;
  await pass(60_000);
  expect(done).toEqual([]);
});

test('what was done until the end is said at the end', async () => {
  const { activity, done } = open();
  const id = { realm: 'https://example.com/', path: 'a.ts', kind: 'transpile', variant: '' };
  await pass(2_000);
  activity.observe('coalesced', { id });
  await reports.stop();
  expect(done).toEqual([{ realm: id.realm, kind: id.kind, counts: { coalesced: 1 } }]);
});

test('also of a process that ends before its first report was due, and of any number of realms', async () => {
  const { activity, done, asked } = open();
  for (let n = 0; n < 1_100; n += 1) {
    activity.observe('miss', {
      id: { realm: `https://example.com/${n}/`, path: 'a.ts', kind: 'transpile', variant: '' },
    });
  }
  await reports.stop();
  expect(done).toHaveLength(1_001);
  expect(asked()).toBe(1);
});

test('an end without anything to say, on an older schema or without a connection is at once', async () => {
  const nothing = open();
  await reports.stop();
  expect(nothing.asked()).toBe(0);
  const id = { realm: 'https://example.com/', path: 'a.ts', kind: 'transpile', variant: '' };
  const older = open({ allowed: false });
  older.activity.observe('miss', { id });
  await reports.stop();
  expect([older.done, older.asked()]).toEqual([[], 1]);
  const away = open();
  away.activity.observe('miss', { id });
  away.session.connected = false;
  await reports.stop();
  expect(away.asked()).toBe(0);
});

test('a new connection, or a new life, has to be told at once', async () => {
  const { reported, session, state } = open();
  await pass(2_000);
  session.generation += 2;
  reports.onConnected();
  await pass(2_000);
  expect(reported).toEqual([`${LIFE}@10`, `${LIFE}@10`]);
  const other = `${'b'.repeat(32)}-1`;
  state.cursor = at(5, other);
  await pass(10_000);
  expect(reported.at(-1)).toBe(`${other}@5`);
});

test('an older schema is asked only whether it has become a newer one', async () => {
  const { reported, warnings, asked } = open({ allowed: false });
  await pass(60_000);
  expect([reported, warnings]).toEqual([[], []]);
  expect(asked()).toBeGreaterThanOrEqual(12);
});

test('a report that fails is told and tried again', async () => {
  const { reported, state, warnings } = open();
  state.fails = new Error('somebody holds the table');
  await pass(2_000);
  expect(warnings).toMatchObject([{ message: 'somebody holds the table' }]);
  state.fails = undefined;
  await pass(10_000);
  expect(reported).toEqual([`${LIFE}@10`]);
});

test('nothing runs after the end', async () => {
  const { reported } = open();
  reports.stop();
  reports.onConnected();
  await pass(60_000);
  expect(reported).toEqual([]);
  expect(jest.getTimerCount()).toBe(0);
});
