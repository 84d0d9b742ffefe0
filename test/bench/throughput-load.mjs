/* The load of test/bench/throughput.mjs: requests over a few connections that are kept, each answer read to its end. */
import { once } from 'node:events';
import { connect } from 'node:net';

const CONNECTIONS = 16;
/** One in so many requests says what it has. */
const CONDITIONAL = 5;
const END_OF_HEAD = Buffer.from('\r\n\r\n');

/**
 * A client of one server. `run` asks for modules by chance, the same ones for the same seed, until the time (ms) is
 * over, and resolves to how many answers there were of each status.
 */
export async function openLoad(url, paths) {
  const { hostname, port } = new URL(url);
  const etags = new Map();
  let connections = [];

  /** A server closes those that nobody has used for a while. */
  async function connectAll() {
    connections = connections.filter(({ socket }) => socket.readyState === 'open');
    while (connections.length < CONNECTIONS) connections.push(await openConnection(hostname, Number(port)));
  }

  async function ask(connection, path, isConditional) {
    const known = isConditional ? etags.get(path) : undefined;
    const condition = known === undefined ? '' : `if-none-match: ${known}\r\n`;
    const { status, etag } = await connection.ask(
      `GET /${path} HTTP/1.1\r\nhost: modules.example\r\naccept: */*\r\naccept-encoding: gzip, deflate, br\r\n${condition}\r\n`,
    );
    if (status !== 200 && status !== 304) throw new Error(`${path} was answered with ${status}`);
    etags.set(path, etag);
    return status;
  }

  return {
    async askForAll() {
      await connectAll();
      for (const path of paths) await ask(connections[0], path, false);
    },
    async run(ms, seed) {
      const answered = { 200: 0, 304: 0 };
      const random = createRandom(seed);
      await connectAll();
      const began = performance.now();
      await Promise.all(
        connections.map(async (connection) => {
          while (performance.now() - began < ms) {
            const number = random();
            const path = paths[number % paths.length];
            answered[await ask(connection, path, (number >>> 16) % CONDITIONAL === 0)] += 1;
          }
        }),
      );
      return {
        count: answered[200] + answered[304],
        unchanged: answered[304],
        ms: performance.now() - began,
      };
    },
    close() {
      for (const { socket } of connections) socket.destroy();
    },
  };
}

async function openConnection(host, port) {
  const socket = connect({ host, port, noDelay: true });
  await once(socket, 'connect');
  let received = [];
  let missing = 0;
  let head;
  let settle;

  socket.on('data', (chunk) => {
    // What it says to a connection without a request is that it closes it.
    if (settle === undefined) return;
    received.push(chunk);
    if (head === undefined) {
      const all = received.length === 1 ? chunk : Buffer.concat(received);
      received = [all];
      const end = all.indexOf(END_OF_HEAD);
      if (end < 0) return;
      head = readHead(all.latin1Slice(0, end + 2));
      missing = head.length - (all.length - end - END_OF_HEAD.length);
    } else missing -= chunk.length;
    if (missing > 0) return;
    const answer = head;
    received = [];
    head = undefined;
    const { resolve } = settle;
    settle = undefined;
    resolve(answer);
  });
  const fail = (error) => settle?.reject(error ?? new Error('a server closed a connection'));
  socket.on('error', fail).on('close', () => fail());

  return {
    socket,
    ask: (text) =>
      new Promise((resolve, reject) => {
        settle = { resolve, reject };
        socket.write(text, 'latin1');
      }),
  };
}

function readHead(text) {
  const status = Number(text.slice(9, 12));
  const [, etag = ''] = /\r\netag: (.*)\r\n/i.exec(text) ?? [];
  const [, length] = /\r\ncontent-length: (\d+)\r\n/i.exec(text) ?? [];
  if (length === undefined && status !== 304) throw new Error(`an answer without its length:\n${text}`);
  return { status, etag, length: status === 304 ? 0 : Number(length) };
}

/** Numbers of 32 bits (xorshift). */
function createRandom(seed) {
  let state = seed + 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}
