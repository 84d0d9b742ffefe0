import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type Link, openLink } from './link.js';
import type { Command, PeerSettings, Report } from './messages.js';
import type { Random } from './random.js';

/** One process of the fleet, and its way to the server, which outlives it. */
export interface Peer {
  readonly number: number;
  readonly lane: number;
  readonly link: Link;
  readonly process: ChildProcess;
  /** Resolves when it has opened its cache, has ended, or cannot in a minute. */
  readonly ready: Promise<void>;
  operations: number;
  /** Resolves to whether it did. */
  ask(type: 'quiet' | 'recover' | 'end', timeoutMs: number): Promise<boolean>;
  writes(on: boolean, timeoutMs: number): Promise<boolean>;
  tell(command: Command): void;
}

export interface Fleet {
  /** Those that run now. */
  readonly peers: readonly Peer[];
  readonly lanes: number;
  readonly links: readonly Link[];
  /** Of all processes there ever were. */
  readonly operations: number;
  start(lane: number, how?: Partial<Pick<PeerSettings, 'client' | 'variant'>>): Peer;
  /** Ends the process that runs there now, without a word, and starts another one. */
  restart(lane: number, how?: Partial<Pick<PeerSettings, 'client' | 'variant'>>): Promise<Peer>;
  /** All of them at once; resolves to those that did not. */
  all(type: 'quiet' | 'recover' | 'end', timeoutMs: number): Promise<Peer[]>;
  close(): Promise<void>;
}

export type FleetSettings = Omit<PeerSettings, 'peer' | 'lane' | 'poolUrl' | 'directUrl' | 'pooled'> & {
  serverUrl: string;
  /** The pool of every second peer goes through it. */
  bouncerUrl: string | undefined;
  random: Random;
};

const START_MS = 60_000;
const script = fileURLToPath(new URL('../peer/main.ts', import.meta.url));

export async function createFleet(settings: FleetSettings): Promise<Fleet> {
  const { serverUrl, bouncerUrl, random, ...shared } = settings;
  const links: Link[] = [];
  for (let lane = 0; lane < settings.lanes; lane += 1)
    links.push(await openLink(Number(new URL(serverUrl).port)));
  const running = new Map<number, Peer>();
  let started = 0;
  let ended = 0;
  let closing = false;

  function start(lane: number, how: Partial<PeerSettings> = {}): Peer {
    started += 1;
    const link = links[lane] as Link;
    const pooled = bouncerUrl !== undefined && lane % 2 === 1;
    const child = fork(script, [], {
      execArgv: ['--import', 'tsx'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    // It may have been killed this moment.
    const send = (command: Command | PeerSettings): void =>
      void (child.connected && child.send(command, () => {}));
    const waiting = new Map<number, (done: boolean) => void>();
    let asked = 0;
    let becomeReady = (): void => {};
    function ask(command: Command & { number: number }, timeoutMs: number): Promise<boolean> {
      if (!child.connected) return Promise.resolve(false);
      return new Promise((resolve) => {
        const late = setTimeout(() => done(false), timeoutMs);
        const done = (answered: boolean): void => {
          clearTimeout(late);
          waiting.delete(command.number);
          resolve(answered);
        };
        waiting.set(command.number, done);
        send(command);
      });
    }
    const peer: Peer = {
      number: started,
      lane,
      link,
      process: child,
      operations: 0,
      ready: new Promise((resolve) => {
        becomeReady = resolve;
      }),
      tell: send,
      ask: (type, timeoutMs) => ask({ type, number: ++asked }, timeoutMs),
      writes: (on, timeoutMs) => ask({ type: 'writes', on, number: ++asked }, timeoutMs),
    };
    child.on('error', () => {});
    child.on('message', (message) => {
      const report = message as Report;
      if (report.type === 'ready') becomeReady();
      else if (report.type === 'operations') peer.operations = report.operations;
      else if (report.type === 'done') waiting.get(report.number)?.(true);
      else random.pick([...running.values()])?.tell(report);
    });
    child.once('exit', () => {
      becomeReady();
      ended += peer.operations;
      for (const done of waiting.values()) done(false);
      if (running.get(lane) === peer) running.delete(lane);
    });
    // Whoever asks it then finds out that it is not.
    const late = setTimeout(() => becomeReady(), START_MS);
    void peer.ready.then(() => clearTimeout(late));
    running.set(lane, peer);
    send({
      ...shared,
      ...how,
      peer: started,
      lane,
      directUrl: link.url(serverUrl),
      poolUrl: pooled ? bouncerUrl : link.url(serverUrl),
      pooled,
    } satisfies PeerSettings);
    return peer;
  }

  async function kill(peer: Peer): Promise<void> {
    if (peer.process.exitCode !== null || peer.process.signalCode !== null) return;
    const exited = once(peer.process, 'exit');
    peer.process.kill('SIGKILL');
    await exited;
  }

  for (let lane = 0; lane < settings.lanes; lane += 1) start(lane);
  await Promise.all([...running.values()].map(({ ready }) => ready));
  return {
    get peers() {
      return [...running.values()];
    },
    lanes: settings.lanes,
    links,
    get operations() {
      return ended + [...running.values()].reduce((sum, { operations }) => sum + operations, 0);
    },
    start,
    async restart(lane, how) {
      const peer = running.get(lane);
      if (peer !== undefined) await kill(peer);
      if (closing) throw new Error('the run ends');
      const next = start(lane, how);
      await next.ready;
      return next;
    },
    async all(type, timeoutMs) {
      const peers = [...running.values()];
      const answers = await Promise.all(peers.map((peer) => peer.ask(type, timeoutMs)));
      return peers.filter((_, index) => !answers[index]);
    },
    async close() {
      closing = true;
      await Promise.all([...running.values()].map(kill));
      await Promise.all(links.map((link) => link.close()));
    },
  };
}
