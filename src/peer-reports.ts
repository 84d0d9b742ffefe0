import { hostname } from 'node:os';
import type { Activity } from './activity.js';
import type { AboutPeer } from './calls.js';
import * as calls from './calls.js';
import type { Coherence } from './coherence.js';
import type { CacheEmitter } from './events.js';
import type { Flight } from './flight.js';
import type { L1 } from './l1.js';
import type { Session } from './session.js';
import { VERSION } from './versions.js';

/**
 * Tells the database what this process still needs of the log, so that garbage collection leaves it alone while the
 * process lives; and in the same statement, for operators, what the process is and what it has done. What is needed
 * only ever moves on, so a report that is late keeps too much, never too little.
 */
export interface PeerReports {
  /** What an earlier connection reported is gone with it. */
  onConnected(): void;
  /** Says for the last time what was done, if it can be said at once. */
  stop(): Promise<void>;
}

export interface PeerReportsOptions {
  session: Session;
  coherence: Pick<Coherence, 'seen' | 'newestInvalidation'>;
  flights: Iterable<Pick<Flight, 'needs'>>;
  events: CacheEmitter;
  activity: Activity;
  memory: Pick<L1, 'stats'>;
  name: string;
  broadcast: 'notify' | 'log';
  heartbeatMs: number;
}

const CHECK_MS = 5_000;
const FIRST_CHECK_MS = 2_000;
/** A report costs a transaction id, and with each of them all others need less: an idle fleet must come to rest. */
const IDLE_MS = 60_000;
const CALL_TIMEOUT_MS = 5_000;
/** One takes a hundred realms and kinds, and there are a thousand at most. */
const LAST_REPORTS = 11;

export function createPeerReports(options: PeerReportsOptions): PeerReports {
  const { session, coherence, flights, events, activity, memory } = options;
  const opened = performance.now();
  let reported: { generation: number; life: string; xmin: bigint; xmax: bigint; at: number } | undefined;
  let allowedFor: number | undefined;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;

  /** The cursor, and the tokens of what is on its way. */
  function needs(): { life: string; xmin: bigint; xmax: bigint } | undefined {
    const seen = coherence.seen();
    if (seen === undefined) return undefined;
    const { life } = seen;
    let { xmin } = seen.snapshot;
    const { xmax } = seen.snapshot;
    for (const flight of flights) {
      const needed = flight.needs();
      if (needed?.life === life && needed.snapshot.xmin < xmin) xmin = needed.snapshot.xmin;
    }
    return { life, xmin, xmax };
  }

  /** What was reported is in the way of garbage, and behind, only if the log holds something from then on. */
  function isDue(life: string, xmin: bigint, xmax: bigint): boolean {
    if (reported?.generation !== session.generation || reported.life !== life) return true;
    if (activity.changed || performance.now() - reported.at > IDLE_MS) return true;
    const newest = coherence.newestInvalidation();
    return (
      (newest >= reported.xmin && reported.xmin !== xmin) ||
      (newest >= reported.xmax && reported.xmax !== xmax)
    );
  }

  function about(xmax: bigint): AboutPeer {
    const { entries, bytes } = memory.stats();
    const { reads, hits } = activity.minute();
    return {
      name: options.name.slice(0, 200).toWellFormed(),
      host: hostname(),
      process_id: process.pid,
      version: VERSION,
      uptime_ms: Math.round(performance.now() - opened),
      broadcast: options.broadcast,
      heartbeat_ms: options.heartbeatMs,
      cursor: String(xmax),
      l1_entries: entries,
      l1_bytes: bytes,
      minute_reads: reads,
      minute_hits: hits,
    };
  }

  /** False if there was nothing to say, or nobody to say it to. */
  async function report(): Promise<boolean> {
    const needed = needs();
    activity.tick();
    if (needed === undefined || !session.connected || !isDue(needed.life, needed.xmin, needed.xmax))
      return false;
    const { generation } = session;
    if (allowedFor !== generation) {
      const signature = '_report_peer(text, jsonb, jsonb)';
      if (!(await session.run((sql) => calls.mayCall(sql, signature), CALL_TIMEOUT_MS))) return false;
      allowedFor = generation;
    }
    const { life, xmin, xmax } = needed;
    // Should it fail, this is lost: counted twice would be worse.
    const done = activity.take();
    const taken = await session.run(
      (sql) => calls.reportPeer(sql, `${life}@${xmin}`, about(xmax), done),
      CALL_TIMEOUT_MS,
    );
    if (taken) reported = { generation, life, xmin, xmax, at: performance.now() };
    return taken;
  }

  function schedule(withinMs: number): void {
    if (stopped) return;
    clearTimeout(timer);
    timer = setTimeout(
      () => {
        report()
          .catch((error) => {
            if (!stopped)
              events.emit('warning', { message: 'this process could not report what it needs', error });
          })
          .finally(() => schedule(CHECK_MS));
      },
      withinMs * (0.5 + Math.random() / 2),
    );
  }

  schedule(FIRST_CHECK_MS);
  return {
    onConnected: () => schedule(FIRST_CHECK_MS),
    async stop() {
      stopped = true;
      clearTimeout(timer);
      for (let reports = 0; activity.changed && reports < LAST_REPORTS; reports += 1) {
        if (!(await report().catch(() => false))) return;
      }
    },
  };
}
