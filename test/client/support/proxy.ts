import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** Stands between a client and the server, to hold back, cut or count what passes. */
export interface TcpProxy {
  /** The server's URL through this proxy. */
  readonly url: string;
  /** Connections that were ever made. */
  readonly accepted: number;
  /** Connections that are open now. */
  readonly connections: number;
  /** What the server has answered and the client has not got. */
  readonly held: string;
  /** Keeps back all answers from now on, or from the first one on that contains this text. */
  hold(from?: string): void;
  /** Hands over what was kept back. */
  release(): void;
  /** From now on nothing gets through, and nobody closes: a network that has gone without a word. */
  silence(): void;
  /** Breaks every connection. */
  cut(): void;
  /** `accept`: as usual. `close`: accepts and closes at once, as a load balancer without a server behind it does. */
  door: 'accept' | 'close';
  /** How often a client has sent this text. Of a prepared statement only the parameters are sent each time. */
  sent(text: string | RegExp): number;
  close(): Promise<void>;
}

/**
 * @param deaf notifications do not get through, as through a pooler that listens for nobody
 * @param remembers what was sent, for `sent`
 */
export async function startProxy(
  serverUrl: string,
  { deaf = false, remembers = true } = {},
): Promise<TcpProxy> {
  const target = new URL(serverUrl);
  const pairs = new Set<{ client: Socket; server: Socket; kept: Buffer[]; partial: Buffer }>();
  let accepted = 0;
  let holding = false;
  let silent = false;
  let trigger: string | undefined;
  let traffic = '';
  let door: TcpProxy['door'] = 'accept';

  const proxy = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    accepted += 1;
    if (door === 'close') {
      client.destroy();
      return;
    }
    const server = connect({ host: target.hostname, port: Number(target.port), noDelay: true });
    const pair = { client, server, kept: [] as Buffer[], partial: Buffer.alloc(0) };
    pairs.add(pair);
    client.on('data', (chunk) => {
      if (remembers) traffic += chunk.toString('latin1');
      if (!silent) server.write(chunk);
    });
    client.on('end', () => {
      if (!silent) client.destroy();
    });
    server.on('data', (data: Buffer) => {
      let chunk = data;
      if (deaf) chunk = withoutNotifications(pair, chunk);
      if (trigger !== undefined && chunk.toString('latin1').includes(trigger)) {
        holding = true;
        trigger = undefined;
      }
      if (holding) pair.kept.push(chunk);
      else if (!silent) client.write(chunk);
    });
    for (const socket of [client, server]) {
      socket.on('error', () => {});
      socket.on('close', () => {
        pairs.delete(pair);
        client.destroy();
        server.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const { port } = proxy.address() as AddressInfo;

  return {
    url: Object.assign(new URL(serverUrl), { hostname: '127.0.0.1', port: String(port) }).href,
    get accepted() {
      return accepted;
    },
    get connections() {
      return pairs.size;
    },
    get held() {
      return [...pairs].map(({ kept }) => Buffer.concat(kept).toString('latin1')).join('\n');
    },
    hold(from) {
      holding = from === undefined;
      trigger = from;
    },
    release() {
      holding = false;
      trigger = undefined;
      for (const { client, kept } of pairs) for (const chunk of kept.splice(0)) client.write(chunk);
    },
    silence() {
      silent = true;
    },
    cut() {
      for (const { client, server } of pairs) {
        client.destroy();
        server.destroy();
      }
    },
    get door() {
      return door;
    },
    set door(next) {
      door = next;
    },
    sent: (text) => traffic.split(text).length - 1,
    close: () => {
      for (const { client, server } of pairs) {
        client.destroy();
        server.destroy();
      }
      return new Promise((resolve) => proxy.close(() => resolve()));
    },
  };
}

const NOTIFICATION = 'A'.charCodeAt(0);

/** Cuts the stream into messages: a type, and a length that counts itself. */
function withoutNotifications(stream: { partial: Buffer }, chunk: Buffer): Buffer {
  let rest = Buffer.concat([stream.partial, chunk]);
  const passed: Buffer[] = [];
  while (rest.length > 4 && rest.length > rest.readUInt32BE(1)) {
    const end = rest.readUInt32BE(1) + 1;
    if (rest[0] !== NOTIFICATION) passed.push(rest.subarray(0, end));
    rest = rest.subarray(end);
  }
  stream.partial = rest;
  return Buffer.concat(passed);
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** What `changes_since` is given each time. */
export const CURSOR = /[0-9a-f]{32}-[0-9a-f]{1,16}\/\d/;
