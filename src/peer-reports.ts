import * as calls from './calls.js';
import type { Coherence } from './coherence.js';
import type { CacheEmitter } from './events.js';
import type { Flight } from './flight.js';
import type { Session } from './session.js';
import { VERSION } from './versions.js';

/**
 * Tells the database what this process still needs of the log, so that garbage collection leaves it alone while the
 * process lives. What is needed only ever moves on, so a report that is late keeps too much, never too little.
 */
export interface PeerReports {
  /** What an earlier connection reported is gone with it. */
  onConnected(): void;
  stop(): void;
}

export interface PeerReportsOptions {
  session: Session;
  coherence: Pick<Coherence, 'seen' | 'newestInvalidation'>;
  flights: Iterable<Pick<Flight, 'needs'>>;
  events: CacheEmitter;
  name: string;
}

const CHECK_MS = 10_000;
const FIRST_CHECK_MS = 2_000;
/** A report costs a transaction id, and with each of them all others need less: an idle fleet must come to rest. */
const IDLE_MS = 600_000;
const CALL_TIMEOUT_MS = 5_000;

export function createPeerReports(options: PeerReportsOptions): PeerReports {
  const { session, coherence, flights, events } = options;
  let reported: { generation: number; life: string; xmin: bigint; at: number } | undefined;
  let allowedFor: number | undefined;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;

  /** The cursor, and the tokens of what is on its way. */
  function needs(): { life: string; xmin: bigint } | undefined {
    const seen = coherence.seen();
    if (seen === undefined) return undefined;
    const { life } = seen;
    let { xmin } = seen.snapshot;
    for (const flight of flights) {
      const needed = flight.needs();
      if (needed?.life === life && needed.snapshot.xmin < xmin) xmin = needed.snapshot.xmin;
    }
    return { life, xmin };
  }

  /** What was reported is in the way of garbage only if the log holds something from then on. */
  function isDue(life: string, xmin: bigint): boolean {
    if (reported?.generation !== session.generation || reported.life !== life) return true;
    if (reported.xmin === xmin) return false;
    return coherence.newestInvalidation() >= reported.xmin || performance.now() - reported.at > IDLE_MS;
  }

  async function report(): Promise<void> {
    const needed = needs();
    if (needed === undefined || !session.connected || !isDue(needed.life, needed.xmin)) return;
    const { generation } = session;
    if (allowedFor !== generation) {
      const signature = '_report_peer(text, jsonb)';
      if (!(await session.run((sql) => calls.mayCall(sql, signature), CALL_TIMEOUT_MS))) return;
      allowedFor = generation;
    }
    const { life, xmin } = needed;
    const about = { name: options.name, pid: process.pid, version: VERSION };
    const taken = await session.run(
      (sql) => calls.reportPeer(sql, `${life}@${xmin}`, about),
      CALL_TIMEOUT_MS,
    );
    if (taken) reported = { generation, life, xmin, at: performance.now() };
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
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
