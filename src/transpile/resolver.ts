import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { ModuleCacheError } from '../errors.js';
import type { Resolution, TranspileRequest } from './protocol.js';

type Resolve = NonNullable<TranspileRequest['resolve']>;

/** The caller's end of a conversation in which a thread asks once what its specifiers resolve to. */
export interface Resolver {
  /** To be transferred to the thread. */
  readonly port: MessagePort;
  /** Ends the conversation on both sides; an answer that comes later is dropped. */
  close(): void;
}

/** Calls `resolve` when a thread asks, and `fail` with what it throws. */
export function createResolver(resolve: Resolve, fail: (error: unknown) => void): Resolver {
  const { port1, port2 } = new MessageChannel();
  let closed = false;
  port1.on('message', (specifiers: string[]) => {
    resolveAll(resolve, specifiers).then(
      (resolution) => port1.postMessage(resolution),
      (error: unknown) => {
        if (!closed) fail(error);
      },
    );
  });
  return {
    port: port2,
    close() {
      closed = true;
      port1.close();
    },
  };
}

async function resolveAll(resolve: Resolve, specifiers: string[]): Promise<Resolution> {
  const results = await Promise.all(specifiers.map(async (specifier) => resolve(specifier)));
  const resolution = new Map<string, string>();
  for (const [index, specifier] of specifiers.entries()) {
    const result = results[index];
    if (result === undefined || result === specifier) continue;
    if (typeof result !== 'string') {
      throw new ModuleCacheError('MC003', 'a specifier was resolved to something that is not a string', {
        detail: `${specifier}: ${result === null ? 'null' : typeof result}`,
        hint: 'resolve returns a string, or undefined to leave the specifier as written.',
      });
    }
    resolution.set(specifier, result);
  }
  return resolution;
}

/** Nobody waits for the output any more. */
export class Cancelled extends Error {}

/** The thread's end. @throws Cancelled if the caller has closed its own. */
export async function ask(port: MessagePort, specifiers: string[]): Promise<Resolution> {
  return new Promise((answer, reject) => {
    port.once('message', answer);
    port.once('close', () => reject(new Cancelled()));
    port.postMessage(specifiers);
  });
}
