export { type Logger, logModuleCache, type ModuleCacheLog } from './log.js';
export {
  type MetricsProvider,
  type OpenTelemetryMetrics,
  type OpenTelemetryMetricsOptions,
  registerOpenTelemetryMetrics,
} from './opentelemetry-metrics.js';
export {
  type PrometheusMetrics,
  type PrometheusOptions,
  type PrometheusRegistry,
  registerPrometheusMetrics,
} from './prometheus.js';
export type { MetricsOptions } from './readings.js';
export { type TraceOptions, type TraceProvider, traceModuleCache } from './traces.js';
