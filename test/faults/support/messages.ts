/** What the conductor of a run and its peers tell each other. */
export interface PeerSettings {
  /** Counts processes, from 1: one that is started again is another peer. */
  peer: number;
  /** Its place in the fleet, from 0 to below `lanes`. */
  lane: number;
  lanes: number;
  seed: number;
  folder: string;
  /** See `Clock`. */
  origin: string;
  modules: number;
  /** How many a module imports at most, when that changes. */
  imports: number;
  /** The client to use, as a file: URL. */
  client: string;
  variant: string;
  /** Where the pool of the cache connects to; through PgBouncer if `pooled`. */
  poolUrl: string;
  pooled: boolean;
  directUrl: string;
  boundMs: number;
  heartbeatMs: number;
  broadcast: 'notify' | 'log';
  l1Bytes: number;
  readers: number;
  peeksPerSecond: number;
  writesPerSecond: number;
}

export type Command =
  | { type: 'token'; write: number; thing: number; token: string }
  | { type: 'forget tokens' }
  | { type: 'writes'; on: boolean; number: number }
  | { type: 'quiet' | 'recover' | 'end'; number: number }
  | { type: 'clock'; offsetMs: number };

export type Report =
  | { type: 'ready' }
  | { type: 'operations'; operations: number }
  | { type: 'token'; write: number; thing: number; token: string }
  | { type: 'done'; number: number };
