import type { ModulesConfig } from './modules.js';
import type { PageConfig } from './page.js';
import type { MetricsFromWorker, MetricsToWorker } from './serve-metrics.js';

/** What passes between the process that watches and those that serve. */

export interface WorkerConfig {
  readonly modules: ModulesConfig;
  readonly databaseUrl: string | undefined;
  /** Of Postgres itself, if the other one leads to a pooler. */
  readonly listenUrl: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly cors: string | undefined;
  /** In ms. */
  readonly grace: number;
  readonly produceAlone: boolean;
  readonly page: PageConfig | undefined;
  /** URL path of the metrics; none unless given. */
  readonly metricsPath: string | undefined;
  readonly number: number;
}

export type FromWorker =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'failed'; readonly message: string }
  /** An invalidation was applied to the memory of this process, at this time in ms since the epoch. */
  | { readonly type: 'applied'; readonly xid: string; readonly at: number }
  | { readonly type: 'warning'; readonly message: string }
  | MetricsFromWorker;

export type ToWorker = { readonly type: 'stop' } | MetricsToWorker;

export const CONFIG_VARIABLE = 'MODULE_CACHE_WORKER';

export const now = (): number => performance.timeOrigin + performance.now();
