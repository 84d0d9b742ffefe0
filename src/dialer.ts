import { connect, type Socket } from 'node:net';
import { Duplex } from 'node:stream';

/** The part of postgres.js' parsed options that says where the server is. */
interface Target {
  readonly host: readonly string[];
  readonly port: readonly number[];
  /** Of a Unix socket. */
  readonly path?: string | false | undefined;
}

export type OpenSocket = (options: Target) => Duplex | Promise<Duplex>;

/**
 * Opens sockets for postgres.js. Left to itself, version 3.4 opens one again, at once and for ever, if the other side
 * accepts and hangs up before the server has said anything; it opens one for nobody if a connection is ended while it
 * waits to reconnect; and it waits for the other side to close, which a silent network never does.
 */
export interface Dialer {
  /** The option `socket` of postgres.js. */
  readonly open: OpenSocket;
  /** Nothing is opened any more. */
  stop(): void;
  /** Closes what is open without asking the other side. */
  hangUp(): void;
}

export interface DialerOptions {
  /** How the user opens sockets, instead of TCP or a Unix socket. */
  given?: OpenSocket | undefined;
  /** Which of several hosts comes first. */
  first?: number;
  /** Called when the other side, or the network, has closed a socket; before postgres.js knows. */
  onLost?: () => void;
}

/** Who hangs up within this time without a word has no server behind it. */
const SILENCE_MS = 1_000;

export function createDialer({ given, first = 0, onLost = () => {} }: DialerOptions = {}): Dialer {
  const sockets = new Set<Duplex>();
  let next = first;
  /** Hosts that hung up without a word, one after the other. */
  let silent = 0;
  let stopped = false;

  function watch(socket: Socket): void {
    const opened = performance.now();
    const listen = (): void => {
      socket.on('error', onLost);
      socket.once('close', () => {
        if (!sockets.delete(socket)) return;
        const heard = socket.bytesRead > 0 || performance.now() - opened > SILENCE_MS;
        silent = heard ? 0 : silent + 1;
        if (!socket.writableEnded) onLost();
      });
    };
    sockets.add(socket);
    listen();
    // postgres.js takes everybody's listeners away before it puts TLS on top.
    const remove = socket.removeAllListeners.bind(socket);
    socket.removeAllListeners = (...event: [event?: string | symbol]) => {
      remove(...event);
      if (sockets.has(socket)) listen();
      return socket;
    };
  }

  return {
    async open(target) {
      if (stopped) return refusing(new Error('the connection is closed'));
      if (silent >= target.host.length) {
        silent = 0;
        return refusing(new Error('the connection was closed before the server answered'));
      }
      const index = next % target.host.length;
      next += 1;
      try {
        const socket = (await given?.(target)) ?? dial(target, index);
        watch(socket as Socket);
        return socket;
      } catch (error) {
        return refusing(error as Error);
      }
    },
    stop() {
      stopped = true;
    },
    hangUp() {
      stopped = true;
      for (const socket of sockets) socket.destroy();
    },
  };
}

function dial({ host, port, path }: Target, index: number): Socket {
  const name = host[index] as string;
  const socket = path ? connect({ path }) : connect({ host: name, port: port[index] as number });
  // postgres.js reads it for TLS.
  return Object.assign(socket, { host: name });
}

/**
 * Fails as soon as something is said, or has had its turn to be said. What `open` throws would cost postgres.js one of
 * its connections for good.
 */
function refusing(error: Error): Duplex {
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done(error) });
  setImmediate(() => setImmediate(() => socket.destroy(error)));
  return socket;
}
