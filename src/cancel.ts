import { once } from 'node:events';
import { isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls, type ConnectionOptions as TlsOptions } from 'node:tls';
import { createDialer, type OpenSocket, type Target } from './dialer.js';
import { withDeadline } from './waiting.js';

/**
 * A backend that waits for a lock does not notice that nobody is there any more: whoever gives its socket up and opens
 * another one has two of them. So it is asked to leave what it is at work on.
 */

/** A backend as it was announced when the connection was opened; a pooler has one of its own for each client. */
export interface Backend {
  readonly pid: number | null;
  readonly secret: number | null;
}

/** A statement as postgres.js 3.4 keeps it. */
export interface Statement {
  /** The same object for all that were sent on one connection; null until then. */
  readonly state: Backend | null;
  /** It is its turn, rather than that of one sent before. */
  readonly active: boolean;
  /** Only for what has not been sent: see `leave` for the rest. */
  cancel(): void;
}

export interface Call {
  /** The last one of the call; undefined if none is known yet. */
  readonly statement: () => Statement | undefined;
  /** Until then, by the monotonic clock, it is left alone whatever becomes of others. */
  readonly keepsUntil: number;
  readonly settled: Promise<unknown>;
  givenUp: boolean;
  /** It was not sent, and is to be asked for elsewhere. */
  withdrawn: boolean;
}

/** The calls on the connections of one pool. */
export interface CallsInFlight {
  begin(call: Call): { giveUp(): void };
  /** By the monotonic clock, when the last of those has to be done that are left alone. */
  keepUntil(): number;
  /**
   * The pool gets no more calls, and what it has not sent is withdrawn: postgres.js would open its connections again for
   * that. From now on the server is asked to leave those that were given up.
   */
  retire(): void;
  giveUpAll(): void;
  stop(): void;
}

/** What had not come to the server when it was asked, or waited for its connection, is asked for again. */
const AGAIN_MS = 100;

export const CANCEL_TIMEOUT_MS = 1_000;

/** @param onEmpty called once nothing is in flight any more after the pool was retired */
export function createCallsInFlight(options: CancelOptions, onEmpty: () => void = () => {}): CallsInFlight {
  const calls = new Set<Call>();
  /** Those that are being asked, and those that could not be. */
  const asked = new Set<Backend>();
  const stopping = new AbortController();
  let retired = false;
  let again: NodeJS.Timeout | undefined;

  /**
   * A request to cancel hits what the backend is at work on when it arrives, which may be the next one by then. So none
   * is sent as long as anybody waits for something on that connection. (postgres.js would cancel what was sent behind
   * others as well, and take the answer to the next one for it.)
   */
  function leave(): void {
    if (!retired || stopping.signal.aborted) return;
    for (const call of calls) {
      const { state: backend = null, active = false } = call.statement() ?? {};
      if (!call.givenUp || !active || backend === null || asked.has(backend)) continue;
      if ([...calls].some((other) => !other.givenUp && mayBeWith(backend, other))) continue;
      asked.add(backend);
      void ask(backend, call);
    }
    if (again === undefined && [...calls].some(({ givenUp }) => givenUp)) {
      again = setTimeout(() => {
        again = undefined;
        leave();
      }, AGAIN_MS);
    }
  }

  async function ask(backend: Backend, { settled }: Call): Promise<void> {
    if (!(await requestCancel(backend, options, stopping.signal))) return;
    await withDeadline(settled, AGAIN_MS, () => new Error('not yet')).catch(() => {});
    asked.delete(backend);
    leave();
  }

  return {
    begin(call) {
      calls.add(call);
      const end = (): void => {
        calls.delete(call);
        leave();
        if (retired && calls.size === 0) onEmpty();
      };
      call.settled.then(end, end);
      return {
        giveUp() {
          call.givenUp = true;
          if (isUnsent(call)) call.statement()?.cancel();
          leave();
        },
      };
    },
    keepUntil: () => Math.max(...[...calls].map((call) => (call.givenUp ? 0 : call.keepsUntil))),
    retire() {
      retired = true;
      for (const call of [...calls].filter(isUnsent)) {
        call.withdrawn = true;
        call.statement()?.cancel();
      }
      if (calls.size === 0) onEmpty();
      leave();
    },
    giveUpAll() {
      for (const call of calls) {
        call.givenUp = true;
        if (isUnsent(call)) call.statement()?.cancel();
      }
      retired = true;
      asked.clear();
      leave();
    },
    stop() {
      stopping.abort();
      clearTimeout(again);
    },
  };
}

const isUnsent = ({ statement }: Call): boolean => statement()?.state === null;

/** A transaction may still wait for its `begin`, which nobody sees. */
function mayBeWith(backend: Backend, { statement }: Call): boolean {
  const { state = null } = statement() ?? {};
  return state === null || state === backend;
}

export interface CancelOptions extends Target {
  /** How the user opens sockets. */
  readonly given: OpenSocket | undefined;
  /** As postgres.js takes them. */
  readonly ssl: unknown;
  readonly sslnegotiation?: unknown;
}

const CANCEL_REQUEST = 80877102;
const SSL_REQUEST = 80877103;

/** Resolves to whether it got through, and never rejects. Of several hosts each is asked: only one knows the secret. */
async function requestCancel(backend: Backend, options: CancelOptions, stop: AbortSignal): Promise<boolean> {
  const { pid, secret } = backend;
  if (pid === null || secret === null) return false;
  const message = messageOf(CANCEL_REQUEST, pid, secret);
  const asking = options.host.map(async (_, first) => {
    const dialer = createDialer({ given: options.given, first });
    stop.addEventListener('abort', dialer.hangUp, { once: true });
    try {
      await withDeadline(
        send(message, dialer.open, options),
        CANCEL_TIMEOUT_MS,
        () => new Error('no answer'),
      );
      return true;
    } catch {
      return false;
    } finally {
      stop.removeEventListener('abort', dialer.hangUp);
      dialer.hangUp();
    }
  });
  return (await Promise.all(asking)).includes(true);
}

/** Who has taken it hangs up without a word. */
async function send(message: Buffer, open: OpenSocket, options: CancelOptions): Promise<void> {
  const plain = await open(options);
  const socket = options.ssl ? await secure(plain as Socket, options) : plain;
  const closed = once(socket, 'close');
  socket.write(message);
  socket.resume();
  await closed;
}

/** As postgres.js does it. */
async function secure(socket: Socket, { ssl, sslnegotiation }: CancelOptions): Promise<Duplex> {
  const direct = sslnegotiation === 'direct';
  if (!direct) {
    const answered = once(socket, 'data');
    socket.write(messageOf(SSL_REQUEST));
    const accepted = ((await answered)[0] as Buffer).toString('latin1') === 'S';
    if (!accepted && ssl === 'prefer') return socket;
  }
  const { host = '' } = socket as { host?: string };
  const options: TlsOptions = { socket, ...(isIP(host) ? {} : { servername: host }) };
  if (direct) options.ALPNProtocols = ['postgresql'];
  if (ssl === 'require' || ssl === 'allow' || ssl === 'prefer') options.rejectUnauthorized = false;
  else if (typeof ssl === 'object') Object.assign(options, ssl);
  return connectTls(options).on('error', () => {});
}

/** Without a type, as what opens a connection is. */
function messageOf(...numbers: readonly number[]): Buffer {
  const message = Buffer.alloc(4 * (1 + numbers.length));
  for (const [index, number] of [message.length, ...numbers].entries()) {
    message.writeUInt32BE(number, 4 * index);
  }
  return message;
}
