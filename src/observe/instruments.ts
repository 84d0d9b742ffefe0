/**
 * What is measured, once for all exporters. Names are those of Prometheus behind the prefix; OpenTelemetry has them
 * without the suffixes that its unit stands for.
 */
export interface Instrument {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  /** As UCUM spells it; `{}` for what is counted, because a plain 1 becomes the suffix `_ratio` in Prometheus. */
  readonly unit: string;
  readonly labels: readonly string[];
  /** By realm as well, where the user has a label for realms. */
  readonly ofRealm?: boolean;
  /** What one figure for several processes is. */
  readonly together: 'sum' | 'min' | 'max';
}

const of = (
  type: Instrument['type'],
  unit: string,
  help: string,
  labels: readonly string[] = [],
  together: Instrument['together'] = 'sum',
): Instrument => ({ type, unit, help, labels, together });
const ofRealm = (instrument: Instrument): Instrument => ({ ...instrument, ofRealm: true });

export const INSTRUMENTS = {
  hits_total: ofRealm(
    of('counter', '{hit}', 'Answers from memory (l1) or from the database (l2).', ['source', 'kind']),
  ),
  misses_total: ofRealm(of('counter', '{miss}', 'Reads that found nothing live.', ['kind'])),
  coalesced_total: ofRealm(
    of('counter', '{answer}', 'Answers that were the work of another caller or process.', ['kind']),
  ),
  failures_total: ofRealm(
    of('counter', '{failure}', 'Productions that threw, and not because there is no such module.', ['kind']),
  ),
  production_duration_seconds: ofRealm(
    of(
      'histogram',
      's',
      'Productions, storing included; the outcome is what put answered, away (not asked), absent (there is no such module) or error (the producer threw).',
      ['kind', 'outcome'],
    ),
  ),
  put_rejections_total: ofRealm(
    of('counter', '{product}', 'Products that were not stored, and why.', ['kind', 'reason']),
  ),
  fill_rejections_total: of(
    'counter',
    '{answer}',
    'Answers that memory did not keep, because an invalidation outdated them on their way.',
  ),
  invalidations_total: of('counter', '{invalidation}', 'Invalidations applied to memory.', ['scope']),
  invalidated_entries_total: of('counter', '{entry}', 'Entries that memory dropped for an invalidation.'),
  memory_drops_total: of('counter', '{drop}', 'How often all of memory was dropped, and why.', ['reason']),
  l1_entries: of('gauge', '{entry}', 'Artifacts in memory.'),
  l1_size_bytes: of('gauge', 'By', 'Size of the artifacts in memory.'),
  cursor_age_seconds: of(
    'gauge',
    's',
    'Since the last completed catch-up began: how old an answer from memory can be.',
    [],
    'max',
  ),
  connected: of('gauge', '{connection}', '1 while the dedicated connection is there.', [], 'min'),
  away: of('gauge', '{process}', '1 while the database cannot be used.', [], 'max'),
  disconnections_total: of('counter', '{disconnection}', 'How often the dedicated connection was lost.'),
  catch_up_duration_seconds: of(
    'histogram',
    's',
    'How long the log took to answer, at heartbeats or between.',
  ),
  garbage_collected_total: of(
    'counter',
    '{row}',
    'Rows that this process, when elected for it, removed, or in the case of renewed moved to a newer snapshot.',
    ['rows'],
  ),
  warnings_total: of('counter', '{warning}', 'What went wrong without a caller to tell.'),
  staleness_rechecks_total: of(
    'counter',
    '{sample}',
    'Sampled answers from memory that were, so long after the database had shown them outdated, still served (inconsistent) or not (consistent).',
    ['within_seconds', 'outcome'],
  ),
  staleness_violations_total: of(
    'counter',
    '{sample}',
    'Sampled answers from memory that were served for longer than maxStalenessMs after the database had shown them outdated.',
  ),
  staleness_nines: of(
    'gauge',
    '{nine}',
    'How many nines of the sampled answers were consistent so soon; no more than their number can show.',
    ['within_seconds'],
    'min',
  ),
  processes: of('gauge', '{process}', 'Processes whose figures these are.'),
} satisfies Record<string, Instrument>;

export type InstrumentName = keyof typeof INSTRUMENTS;

/** Without the generic types of each entry. */
export const instrument = (name: InstrumentName): Instrument => INSTRUMENTS[name];

export const INSTRUMENT_NAMES = Object.keys(INSTRUMENTS) as InstrumentName[];

/** In s: from a module of ten lines to one that takes minutes; a heartbeat takes a fraction of a millisecond. */
export const BUCKETS: { readonly [Name in InstrumentName]?: readonly number[] } = {
  production_duration_seconds: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 150],
  catch_up_duration_seconds: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
};
