import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { type Backend, type Call, type CallsInFlight, createCallsInFlight } from '../../src/cancel.js';
import { until } from '../support/wait.js';

/** The server is asked to leave what nobody waits for, and never what somebody does. */

let server: ReturnType<typeof createServer>;
let inFlight: CallsInFlight;
const requests: number[] = [];
const sockets = new Set<Socket>();
let answers: boolean;
beforeEach(async () => {
  answers = true;
  requests.length = 0;
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (message) => {
      if (message.readUInt32BE(4) !== 80877102) return;
      requests.push(message.readUInt32BE(8));
      if (answers) socket.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  inFlight = createCallsInFlight({ host: ['127.0.0.1'], port: [port], given: undefined, ssl: false });
});
afterEach(async () => {
  inFlight.stop();
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

const backendOf = (pid: number): Backend => ({ pid, secret: 1 });

function begin(backend: Backend | null, active = true) {
  let settle = (): void => {};
  const settled = new Promise<void>((resolve) => {
    settle = resolve;
  });
  const statement = { state: backend, active, cancel: () => settle() };
  const call: Call = {
    statement: () => statement,
    keepsUntil: 0,
    settled,
    givenUp: false,
    withdrawn: false,
  };
  const { giveUp } = inFlight.begin(call);
  return {
    call,
    statement,
    giveUp,
    settle() {
      statement.active = false;
      settle();
    },
  };
}

const asked = (count: number) => until(() => requests.length >= count, { what: `${count} requests` });

test('one that waits on the same connection is not cut off: what it is behind stays until it is done', async () => {
  const [shared, other] = [backendOf(1), backendOf(2)];
  const silent = begin(shared);
  const behind = begin(shared, false);
  const elsewhere = begin(other);
  inFlight.retire();
  silent.giveUp();
  elsewhere.giveUp();
  await asked(1);
  expect(requests).toEqual([2]);
  behind.giveUp();
  await asked(2);
  expect(requests).toEqual([2, 1]);
});

test('those behind it are left one after the other, each once it is at work', async () => {
  const backend = backendOf(1);
  const calls = [begin(backend), begin(backend, false), begin(backend, false)];
  inFlight.retire();
  for (const { giveUp } of calls) giveUp();
  for (const [index, call] of calls.entries()) {
    await asked(index + 1);
    expect(requests).toHaveLength(index + 1);
    const next = calls[index + 1];
    if (next !== undefined) next.statement.active = true;
    call.settle();
  }
});

test('as long as the pool is in use nothing is cancelled: more may be sent on any connection', async () => {
  const silent = begin(backendOf(1));
  silent.giveUp();
  const began = performance.now();
  await until(() => performance.now() - began > 200, { what: 'it would have been asked' });
  expect(requests).toEqual([]);
  inFlight.retire();
  await asked(1);
});

test('what the request has missed is asked for again', async () => {
  const silent = begin(backendOf(1));
  inFlight.retire();
  silent.giveUp();
  await asked(2);
  expect(new Set(requests)).toEqual(new Set([1]));
});

test('what was not sent is withdrawn, to be asked for elsewhere, and keeps nothing else', async () => {
  const silent = begin(backendOf(1));
  const unsent = begin(null, false);
  silent.giveUp();
  inFlight.retire();
  await asked(1);
  expect(unsent.call).toMatchObject({ withdrawn: true, givenUp: false });
  expect(silent.call.withdrawn).toBe(false);
});

test('a server that does not answer is asked no more than once, and at the end', async () => {
  answers = false;
  const silent = begin(backendOf(1));
  inFlight.retire();
  silent.giveUp();
  await asked(1);
  await until(() => sockets.size === 0, { what: 'the request was given up' });
  silent.giveUp();
  inFlight.giveUpAll();
  await asked(2);
  inFlight.stop();
  await until(() => sockets.size === 0, { timeoutMs: 500, what: 'nothing is left of it' });
  expect(requests).toHaveLength(2);
});

test('a server that cannot be reached costs nobody anything', async () => {
  await new Promise((resolve) => server.close(resolve));
  const silent = begin(backendOf(1));
  inFlight.retire();
  silent.giveUp();
  await new Promise((resolve) => setImmediate(resolve));
  expect(requests).toEqual([]);
  server.listen(0, '127.0.0.1');
});
