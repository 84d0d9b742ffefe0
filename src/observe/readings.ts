import type { EventEmitter } from 'node:events';
import { ANY_KIND, activityOf, type Counts } from '../activity.js';
import type { ModuleCache } from '../cache.js';
import type { CacheEvents } from '../events.js';
import { type InstrumentName, instrument } from './instruments.js';

export interface MetricsOptions {
  /**
   * A label for a realm, from a small set such as a tenant's plan. Without it no metric tells realms apart: there is
   * no bound to their number. It is asked once for each realm, because counters must not fall. The label is `other`
   * where it throws, for labels beyond the first 100, and for realms beyond the first 1,000 pairs of realm and kind,
   * which are counted together, each kind by itself.
   */
  realmLabel?: (realm: string) => string;
}

export type Labels = Readonly<Record<string, string>>;

export interface Reading {
  readonly labels: Labels;
  readonly value: number;
}

/** What counters and gauges stand at when they are asked for, so that an answer from memory costs nothing more. */
export interface Readings {
  of(name: InstrumentName): Reading[];
  close(): void;
}

/** For histograms, told as it happens. */
export type OnDuration = (name: InstrumentName, labels: Labels, seconds: number) => void;

const MAX_KINDS = 20;
const MAX_REALM_LABELS = 100;
/** Beside those that are counted apart: events may name any number of realms. */
const MAX_REALMS_OF_EVENTS = 1_000;
const OTHER = 'other';
/** Texts of the event, as labels. */
const dropReasons: Readonly<Record<string, string>> = {
  start: 'start',
  'the log does not reach back to the cursor': 'cursor_too_old',
};
const REJECTIONS = new Set(['stale', 'epoch', 'older', 'contended', 'failed', 'away']);

