import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ModuleCache } from '../cache.js';
import { ModuleCacheError } from '../errors.js';
import { registerPrometheusMetrics } from '../observe/index.js';
import { loadOptional } from '../observe/load.js';

/**
 * One scrape is answered by whichever worker gets it, with the figures of all: it asks the process that watches, which
 * gathers them. (prom-client's own way is for a primary that listens itself.)
 */
export type MetricsFromWorker =
  | { readonly type: 'scrape' }
  | { readonly type: 'metrics'; readonly metrics: object[] };

export type MetricsToWorker =
  | { readonly type: 'report-metrics' }
  /** What `scrape` has asked for; null if it cannot be had. */
  | { readonly type: 'scraped'; readonly text: string | null };

const USUAL_PATH = '/-/metrics';
/** A worker that is busy for so long is counted as it was when it last answered. */
const GATHER_MS = 2_000;
const SCRAPE_MS = 5_000;

/** @throws ModuleCacheError MC107 for what is no URL path */
export function metricsPathOf(option: string | true): string {
  const path = option === true ? USUAL_PATH : option;
  const base = 'http://localhost/';
  if (path !== '/' && URL.canParse(path, base) && new URL(path, base).pathname === path) return path;
  throw new ModuleCacheError('MC107', 'the metrics cannot be there', {
    detail: `--metrics ${path}`,
    hint: `Pass a URL path such as ${USUAL_PATH}: no module can be served there any more.`,
  });
}

export interface WorkerMetrics {
  /**
   * True if the request was for the metrics.
   *
   * @param target its path and query
   */
  answer(target: string, request: IncomingMessage, response: ServerResponse): boolean;
  onMessage(message: MetricsToWorker): void;
  close(): void;
}

/** Of one of the processes that serve. */
export async function openWorkerMetrics(
  cache: ModuleCache,
  path: string,
  tell: (message: MetricsFromWorker) => void,
): Promise<WorkerMetrics> {
  const { registry, close } = await registerPrometheusMetrics(cache);
  const waiting = new Set<(text: string | null) => void>();

  function scrape(): Promise<string | null> {
    return new Promise((resolve) => {
      const finish = (text: string | null): void => {
        clearTimeout(timer);
        waiting.delete(finish);
        resolve(text);
      };
      const timer = setTimeout(finish, SCRAPE_MS, null);
      waiting.add(finish);
      // Whoever asks meanwhile gets the same answer.
      if (waiting.size === 1) tell({ type: 'scrape' });
    });
  }

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const headers = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };
    const plain = { ...headers, 'content-type': 'text/plain; charset=utf-8' };
    if (request.method !== 'GET') {
      response.writeHead(405, { ...plain, allow: 'GET' }).end('only GET is served\n');
      return;
    }
    const text = await scrape();
    if (text === null) response.writeHead(503, plain).end('the metrics could not be gathered\n');
    else response.writeHead(200, { ...headers, 'content-type': registry.contentType }).end(text);
  }

  return {
    answer(target, request, response) {
      if (!target.startsWith(path) || (target.length > path.length && target[path.length] !== '?'))
        return false;
      void respond(request, response);
      return true;
    },
    onMessage(message) {
      if (message.type === 'scraped') for (const finish of waiting) finish(message.text);
      else void registry.getMetricsAsJSON().then((metrics) => tell({ type: 'metrics', metrics }));
    },
    close() {
      close();
      for (const finish of waiting) finish(null);
    },
  };
}

/** What the process that watches does for the workers. */
export interface FleetMetrics {
  onStarted(number: number, send: (message: MetricsToWorker) => void): void;
  onEnded(number: number): void;
  onMessage(number: number, message: MetricsFromWorker): void;
}

/** @throws ModuleCacheError MC107 if prom-client is not installed */
export async function createFleetMetrics(): Promise<FleetMetrics> {
  const { default: client } = await loadOptional('prom-client', () => import('prom-client'));
  const workers = new Map<number, (message: MetricsToWorker) => void>();
  const latest = new Map<number, object[]>();
  const unanswered = new Set<number>();
  const asking = new Set<number>();
  /** Of workers that have ended: what counts up must not fall back when one is replaced. */
  let past: Promise<object[]> = Promise.resolve([]);
  let cutOff: NodeJS.Timeout | undefined;

  function ask(number: number): void {
    asking.add(number);
    if (cutOff !== undefined) return;
    for (const [worker, send] of workers) {
      unanswered.add(worker);
      send({ type: 'report-metrics' });
    }
    cutOff = setTimeout(finish, GATHER_MS);
  }

  function finishIfAll(): void {
    if (cutOff !== undefined && unanswered.size === 0) finish();
  }

  function finish(): void {
    clearTimeout(cutOff);
    cutOff = undefined;
    unanswered.clear();
    const asked = [...asking].flatMap((number) => workers.get(number) ?? []);
    asking.clear();
    const send = (text: string | null): void => {
      for (const reply of asked) reply({ type: 'scraped', text });
    };
    past
      .then((ended) => client.AggregatorRegistry.aggregate([...latest.values(), ended]).metrics())
      .then(send, () => send(null));
  }

  return {
    onStarted: (number, send) => void workers.set(number, send),
    onEnded(number) {
      workers.delete(number);
      asking.delete(number);
      unanswered.delete(number);
      const left = (latest.get(number) ?? []).filter((metric) => 'type' in metric && metric.type !== 'gauge');
      latest.delete(number);
      past = past.then((ended) => client.AggregatorRegistry.aggregate([ended, left]).getMetricsAsJSON());
      finishIfAll();
    },
    onMessage(number, message) {
      if (message.type === 'scrape') ask(number);
      else if (workers.has(number)) {
        latest.set(number, message.metrics);
        unanswered.delete(number);
        finishIfAll();
      }
    },
  };
}
