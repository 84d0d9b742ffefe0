import { randomUUID } from 'node:crypto';
import {
  type CacheEvents,
  type ModuleCache,
  type ModuleCacheOptions,
  openModuleCache,
  type Product,
} from '../../../src/index.js';
import { throughPooler } from '../support/pooler.js';

/** One thing that a cache has told about itself. */
export type Told = { [Name in keyof CacheEvents]: { name: Name } & CacheEvents[Name][0] }[keyof CacheEvents];

/** A cache in this process, with all that it has told since it was opened. */
export interface Peer {
  readonly cache: ModuleCache;
  readonly told: Told[];
  /** Application name of its connections, short enough not to be cut. */
  readonly name: string;
  /** What it told under this name. */
  of<Name extends keyof CacheEvents>(name: Name): CacheEvents[Name][0][];
}

const peers = new Set<Peer>();
const names = [
  'hit',
  'miss',
  'produced',
  'failed',
  'absent',
  'coalesced',
  'stale',
  'invalidated',
  'dropped',
  'disconnected',
  'caught-up',
  'away',
  'back',
  'collected',
  'warning',
] as const;

export async function openPeer(options: ModuleCacheOptions): Promise<Peer> {
  const name = options.name ?? `test ${randomUUID()}`;
  const cache = await openModuleCache({ ...(await throughPooler(options)), name });
  const told: Told[] = [];
  for (const event of names) {
    cache.events.on(event, (what: object) => void told.push({ name: event, ...what } as Told));
  }
  const peer: Peer = {
    cache,
    told,
    name,
    of: (event) => told.filter((one) => one.name === event) as never,
  };
  peers.add(peer);
  return peer;
}

/** To be called after each test. */
export async function closePeers(): Promise<void> {
  const all = [...peers];
  peers.clear();
  await Promise.all(all.map(({ cache }) => cache.close()));
}

/** A realm of its own for each test, so that tests of one file do not meet. */
export const newRealm = (): string => `https://${randomUUID().slice(0, 8)}.example/`;

/** A producer that works until it is told to end, and counts its runs. */
export interface Gate {
  readonly produce: (context: { signal: AbortSignal }) => Promise<Product>;
  /** Runs begun. */
  readonly runs: number;
  readonly signals: readonly AbortSignal[];
  /** Resolves once this many runs have begun. */
  begun(count?: number): Promise<void>;
  /** Ends the oldest run that is still at work. */
  finish(product: Product): void;
  fail(error: unknown): void;
}

export function gate({ heedsSignal = false }: { heedsSignal?: boolean } = {}): Gate {
  const signals: AbortSignal[] = [];
  const working: { resolve(product: Product): void; reject(error: unknown): void }[] = [];
  const waiting = new Set<() => void>();
  return {
    produce({ signal }) {
      signals.push(signal);
      for (const look of waiting) look();
      return new Promise<Product>((resolve, reject) => {
        const run = { resolve, reject };
        working.push(run);
        if (!heedsSignal) return;
        signal.addEventListener('abort', () => {
          working.splice(working.indexOf(run), 1);
          reject(signal.reason);
        });
      });
    },
    get runs() {
      return signals.length;
    },
    signals,
    begun: (count = 1) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (signals.length < count) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
    finish: (product) => working.shift()?.resolve(product),
    fail: (error) => working.shift()?.reject(error),
  };
}

/** A producer for modules that no test looks into. */
export const making =
  (body: string, dependencyKeys: string[] = []) =>
  (): Product => ({ body, dependencyKeys });

/** A producer that must not be asked. */
export const notAsked = (): never => {
  throw new Error('this module was produced although the cache had to have it');
};
