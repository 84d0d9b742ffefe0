import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import { ModuleCacheError } from '../errors.js';
import type { Setup, TranspilerOptions } from './options.js';
import type { Outcome, Task, TranspileRequest, TranspileResult } from './protocol.js';
import { createResolver } from './resolver.js';

/**
 * A running task that nobody waits for may go on for so many ms before its thread is ended: most end by themselves
 * sooner than a new thread would have loaded Babel.
 */
const GRACE_MS = 250;

/** What stays on the calling thread. */
export interface Callbacks {
  readonly signal?: AbortSignal | undefined;
  readonly resolve?: TranspileRequest['resolve'] | undefined;
}

export interface CompilerPool {
  /** Loads Babel in a first thread; resolves to the variant. */
  prepare(): Promise<string>;
  compile(task: Task, callbacks?: Callbacks): Promise<TranspileResult>;
  define(task: Task, callbacks?: Callbacks): Promise<TranspileResult>;
  close(): Promise<void>;
}

export function startPool(setup: Setup, options: TranspilerOptions): CompilerPool {
  const pool = new Piscina({
    filename: fileURLToPath(new URL('./worker.js', import.meta.url)),
    workerData: setup,
    minThreads: 1,
    maxThreads: options.threads ?? Math.max(1, availableParallelism() - 1),
    idleTimeout: options.idleTimeoutMs ?? 60_000,
    // Blocking waits would keep what a plugin prints from appearing.
    atomics: 'disabled',
    stricterFIFO: true,
    recordTiming: false,
  });
  // An idle thread that dies is replaced, and no reason to end the process.
  pool.on('error', () => {});
  let closing: Promise<void> | undefined;

  async function run<T>(name: string, task: Partial<Task>, callbacks: Callbacks = {}): Promise<T> {
    const { signal } = callbacks;
    signal?.throwIfAborted();
    if (closing !== undefined) throw closed();
    const outcome = await abandonable<Outcome<T>>((extra, kill) => {
      const transfer = extra.resolver && { transferList: [extra.resolver] };
      return pool.run({ ...task, ...extra }, { name, signal: kill, ...transfer });
    }, callbacks).catch((error: unknown) => {
      throw closing !== undefined && !signal?.aborted ? closed() : error;
    });
    if ('value' in outcome) return outcome.value;
    const { message, ...extra } = outcome.misuse;
    throw new ModuleCacheError('MC107', message, extra);
  }

  return {
    prepare: () => run('prepare', {}),
    compile: (task, callbacks) => run('compile', task, callbacks),
    define: (task, callbacks) => run('define', task, callbacks),
    close() {
      closing ??= pool.destroy();
      return closing;
    },
  };
}

/** Rejects with the signal's reason, or what `resolve` throws, at once, and ends the thread if the work goes on. */
function abandonable<T>(
  start: (extra: Partial<Task>, kill: AbortSignal) => Promise<T>,
  { signal, resolve }: Callbacks,
): Promise<T> {
  const kill = new AbortController();
  if (signal === undefined && resolve === undefined) return start({}, kill.signal);
  const cancelled = new Int32Array(new SharedArrayBuffer(4));
  return new Promise((fulfil, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const abandon = (reason: unknown): void => {
      Atomics.store(cancelled, 0, 1);
      // A thread that waits for an answer is free again.
      resolver?.close();
      clearTimeout(timer);
      timer = setTimeout(() => kill.abort(), GRACE_MS).unref();
      reject(reason);
    };
    const abort = (): void => abandon(signal?.reason);
    const resolver = resolve && createResolver(resolve, abandon);
    signal?.addEventListener('abort', abort, { once: true });
    start({ cancelled, ...(resolver && { resolver: resolver.port }) }, kill.signal)
      .then(fulfil, reject)
      .finally(() => {
        clearTimeout(timer);
        resolver?.close();
        signal?.removeEventListener('abort', abort);
      });
  });
}

const closed = (): ModuleCacheError =>
  new ModuleCacheError('MC103', 'the transpiler is closed', {
    hint: 'Do not call transpile after close, and wait for pending calls before it.',
  });
