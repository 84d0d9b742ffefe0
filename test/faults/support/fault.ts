import type { Conductor } from './conductor.js';
import type { Peer } from './fleet.js';
import type { Random } from './random.js';

/** What a run prepares for from its start if one of its faults asks for it. */
export type Need =
  /** The server's files on a disk of their own, a small one. */
  | 'small disk'
  /** A clock of the server's own. */
  | 'clock'
  /** A notification queue that fills up soon. */
  | 'small queue';

/** Something that really happens to servers, processes and networks. */
export interface Fault {
  readonly kind: string;
  /** How often it strikes, compared with the others. */
  readonly weight: number;
  /** What it strikes: one peer, beside what strikes others, or the server, one at a time. */
  readonly scope: 'peer' | 'server';
  readonly needs?: Need;
  /** Why it cannot be had on this machine. */
  lacks?(conductor: Conductor): string | undefined;
  /** Causes it, and resolves once it has been healed. */
  strike(conductor: Conductor, random: Random, peer: Peer): Promise<void>;
}
