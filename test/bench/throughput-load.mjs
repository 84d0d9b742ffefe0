/*
 * The load of test/bench/throughput.mjs: requests over a few connections that are kept, each answer read to its end.
 * They are of several kinds, as from the users of a server: what was compiled for one kind only is thrown away at the
 * first other request (`node --trace-deopt`), which a scrape, or who opens the page, would be charged with.
 */
import { once } from 'node:events';
import { connect } from 'node:net';

const CONNECTIONS = 16;
/** One in so many requests says what it has, asks for the head only, is refused, or has a connection of its own. */
const CONDITIONAL = 5;
const HEAD = 50;
const REFUSED = 100;
const ALONE = 200;
/** What clients say of themselves: a browser, another one, Node, curl. */
const CLIENTS = [
  {
    connection: 'keep-alive',
    'sec-ch-ua-platform': '"Linux"',
    'user-agent':
      'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36',
    'sec-ch-ua': '"Chromium";v="140", "Not=A?Brand";v="24"',
    'sec-ch-ua-mobile': '?0',
    accept: '*/*',
    origin: 'http://modules.example',
    'sec-fetch-site': 'same-origin',
    'sec-fetch-mode': 'cors',
    'sec-fetch-dest': 'script',
    referer: 'http://modules.example/main.ts',
    'accept-encoding': 'gzip, deflate, br, zstd',
    'accept-language': 'en-US,en;q=0.9',
  },
  {
    'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
    accept: '*/*',
    'accept-language': 'en-US,en;q=0.5',
    'accept-encoding': 'gzip, deflate, br, zstd',
    referer: 'http://modules.example/main.ts',
    connection: 'keep-alive',
    'sec-fetch-dest': 'script',
    'sec-fetch-mode': 'cors',
    'sec-fetch-site': 'same-origin',
    priority: 'u=2',
  },
  {
    connection: 'keep-alive',
    accept: '*/*',
    'accept-language': '*',
    'sec-fetch-mode': 'cors',
    'user-agent': 'node',
    'accept-encoding': 'gzip, deflate',
  },
  { 'user-agent': 'curl/8.5.0', accept: '*/*', 'accept-encoding': 'gzip' },
].map((fields) =>
  Object.entries(fields)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join(''),
);
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
    const isOpen = ({ socket }) => socket.readyState === 'open';
    while (connections.length < CONNECTIONS || !connections.every(isOpen)) {
      connections = connections.filter(isOpen);
      while (connections.length < CONNECTIONS) connections.push(await openConnection(hostname, Number(port)));
    }
  }

  const request = (method, path, client, more = '') =>
    `${method} /${path} HTTP/1.1\r\nhost: modules.example\r\n${CLIENTS[client % CLIENTS.length]}${more}\r\n`;

  async function askAlone(path, client) {
    const connection = await openConnection(hostname, Number(port));
    const text = request('GET', path, client, 'connection: close\r\n').replace(
      'connection: keep-alive\r\n',
      '',
    );
    const { status } = await connection.ask(text);
    connection.socket.destroy();
    return status;
  }

  async function ask(connection, path, client, isConditional) {
    // Each takes another coding.
    const variant = `${client % CLIENTS.length} ${path}`;
    const known = isConditional ? etags.get(variant) : undefined;
    const condition = known === undefined ? '' : `if-none-match: ${known}\r\n`;
    const { status, etag } = await connection.ask(request('GET', path, client, condition));
    if (status !== 200 && status !== 304) throw new Error(`${path} was answered with ${status}`);
    etags.set(variant, etag);
    return status;
  }

  async function askSomething(connection, path, client, number) {
    if (number % HEAD === 1) return (await connection.ask(request('HEAD', path, client), false)).status;
    if (number % REFUSED === 2) {
      return (await connection.ask(request('POST', path, client, 'content-length: 0\r\n'))).status;
    }
    if (number % ALONE === 3) return askAlone(path, client);
    return ask(connection, path, client, number % CONDITIONAL === 0);
  }

  return {
    async askForAll() {
      await connectAll();
      for (const client of CLIENTS.keys())
        for (const path of paths) await ask(connections[client], path, client, false);
    },
    async run(ms, seed) {
      const answered = { 200: 0, 304: 0, 405: 0 };
      const random = createRandom(seed);
      await connectAll();
      const began = performance.now();
      await Promise.all(
        connections.map(async (connection, client) => {
          while (performance.now() - began < ms) {
            const number = random();
            const path = paths[number % paths.length];
            answered[await askSomething(connection, path, client, number >>> 16)] += 1;
          }
        }),
      );
      return {
        count: answered[200] + answered[304] + answered[405],
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
  let hasBody = true;
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
      missing = (hasBody ? head.length : 0) - (all.length - end - END_OF_HEAD.length);
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
    ask: (text, expectsBody = true) =>
      new Promise((resolve, reject) => {
        if (socket.readyState !== 'open') throw new Error('a server has closed a connection');
        hasBody = expectsBody;
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
