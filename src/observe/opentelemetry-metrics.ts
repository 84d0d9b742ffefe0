import type { Histogram, MeterProvider, Observable } from '@opentelemetry/api';
import type { ModuleCache } from '../cache.js';
import { VERSION } from '../versions.js';
import { BUCKETS, INSTRUMENT_NAMES, type InstrumentName, instrument } from './instruments.js';
import { loadOptional } from './load.js';
import { createReadings, type Labels, type MetricsOptions } from './readings.js';

/** What is used of a MeterProvider of OpenTelemetry. */
export interface MetricsProvider {
  getMeter(name: string, version?: string): object;
}

export interface OpenTelemetryMetricsOptions extends MetricsOptions {
  /** The global one unless given. */
  meterProvider?: MetricsProvider;
  /** Added to every measurement, to tell several caches of a process apart. */
  attributes?: Readonly<Record<string, string>>;
}

export interface OpenTelemetryMetrics {
  /** To be called when the cache is closed. */
  close(): void;
}

/**
 * Reports the metrics of a cache through `@opentelemetry/api`, which has to be installed, as an SDK that the
 * application sets up: the same as with Prometheus, called `module_cache.hits` and so on.
 *
 * @throws ModuleCacheError MC107 if the package is not installed, or for what is no cache of this package
 */
export async function registerOpenTelemetryMetrics(
  cache: ModuleCache,
  options: OpenTelemetryMetricsOptions = {},
): Promise<OpenTelemetryMetrics> {
  const api = await loadOptional('@opentelemetry/api', () => import('@opentelemetry/api'));
  const provider = (options.meterProvider ?? api.metrics.getMeterProvider()) as MeterProvider;
  const meter = provider.getMeter('pg-module-cache', VERSION);
  const attributes = (labels: Labels): Labels => ({ ...options.attributes, ...labels });
  const durations = new Map<InstrumentName, Histogram>();
  const observed = new Map<InstrumentName, Observable>();
  const readings = createReadings(cache, options, (name, labels, seconds) =>
    durations.get(name)?.record(seconds, attributes(labels)),
  );

  for (const name of INSTRUMENT_NAMES) {
    const { type, help: description, unit } = instrument(name);
    const settings = { description, unit };
    const fullName = `module_cache.${name.replace(/_(total|seconds|bytes)$/, '')}`;
    if (type === 'histogram') {
      const advice = { explicitBucketBoundaries: [...(BUCKETS[name] ?? [])] };
      durations.set(name, meter.createHistogram(fullName, { ...settings, advice }));
    } else if (type === 'gauge') observed.set(name, meter.createObservableGauge(fullName, settings));
    else observed.set(name, meter.createObservableCounter(fullName, settings));
  }
  const instruments = [...observed.values()];
  const observe: Parameters<typeof meter.addBatchObservableCallback>[0] = (result) => {
    for (const [name, observable] of observed) {
      for (const { labels, value } of readings.of(name))
        result.observe(observable, value, attributes(labels));
    }
  };
  meter.addBatchObservableCallback(observe, instruments);
  return {
    close() {
      meter.removeBatchObservableCallback(observe, instruments);
      readings.close();
    },
  };
}
