import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import { ModuleCacheError } from '../errors.js';
import type { Setup, TranspilerOptions } from './options.js';
import type { Outcome, Task, TranspileResult } from './protocol.js';

/**
 * A running task that nobody waits for may go on for so many ms before its thread is ended: most end by themselves
 * sooner than a new thread would have loaded Babel.
 */
const GRACE_MS = 250;

export interface CompilerPool {
  /** Loads Babel in a first thread; resolves to the variant. */
  prepare(): Promise<string>;
  compile(task: Task, signal?: AbortSignal): Promise<TranspileResult>;
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

  async function run<T>(name: string, task: Partial<Task>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    if (closing !== undefined) throw closed();
    const outcome = await abortable<Outcome<T>>(
      (extra, kill) => pool.run({ ...task, ...extra }, { name, signal: kill }),
      signal,
    ).catch((error: unknown) => {
      throw closing !== undefined && !signal?.aborted ? closed() : error;
    });
    if ('value' in outcome) return outcome.value;
    const { message, ...extra } = outcome.misuse;
    throw new ModuleCacheError('MC107', message, extra);
  }

  return {
    prepare: () => run('prepare', {}),
    compile: (task, signal) => run('compile', task, signal),
    close() {
      closing ??= pool.destroy();
      return closing;
    },
  };
}

/** Rejects with the signal's reason at once, and ends the thread if the work goes on. */
function abortable<T>(
  start: (extra: Partial<Task>, kill: AbortSignal) => Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  const kill = new AbortController();
  if (signal === undefined) return start({}, kill.signal);
  const cancelled = new Int32Array(new SharedArrayBuffer(4));
  const work = start({ cancelled }, kill.signal);
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const abort = (): void => {
      Atomics.store(cancelled, 0, 1);
      timer = setTimeout(() => kill.abort(), GRACE_MS).unref();
      reject(signal.reason);
    };
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    });
  });
}

const closed = (): ModuleCacheError =>
  new ModuleCacheError('MC103', 'the transpiler is closed', {
    hint: 'Do not call transpile after close, and wait for pending calls before it.',
  });