/** @throws ModuleCacheError MC107 for what is no cache of this package */
export function createReadings(
  cache: ModuleCache,
  { realmLabel }: MetricsOptions,
  onDuration: OnDuration,
): Readings {
  const activity = activityOf(cache);
  const kinds = atMost(MAX_KINDS);
  const realmLabels = atMost(MAX_REALM_LABELS);
  const labelled = new Map<string, string>();
  const counted = new Map<InstrumentName, Map<string, { readonly labels: Labels; value: number }>>();

  function count(name: InstrumentName, labels: Labels, by = 1): void {
    const all = counted.get(name) ?? new Map();
    counted.set(name, all);
    addTo(all, labels, by);
  }

  function askForLabel(realm: string): string {
    try {
      return realmLabels(String(realmLabel?.(realm)));
    } catch {
      return OTHER;
    }
  }

  function labelOf(realm: string, isCountedApart: boolean): string {
    let label = labelled.get(realm);
    if (label !== undefined) return label;
    if (!isCountedApart && labelled.size >= MAX_REALMS_OF_EVENTS) return OTHER;
    label = askForLabel(realm);
    labelled.set(realm, label);
    return label;
  }

  /** @param realm null for all beyond what is counted apart, whose number is bounded */
  function labelsOf(realm: string | null, kind: string, isCountedApart = false): Labels {
    const label = { kind: realm === null && kind === ANY_KIND ? OTHER : kinds(kind) };
    if (realmLabel === undefined) return label;
    return { ...label, realm: realm === null ? OTHER : labelOf(realm, isCountedApart) };
  }

  /** Zeros as well: where one series of several is missing, Prometheus cannot add them up. */
  function fromActivity(field: keyof Counts, more: Labels = {}): Reading[] {
    const all = new Map<string, { labels: Labels; value: number }>();
    for (const { realm, kind, counts } of activity.totals())
      addTo(all, { ...more, ...labelsOf(realm, kind, true) }, counts[field] ?? 0);
    return [...all.values()];
  }

  // What happens seldom, and then once, has to be seen to rise.
  count('memory_drops_total', { reason: 'cursor_too_old' }, 0);

  const stop = listen(cache, {
    produced({ id, ms, reason }) {
      const labels = labelsOf(id.realm, id.kind);
      onDuration('production_duration_seconds', { ...labels, outcome: reason }, ms / 1000);
      if (REJECTIONS.has(reason)) count('put_rejections_total', { ...labels, reason });
    },
    failed({ id, ms }) {
      const labels = labelsOf(id.realm, id.kind);
      onDuration('production_duration_seconds', { ...labels, outcome: 'error' }, ms / 1000);
    },
    absent({ id, ms }) {
      const labels = labelsOf(id.realm, id.kind);
      onDuration('production_duration_seconds', { ...labels, outcome: 'absent' }, ms / 1000);
    },
    stale({ reason }) {
      if (reason !== 'put') count('fill_rejections_total', {});
    },
    invalidated({ scope, dropped }) {
      count('invalidations_total', { scope });
      count('invalidated_entries_total', {}, dropped);
    },
    dropped: ({ reason }) => count('memory_drops_total', { reason: dropReasons[reason] ?? OTHER }),
    disconnected: () => count('disconnections_total', {}),
    asked: ({ ms }) => onDuration('catch_up_duration_seconds', {}, ms / 1000),
    collected(collected) {
      for (const [rows, number] of Object.entries(collected)) {
        count('garbage_collected_total', { rows }, number);
      }
    },
    rechecked({ withinMs, isBound, outcome }) {
      count('staleness_rechecks_total', { within_seconds: String(withinMs / 1000), outcome });
      if (isBound && outcome === 'inconsistent') count('staleness_violations_total', {});
    },
    warning: () => count('warnings_total', {}),
  });

  /** With one more inconsistent sample than there were: without any, n samples show no more than log10(n + 1) nines. */
  function nines(): Reading[] {
    const samples = new Map<string, { all: number; inconsistent: number }>();
    for (const { labels, value } of counted.get('staleness_rechecks_total')?.values() ?? []) {
      if (labels.outcome === 'unknown') continue;
      const within = labels.within_seconds as string;
      const sum = samples.get(within) ?? { all: 0, inconsistent: 0 };
      sum.all += value;
      if (labels.outcome === 'inconsistent') sum.inconsistent += value;
      samples.set(within, sum);
    }
    return [...samples].map(([within, { all, inconsistent }]) => ({
      labels: { within_seconds: within },
      value: Math.log10((all + 1) / (inconsistent + 1)),
    }));
  }

  const stats = (): ReturnType<ModuleCache['stats']> => cache.stats();
  const one = (value: number): Reading[] => [{ labels: {}, value }];
  const read: { readonly [Name in InstrumentName]?: () => Reading[] } = {
    hits_total: () => [
      ...fromActivity('l1_hits', { source: 'l1' }),
      ...fromActivity('l2_hits', { source: 'l2' }),
    ],
    misses_total: () => fromActivity('misses'),
    coalesced_total: () => fromActivity('coalesced'),
    failures_total: () => fromActivity('failures'),
    l1_entries: () => one(stats().entries),
    l1_size_bytes: () => one(stats().bytes),
    cursor_age_seconds: () => one(stats().cursorAgeMs / 1000),
    connected: () => one(stats().connected ? 1 : 0),
    away: () => one(stats().away ? 1 : 0),
    staleness_nines: nines,
    processes: () => one(1),
  };

  return {
    of(name) {
      const { type, labels } = instrument(name);
      const start = type === 'counter' && labels.length === 0 ? one(0) : [];
      const all = read[name]?.() ?? [...(counted.get(name)?.values() ?? start)];
      // A cache that is closed has no age.
      return all.filter(({ value }) => Number.isFinite(value));
    },
    close: stop,
  };
}

type Listeners = { readonly [Name in keyof CacheEvents]?: (payload: CacheEvents[Name][0]) => void };

/** Returns what takes the listeners away again. */
export function listen(cache: ModuleCache, listeners: Listeners): () => void {
  const events = cache.events as unknown as EventEmitter;
  const all = Object.entries(listeners) as [string, (payload: unknown) => void][];
  for (const [event, listener] of all) events.on(event, listener);
  return () => {
    for (const [event, listener] of all) events.off(event, listener);
  };
}

function addTo(all: Map<string, { labels: Labels; value: number }>, labels: Labels, by: number): void {
  const key = JSON.stringify(labels);
  const reading = all.get(key);
  if (reading === undefined) all.set(key, { labels, value: by });
  else reading.value += by;
}

/** The first `most` different texts stand for themselves; the bound of what Prometheus has to keep apart. */
function atMost(most: number): (text: string) => string {
  const known = new Set<string>();
  return (text) => {
    if (known.size < most) known.add(text);
    return known.has(text) ? text : OTHER;
  };
}
