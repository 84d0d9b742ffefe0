import { setTimeout as sleep } from 'node:timers/promises';
import type { PageDatabase } from './database.js';
import type { Fleet, InvalidationRow, Message, RateSample, StatsRow } from './messages.js';
import { recentSamples } from './samples.js';
import { describeTrouble } from './trouble.js';

/** Looks at the database for all who watch, and only while somebody does. */
export interface Poller {
  /** What a new viewer has to know. */
  snapshot(): Message;
  start(): void;
  /** Lets the question on its way end. */
  stop(): Promise<void>;
}

export interface PollerOptions {
  readonly database: PageDatabase;
  readonly send: (message: Message | string) => void;
  readonly onError: (error: unknown) => void;
}

/** The log is asked at each tick, by an index; the fleet and the counts, which cost more, at every so many. */
const TICK_MS = 500;
const FLEET_TICKS = 2;
const STATS_TICKS = 10;
const RETRY_MS = 1_000;
const MAX_RETRY_MS = 5_000;

const RECENT = 100;
/** Of one tick: the browser shows no more, and says that there were more. */
const MAX_TOLD = 200;

export function createPoller({ database, send, onError }: PollerOptions): Poller {
  const recent = new Map<string, InvalidationRow>();
  let isLogKnown = false;
  let samples: readonly RateSample[] = [];
  let fleet: string | undefined;
  let stats: StatsRow[] | undefined;
  let trouble: string | undefined;
  let running: { readonly stop: AbortController; readonly done: Promise<void> } | undefined;

  function remember(rows: readonly InvalidationRow[]): InvalidationRow[] {
    const news = rows.filter(({ id }) => !recent.has(id));
    for (const row of news) recent.set(row.id, row);
    for (const id of recent.keys()) {
      if (recent.size <= RECENT) break;
      recent.delete(id);
    }
    return news;
  }

  const snapshot = (): Message => ({
    type: 'snapshot',
    fleet: fleet === undefined ? null : (JSON.parse(fleet) as Fleet),
    stats: stats ?? null,
    samples: recentSamples(samples, Date.now()),
    invalidations: isLogKnown ? [...recent.values()] : null,
    trouble: trouble ?? null,
  });

  async function look(tick: number, cursor: string | null): Promise<string> {
    const changes = await database.changesSince(cursor);
    if (cursor === null || !changes.complete) {
      // Whatever was told before may not be all that happened.
      recent.clear();
      remember(await database.invalidations(null, RECENT));
      isLogKnown = true;
      send(snapshot());
    } else if (changes.xids.length > 0) {
      // One more, to see whether there are more.
      const rows = await database.invalidations(changes.xids, MAX_TOLD + 1);
      const invalidations = remember(rows.slice(-MAX_TOLD));
      send({ type: 'invalidations', invalidations, missed: rows.length > MAX_TOLD });
    }
    if (tick % FLEET_TICKS === 0) {
      fleet = await database.fleet();
      trouble = undefined;
      send(`{"type":"fleet","fleet":${fleet}}`);
    }
    if (tick % STATS_TICKS === 0) {
      const counted = await database.stats();
      const sample = stats === undefined ? null : sampleOf(stats, counted);
      stats = counted;
      if (sample !== null) samples = recentSamples([...samples, sample], sample.at);
      send({ type: 'stats', stats, sample });
    }
    return changes.cursor;
  }

  async function run(signal: AbortSignal): Promise<void> {
    let cursor: string | null = null;
    let failures = 0;
    for (let tick = 0; !signal.aborted; tick += 1) {
      let pause = TICK_MS;
      try {
        cursor = await look(tick, cursor);
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        if (failures === 0) onError(error);
        failures += 1;
        pause = Math.min(RETRY_MS * failures, MAX_RETRY_MS);
        // Everything is looked at anew when the database is back.
        tick = -1;
        cursor = null;
        trouble = describeTrouble(error).text;
        send({ type: 'trouble', trouble });
      }
      await sleep(pause, undefined, { signal }).catch(() => {});
    }
  }

  return {
    snapshot,
    start() {
      if (running !== undefined) return;
      const stop = new AbortController();
      // What was seen when somebody last watched is no news, and no beginning for a rate.
      fleet = undefined;
      stats = undefined;
      trouble = undefined;
      recent.clear();
      isLogKnown = false;
      running = { stop, done: run(stop.signal) };
    },
    async stop() {
      const stopped = running;
      running = undefined;
      stopped?.stop.abort();
      await stopped?.done;
    },
  };
}

/** What was answered between two counts; null if they are of different lives of the tables. */
function sampleOf(before: readonly StatsRow[], after: readonly StatsRow[]): RateSample | null {
  const total = (rows: readonly StatsRow[], name: 'l1Hits' | 'l2Hits' | 'misses'): number =>
    rows.reduce((sum, row) => sum + row[name], 0);
  const [memory, stored, missed] = (['l1Hits', 'l2Hits', 'misses'] as const).map(
    (name) => total(after, name) - total(before, name),
  ) as [number, number, number];
  if (Math.min(memory, stored, missed) < 0) return null;
  const all = memory + stored + missed;
  const percent = (count: number): number | null =>
    all === 0 ? null : Math.round((1_000 * count) / all) / 10;
  return { at: Date.now(), memory: percent(memory), cache: percent(memory + stored) };
}
