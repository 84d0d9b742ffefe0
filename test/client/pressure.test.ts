import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { ModuleCacheOptions } from '../../src/index.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type Child, startChild } from '../support/process.js';
import { until, within } from '../support/wait.js';
import { newRealm } from './support/peers.js';
import { startProxy, type TcpProxy } from './support/proxy.js';

/** Many peers, much load and a database that leaves and comes back: nothing grows, and nobody stampedes. */

type Message =
  | {
      type:
        | 'ready'
        | 'opened'
        | 'away'
        | 'back'
        | 'answered'
        | 'producing'
        | 'producing alone'
        | 'leave'
        | 'return';
    }
  | { type: 'unloaded'; produced: number; caughtUp: number }
  | { type: 'sockets'; count: number }
  | {
      type: 'measured';
      measured: { bytes: number; sockets: number }[];
      outcomes: Record<string, number>;
      done: number;
    }
  | { type: 'closed'; left: string[]; listeners: number }
  | { type: 'failed'; message: string };

let database: TestDatabase;
let proxy: TcpProxy;
const children: Child<Message>[] = [];
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  proxy = await startProxy(database.url, { remembers: false });
});
afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.kill('SIGKILL')));
  await proxy.close();
});

async function start(count: number, options: Partial<ModuleCacheOptions>, execArgv: string[] = []) {
  const child = startChild<Message>(new URL('./children/pressure.mjs', import.meta.url), { execArgv });
  children.push(child);
  await child.next('ready');
  child.send({ command: 'open', count, options });
  await child.next('opened', 60_000);
  return child;
}

function leave(): void {
  proxy.door = 'close';
  proxy.cut();
}

async function elapsed(ms: number, what: string): Promise<void> {
  const began = performance.now();
  await until(() => performance.now() - began > ms, { timeoutMs: ms + 10_000, what });
}

test('a fleet of 20 comes back one after the other, loses nobody, and makes each module once', async () => {
  const processes = 4;
  const each = 5;
  const peers = processes * each;
  const max = 4;
  const options = { connection: `${proxy.url}?max=${max}`, maxStalenessMs: 3_000 };
  const fleet = await Promise.all(Array.from({ length: processes }, () => start(each, options)));
  const realm = newRealm();
  for (const child of fleet) child.send({ command: 'load', realm, modules: 50, callers: 8 });
  await until(() => proxy.connections >= peers * 2, { what: 'the load is on' });
  await until(
    async () =>
      (await database.sql`select from module_cache.artifacts where realm_url = ${realm}`).length === 50,
    { timeoutMs: 30_000, what: 'each module is made' },
  );
  leave();
  for (const child of fleet) for (let n = 0; n < each; n += 1) await child.next('away');
  await elapsed(1_000, 'they try less often');

  // Away: two attempts of each, of the pool and of the dedicated connection, in 1 s on the average.
  const before = proxy.accepted;
  await elapsed(2_000, 'it is still away');
  expect((proxy.accepted - before) / 2).toBeLessThan(peers * 6);

  const accepted = proxy.accepted;
  const perStep: number[] = [];
  proxy.door = 'accept';
  const sampling = setInterval(() => perStep.push(proxy.accepted), 100);
  const request = { realm, path: 'new.ts' };
  for (const child of fleet) child.send({ command: 'answer', request });
  await Promise.all(fleet.map((child) => child.next('answered', 60_000)));
  clearInterval(sampling);
  // Each once for its dedicated connection and its pool, and hardly more.
  expect(proxy.accepted - accepted).toBeLessThanOrEqual(peers * (max + 1) * 1.5);
  const steps = perStep.map((count, index) => count - (perStep[index - 1] ?? accepted));
  expect(Math.max(...steps)).toBeLessThan((peers * (max + 1)) / 2);
  for (const child of fleet) child.send({ command: 'unload' });
  let made = 0;
  let madeAlone = 0;
  const count = (child: Child<Message>, what: 'producing' | 'producing alone'): Promise<number> =>
    child.next(what, 1).then(
      () => 1,
      () => 0,
    );
  for (const child of fleet) {
    made += await count(child, 'producing');
    madeAlone += await count(child, 'producing alone');
  }
  const productions = await Promise.all(fleet.map((child) => child.next('unloaded')));
  // Once each, or once more for who was cut off again on its way, and with it lost the claim that it held.
  const caughtUp = productions.map((one) => one.caughtUp);
  expect(Math.min(...caughtUp)).toBeGreaterThanOrEqual(each);
  const cutOffAgain = caughtUp.reduce((sum, count) => sum + count, 0) - peers;
  expect(cutOffAgain).toBeLessThanOrEqual(peers);
  expect(made + madeAlone).toBeGreaterThan(0);
  expect(made).toBeLessThanOrEqual(1 + cutOffAgain);
  expect(madeAlone).toBeLessThan(processes);
  // The same 50 modules all the time, and the cache has lost none of them.
  const produced = productions.reduce((sum, one) => sum + one.produced, 0);
  expect(produced).toBeGreaterThanOrEqual(50);
  expect(produced).toBeLessThanOrEqual(50 + cutOffAgain);
}, 120_000);

