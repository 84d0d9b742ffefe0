import type { Registry } from 'prom-client';
import type { ModuleCache } from '../cache.js';
import { BUCKETS, INSTRUMENT_NAMES, type InstrumentName, instrument } from './instruments.js';
import { loadOptional } from './load.js';
import { createReadings, type MetricsOptions } from './readings.js';

/** What is used of a registry of prom-client. */
export interface PrometheusRegistry {
  readonly contentType: string;
  metrics(): Promise<string>;
  getMetricsAsJSON(): Promise<object[]>;
  removeSingleMetric(name: string): void;
}

export interface PrometheusOptions extends MetricsOptions {
  /** Of prom-client; a new one unless given. */
  registry?: PrometheusRegistry;
  /** `module_cache_` unless given. A registry that several caches of a process share needs another one for each. */
  prefix?: string;
}

export interface PrometheusMetrics {
  readonly registry: PrometheusRegistry;
  /** Takes the metrics out of the registry. To be called when the cache is closed. */
  close(): void;
}

/**
 * Registers the metrics of a cache with prom-client, which has to be installed. What counts every answer is read when
 * the metrics are collected, so reads cost nothing more.
 *
 * @throws ModuleCacheError MC107 if prom-client is not installed, or for what is no cache of this package; what
 *   prom-client throws, for example for a prefix that is in use
 */
export async function registerPrometheusMetrics(
  cache: ModuleCache,
  options: PrometheusOptions = {},
): Promise<PrometheusMetrics> {
  const { default: client } = await loadOptional('prom-client', () => import('prom-client'));
  const registry = (options.registry ?? new client.Registry()) as Registry;
  const prefix = options.prefix ?? 'module_cache_';
  const durations = new Map<InstrumentName, (labels: Record<string, string>, seconds: number) => void>();
  const registered: string[] = [];
  const readings = createReadings(cache, options, (name, labels, seconds) =>
    durations.get(name)?.(labels, seconds),
  );

  function register(name: InstrumentName): void {
    const { type, help, labels, ofRealm, together } = instrument(name);
    const byRealm = ofRealm === true && options.realmLabel !== undefined;
    const settings = {
      name: prefix + name,
      help,
      labelNames: byRealm ? [...labels, 'realm'] : [...labels],
      registers: [registry],
      aggregator: together,
    };
    if (type === 'histogram') {
      const histogram = new client.Histogram({ ...settings, buckets: [...(BUCKETS[name] ?? [])] });
      durations.set(name, (values, seconds) => histogram.observe(values, seconds));
    } else if (type === 'gauge') {
      new client.Gauge({
        ...settings,
        collect() {
          this.reset();
          // Without labels that makes it 0.
          if (labels.length === 0) this.remove();
          for (const reading of readings.of(name)) this.set(reading.labels, reading.value);
        },
      });
    } else {
      new client.Counter({
        ...settings,
        collect() {
          this.reset();
          for (const reading of readings.of(name)) this.inc(reading.labels, reading.value);
        },
      });
    }
    registered.push(settings.name);
  }

  function close(): void {
    readings.close();
    for (const name of registered) registry.removeSingleMetric(name);
  }

  try {
    for (const name of INSTRUMENT_NAMES) register(name);
  } catch (error) {
    close();
    throw error;
  }
  return { registry, close };
}
