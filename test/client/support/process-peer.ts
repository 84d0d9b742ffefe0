import { randomUUID } from 'node:crypto';
import type { ArtifactRequest, ModuleCacheOptions, Product, ReadOptions } from '../../../src/index.js';
import { type Child, startChild } from '../../support/process.js';
import { within } from '../../support/wait.js';
import { throughPooler } from '../support/pooler.js';

export type Message =
  | { type: 'ready' | 'opened' | 'closed' | 'aborted' | 'missed' }
  | { type: 'producing'; how: string; pid: number }
  | { type: 'answer'; id: string; module?: Answered; error?: Failed; ms: number }
  | { type: 'seen'; body: string | null; at: number }
  | { type: 'peeked'; body: string | null }
  | { type: 'failed'; message: string };

interface Answered {
  body: string;
  source: string;
  cached: boolean;
}
interface Failed {
  name: string;
  code: string;
  message: string;
}
export type Answer = Extract<Message, { type: 'answer' }>;

/** A cache in a process of its own. */
export interface ProcessPeer {
  readonly child: Child<Message>;
  ask(request: ArtifactRequest, how: string, read?: Omit<ReadOptions, 'signal'>): Promise<Answer>;
  tell(command: string, details?: object): void;
  finish(product: Product): void;
  end(): Promise<void>;
}

const children = new Set<ProcessPeer>();

export async function startPeer(options: ModuleCacheOptions): Promise<ProcessPeer> {
  const child = startChild<Message>(new URL('../children/peer.mjs', import.meta.url));
  await child.next('ready');
  const tell = (command: string, details: object = {}): void => child.send({ command, ...details });
  const peer: ProcessPeer = {
    child,
    tell,
    ask: async (request, how, read = {}) => {
      const id = randomUUID();
      tell('ask', { id, request, how, read });
      // One question at a time and child: answers come in order.
      return child.next('answer', 60_000);
    },
    finish: (product) => tell('finish', { product }),
    end: async () => {
      await child.kill('SIGKILL');
    },
  };
  children.add(peer);
  tell('open', { options: await throughPooler(options) });
  const failed = child.next('failed', 600_000).then(({ message }) => Promise.reject(new Error(message)));
  failed.catch(() => {});
  await within(20_000, () => 'the peer was opened', Promise.race([child.next('opened'), failed]));
  return peer;
}

export async function endPeers(): Promise<void> {
  const all = [...children];
  children.clear();
  await Promise.all(all.map((peer) => peer.end()));
}