test('heap and connections stay flat over many operations, and nothing is left after close in an outage', async () => {
  const operations = Number(process.env.OPERATIONS ?? 100_000);
  const options = {
    connection: `${proxy.url}?max=5`,
    l1: { maxBytes: 1_000_000 },
    maxStalenessMs: 1_000,
    heartbeatMs: 100,
  };
  const child = await start(1, options, ['--expose-gc']);
  let over = false;
  const follow = async (type: 'leave' | 'return', change: () => void): Promise<void> => {
    while (!over) {
      await child.next(type, 3_600_000).then(change, () => {});
      if (!over) child.send({});
    }
  };
  void follow('leave', leave);
  void follow('return', () => {
    proxy.door = 'accept';
  });
  child.send({ command: 'heap', operations, realm: newRealm() });
  const { measured, outcomes, done } = await child.next('measured', 3_600_000);
  const heaps = measured.map(({ bytes }) => bytes);
  if (process.env.OPERATIONS !== undefined)
    console.log({ done, outcomes, heaps, sockets: measured.map((one) => one.sockets) });
  // The first fifth warms up: code is compiled, and memory fills to its bound.
  const rest = heaps.slice(Math.ceil(heaps.length / 5));
  const half = Math.floor(rest.length / 2);
  const median = (of: number[]): number => [...of].sort((a, b) => a - b)[Math.floor(of.length / 2)] as number;
  expect(median(rest.slice(half))).toBeLessThan(median(rest.slice(0, half)) * 1.1 + 1_000_000);
  // The pool and the dedicated connection; and while one pool takes over from another, those of both.
  expect(Math.max(...measured.map(({ sockets }) => sockets))).toBeLessThanOrEqual(11);
  expect(outcomes).toMatchObject({ answered: expect.any(Number), MC108: expect.any(Number) });

  leave();
  await child.next('away');
  child.send({ command: 'close' });
  over = true;
  expect(await child.next('closed')).toMatchObject({ left: [], listeners: 0 });
  expect(await within(5_000, () => 'the process ended by itself', child.exited)).toEqual({
    code: 0,
    signal: null,
  });
}, 4_000_000);

test('a database that says nothing costs no more connections, however long that lasts', async () => {
  const child = await start(1, {
    connection: `${proxy.url}?max=3`,
    callTimeoutMs: 200,
    maxStalenessMs: 1_000,
    heartbeatMs: 200,
  });
  child.send({ command: 'load', realm: newRealm(), modules: 20, callers: 8 });
  await until(() => proxy.connections >= 2, { what: 'the load is on' });
  await elapsed(500, 'the load is on');
  proxy.silence();
  await child.next('away');
  const before = proxy.accepted;
  await until(() => proxy.accepted >= before + 10, { timeoutMs: 40_000, what: 'it has tried a few times' });
  child.send({ command: 'sockets' });
  // What is left behind is given up after 5 s; of what tries there is one each of the pool and the dedicated one.
  expect((await child.next('sockets')).count).toBeLessThanOrEqual(20);
  child.send({ command: 'close' });
  expect(await child.next('closed')).toMatchObject({ left: [], listeners: 0 });
}, 90_000);
