import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** The way of a peer to the server, which can be cut, stalled, slowed down, or broken on one side only. */
export interface Link {
  /** A URL of the server through this link. */
  url(serverUrl: string): string;
  /** The port that new connections lead to; without one they are closed at once. */
  target: number | undefined;
  /** Breaks every connection, on both sides. */
  cut(): void;
  /** Nothing gets through, and nobody closes; what was sent meanwhile arrives afterwards. */
  stalled: boolean;
  /** Connections break at the server's side, and the client is not told: what it sends is lost. */
  halfOpen(): void;
  /** Everything arrives so many milliseconds later. */
  delayMs: number;
  /** New connections are closed at once. */
  refusing: boolean;
  close(): Promise<void>;
}

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  deaf: boolean;
}

export async function openLink(target: number | undefined): Promise<Link> {
  const pairs = new Set<Pair>();
  let stalled = false;

  const listener = createServer({ noDelay: true }, (client) => {
    client.on('error', () => {});
    const { target: to, refusing } = link;
    if (refusing || to === undefined) {
      client.destroy();
      return;
    }
    const server = connect({ host: '127.0.0.1', port: to, noDelay: true });
    const pair: Pair = { client, server, deaf: false };
    pairs.add(pair);
    forward(pair, client, server);
    forward(pair, server, client);
    if (stalled) pause(pair);
  });

  function forward(pair: Pair, from: Socket, to: Socket): void {
    let due = 0;
    from.on('data', (chunk) => {
      if (pair.deaf) return;
      const now = performance.now();
      // In order, also when the delay becomes shorter.
      due = Math.max(due, now + link.delayMs);
      if (due <= now) to.write(chunk);
      else setTimeout(() => to.destroyed || to.write(chunk), due - now);
    });
    from.on('error', () => {});
    from.on('close', () => {
      if (pair.deaf && from === pair.server) return;
      pairs.delete(pair);
      to.destroy();
    });
  }

  const pause = ({ client, server }: Pair): void => {
    client.pause();
    server.pause();
  };

  const link: Link = {
    target,
    delayMs: 0,
    refusing: false,
    url: (serverUrl) => Object.assign(new URL(serverUrl), { hostname: '127.0.0.1', port: String(port) }).href,
    cut() {
      for (const { client, server } of pairs) {
        client.destroy();
        server.destroy();
      }
    },
    get stalled() {
      return stalled;
    },
    set stalled(next) {
      stalled = next;
      for (const pair of pairs) {
        if (next) pause(pair);
        else {
          pair.client.resume();
          pair.server.resume();
        }
      }
    },
    halfOpen() {
      for (const pair of pairs) {
        pair.deaf = true;
        pair.server.destroy();
      }
    },
    async close() {
      this.cut();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address() as AddressInfo;
  return link;
}
