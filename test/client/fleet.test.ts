import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { ModuleCacheOptions } from '../../src/index.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { newRealm } from './support/peers.js';
import { endPeers, type ProcessPeer, startPeer } from './support/process-peer.js';

/** What a fleet of real processes must be seen to do (DESIGN.md section 3, invariants 3 and 4). */

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());
afterEach(endPeers);

const start = (options: Partial<ModuleCacheOptions> = {}): Promise<ProcessPeer> =>
  startPeer({ connection: database.url, ...options });
const startMany = (count: number, options: Partial<ModuleCacheOptions> = {}): Promise<ProcessPeer[]> =>
  Promise.all(Array.from({ length: count }, () => start(options)));

/** Until all of them have found nothing, so that the claim is next. */
const untilMissed = (...peers: ProcessPeer[]): Promise<unknown> =>
  Promise.all(peers.map((peer) => peer.child.next('missed')));

test('a module is compiled once for two processes, and both serve the same bytes', async () => {
  const [first, second] = (await startMany(2)) as [ProcessPeer, ProcessPeer];
  const request = { realm: newRealm(), path: 'a.ts' };
  const produced = first.ask(request, 'gated');
  await first.child.next('producing');
  const waited = second.ask(request, 'gated');
  await untilMissed(second);
  first.finish({ body: 'export const snowman = "☃";\n', headers: { type: 'js' } });

  const answers = [await produced, await waited];
  expect(answers.map(({ module }) => module?.source === 'produced')).toEqual([true, false]);
  expect(answers[1]?.module?.body).toBe('export const snowman = "☃";\n');
  expect(answers[1]?.module?.body).toBe(answers[0]?.module?.body);
});

test('eight processes ask for one missing module: the producer runs once, nobody throws or waits too long', async () => {
  const peers = await startMany(8);
  const request = { realm: newRealm(), path: 'a.ts' };
  const deadlineMs = 20_000;
  const answering = peers.map((peer) => peer.ask(request, 'gated', { deadlineMs }));
  const producing = peers.map((peer) => peer.child.next('producing', 60_000).then(() => peer));
  for (const one of producing) one.catch(() => {});
  const producer = await Promise.race(producing);
  await untilMissed(...peers);
  producer.finish({ body: 'once' });

  const answers = await Promise.all(answering);
  expect(answers.map(({ module, error }) => error ?? module?.body)).toEqual(Array(8).fill('once'));
  expect(answers.filter(({ module }) => module?.source === 'produced')).toHaveLength(1);
  expect(Math.max(...answers.map(({ ms }) => ms))).toBeLessThan(deadlineMs);
});

test.each([['notify'], ['log']] as const)(
  'a compiling process is killed: another takes over within a second (broadcast %s)',
  async (broadcast) => {
    const [first, second] = (await startMany(2, { broadcast })) as [ProcessPeer, ProcessPeer];
    const request = { realm: newRealm(), path: 'a.ts' };
    first.ask(request, 'gated').catch(() => {});
    await first.child.next('producing');
    const waited = second.ask(request, 'taken over');
    await untilMissed(second);

    const killedAt = performance.now();
    await first.child.kill('SIGKILL');
    await second.child.next('producing');
    // Within a second on a machine that is not busy otherwise; its patience would take 30.
    expect(performance.now() - killedAt).toBeLessThan(5_000);
    expect((await waited).module).toMatchObject({ body: 'taken over', source: 'produced' });
  },
);

test('a production fails: the processes that wait for it learn at once, and none of them fails in its turn', async () => {
  const [first, ...others] = (await startMany(4)) as [ProcessPeer, ...ProcessPeer[]];
  const request = { realm: newRealm(), path: 'a.ts' };
  const failing = first.ask(request, 'gated');
  await first.child.next('producing');
  const waiting = others.map((peer) => peer.ask(request, 'hang', { deadlineMs: 30_000 }));
  await untilMissed(...others);
  first.tell('fail', { message: 'the disk is full' });
  const answers = await Promise.all([failing, ...waiting]);

  expect(answers.map(({ error }) => error?.message)).toEqual(Array(4).fill('the disk is full'));
  expect(answers.slice(1).map(({ error }) => error?.code)).toEqual(Array(3).fill('MC104'));
});

test('trap: "No such module" makes every waiter produce in turn', async () => {
  const [first, ...others] = (await startMany(4)) as [ProcessPeer, ...ProcessPeer[]];
  const request = { realm: newRealm(), path: 'gone.ts' };
  const failing = first.ask(request, 'gated');
  await first.child.next('producing');
  const waiting = others.map((peer) => peer.ask(request, 'hang', { deadlineMs: 30_000 }));
  await untilMissed(...others);
  first.tell('fail', { message: 'no such module', code: 'MC105' });
  const answers = await Promise.all([failing, ...waiting]);

  expect(answers.map(({ error }) => error?.code)).toEqual(Array(4).fill('MC105'));
});

test('a production hangs: the others produce without the claim after their patience', async () => {
  const [first, second] = (await startMany(2, { claimPatienceMs: 700 })) as [ProcessPeer, ProcessPeer];
  const request = { realm: newRealm(), path: 'a.ts' };
  first.ask(request, 'hang').catch(() => {});
  await first.child.next('producing');
  const { module, ms } = await second.ask(request, 'unclaimed', { deadlineMs: 20_000 });

  expect(module).toMatchObject({ body: 'unclaimed', source: 'produced', cached: true });
  expect(ms).toBeGreaterThanOrEqual(700);
});

test('a process that was stopped for longer than maxStaleness serves nothing from memory when it goes on', async () => {
  const maxStalenessMs = 600;
  const peer = await start({ maxStalenessMs, heartbeatMs: 200 });
  const request = { realm: newRealm(), path: 'a.ts' };
  await peer.ask(request, 'old');
  peer.tell('watch', { request });
  await until(async () => (await peer.child.next('seen')).body === 'old', {
    what: 'the module is in memory',
  });

  process.kill(peer.child.pid, 'SIGSTOP');
  const stoppedAt = performance.now();
  await database.sql.begin(async (tx) => {
    await tx`set local module_cache.notify = off`;
    await tx`select module_cache.invalidate(${request.realm}, array['a.ts'])`;
  });
  await until(() => performance.now() - stoppedAt > 2 * maxStalenessMs, {
    what: 'the process has been stopped for longer than maxStaleness',
  });
  // It is there before the process goes on, so it comes ahead of any answer of the server.
  peer.tell('peek', { request });
  process.kill(peer.child.pid, 'SIGCONT');
  expect((await peer.child.next('peeked')).body).toBeNull();
  expect((await peer.ask(request, 'new')).module?.body).toBe('new');
});
