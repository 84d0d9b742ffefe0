import cluster, { type Worker } from 'node:cluster';
import { fileURLToPath } from 'node:url';
import type { FleetMetrics } from './serve-metrics.js';
import { CONFIG_VARIABLE, type FromWorker, type ToWorker, type WorkerConfig } from './serve-protocol.js';

export interface Workers {
  readonly port: number;
  /** Resolves to when (ms since the epoch) the last worker had applied the transaction; undefined if one did not. */
  coherentAt(xid: string, timeoutMs: number): Promise<number | undefined>;
  stop(): Promise<void>;
}

interface WorkersOptions {
  count: number;
  config: Omit<WorkerConfig, 'number'>;
  onMessage(line: string): void;
  metrics?: FleetMetrics | undefined;
}

const STOP_TIMEOUT_MS = 4_000;
const RESTART_DELAY_MS = 500;
const REMEMBERED = 1_000;

/** Starts processes that share one port, and replaces those that die. Resolves once all of them listen. */
export async function startWorkers({ count, config, onMessage, metrics }: WorkersOptions): Promise<Workers> {
  cluster.setupPrimary({ exec: fileURLToPath(new URL('serve-worker.js', import.meta.url)), args: [] });
  const alive = new Map<number, Worker>();
  const applied = new Map<string, Map<number, number>>();
  const watchers = new Set<() => void>();
  let stopping = false;

  function noteApplied(number: number, xid: string, at: number): void {
    const times = applied.get(xid) ?? new Map<number, number>();
    applied.set(xid, times.set(number, at));
    if (applied.size > REMEMBERED) applied.delete(applied.keys().next().value as string);
    for (const watcher of watchers) watcher();
  }

  function start(number: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const worker = cluster.fork({ [CONFIG_VARIABLE]: JSON.stringify({ ...config, number }) });
      let listens = false;
      let failure: string | undefined;
      alive.set(number, worker);
      worker.on('message', (message: FromWorker) => {
        if (message.type === 'listening') {
          listens = true;
          metrics?.onStarted(number, (order) => send(worker, order));
          resolve(message.port);
        } else if (message.type === 'failed') failure = message.message;
        else if (message.type === 'applied') noteApplied(number, message.xid, message.at);
        else if (message.type === 'warning') onMessage(`worker ${number}: ${message.message}`);
        else metrics?.onMessage(number, message);
      });
      worker.once('exit', (code, signal) => {
        alive.delete(number);
        metrics?.onEnded(number);
        for (const watcher of watchers) watcher();
        if (!listens) {
          reject(new Error(failure ?? `worker ${number} ended before it listened (${signal ?? code})`));
        } else if (!stopping) {
          onMessage(`worker ${number} ended (${signal ?? code}) and is replaced`);
          replace(number);
        }
      });
    });
  }

  /** Until it succeeds: the database may be away just now. */
  function replace(number: number): void {
    setTimeout(() => {
      if (stopping) return;
      start(number).catch((error: Error) => {
        if (stopping) return;
        onMessage(error.message);
        replace(number);
      });
    }, RESTART_DELAY_MS);
  }

  async function stop(): Promise<void> {
    stopping = true;
    const ended = [...alive.values()].map(
      (worker) => new Promise<void>((resolve) => worker.once('exit', () => resolve())),
    );
    for (const worker of alive.values()) send(worker, { type: 'stop' });
    const cutOff = setTimeout(() => {
      for (const worker of alive.values()) worker.process.kill('SIGKILL');
    }, STOP_TIMEOUT_MS);
    await Promise.all(ended);
    clearTimeout(cutOff);
  }

  try {
    // The first one finds a free port, if any will do; the others share it.
    const port = await start(1);
    await Promise.all(Array.from({ length: count - 1 }, (_, index) => start(index + 2)));
    return {
      port,
      coherentAt(xid, timeoutMs) {
        return new Promise((resolve) => {
          const finish = (time: number | undefined): void => {
            clearTimeout(timer);
            watchers.delete(check);
            resolve(time);
          };
          const check = (): void => {
            const times = applied.get(xid);
            if (times !== undefined && [...alive.keys()].every((number) => times.has(number))) {
              finish(Math.max(...times.values()));
            }
          };
          const timer = setTimeout(() => finish(undefined), timeoutMs);
          watchers.add(check);
          check();
        });
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function send(worker: Worker, message: ToWorker): void {
  if (worker.isConnected()) worker.send(message);
}
