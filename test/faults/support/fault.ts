import type { Conductor } from './conductor.js';
import type { Peer } from './fleet.js';
import type { Random } from './random.js';

/** Something that really happens to servers, processes and networks. */
export interface Fault {
  readonly kind: string;
  /** How often it strikes, compared with the others. */
  readonly weight: number;
  /** What it strikes: one peer, beside what strikes others, or the server, one at a time. */
  readonly scope: 'peer' | 'server';
  /** Why it cannot be had on this machine. */
  lacks?(conductor: Conductor): string | undefined;
  /** Causes it, and resolves once it has been healed. */
  strike(conductor: Conductor, random: Random, peer: Peer): Promise<void>;
}
