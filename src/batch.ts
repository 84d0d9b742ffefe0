import type { ReadRow } from './calls.js';
import * as calls from './calls.js';
import type { CacheEmitter } from './events.js';
import { type Flight, type FlightResult, isNotThere, type Seat } from './flight.js';
import type { GuardedPool } from './guarded-pool.js';
import type { Journal } from './journal.js';
import { type ArtifactId, nameOf, requireArtifactId } from './keys.js';
import type { L1Entry } from './l1.js';
import { checkRead, wrongShape } from './options.js';
import type { SeenUpTo } from './snapshot.js';
import type { ArtifactRequest, ReadOptions, ServedModule } from './types.js';
import { createPatience, type Patience } from './waiting.js';

/**
 * Many reads at once: as many flights as there are modules that memory does not hold, which share one question to the
 * database. Whether an answer may be kept, or given to whom, is decided by each flight as for a single read.
 */
export interface BatchContext {
  readonly pool: Pick<GuardedPool, 'run'>;
  readonly journal: Journal;
  readonly events: CacheEmitter;
  catchUp(): Promise<boolean>;
  readonly deadlineMs: number;
  /** @throws ModuleCacheError MC103 */
  requireOpen(): void;
  isStrong(read: ReadOptions, patience: Patience): Promise<boolean>;
  fromMemory(id: ArtifactId): L1Entry | undefined;
  servedFromMemory(entry: L1Entry): ServedModule;
  /** What memory may answer because the database is away; undefined unless that is what the error says. */
  inGrace(id: ArtifactId, read: ReadOptions, error: unknown): L1Entry | undefined;
  servedInGrace(entry: L1Entry): ServedModule;
  tokenOf(seen: SeenUpTo): string;
  board(
    id: ArtifactId,
    alone: boolean,
    firstRead: (signal: AbortSignal) => Promise<ReadRow>,
  ): [Flight, boolean];
}

/** What is still to be answered, by name: a module that is asked for twice is read once. */
type Wanted = Map<string, ArtifactId>;
type Answers = Map<string, ServedModule>;

/** An answer holds all its bodies at once. */
const MAX_REQUESTS = 10_000;
const MAX_TRIES = 3;
/** So many may take as long together as a single one, and so many more as long again. */
const weightOf = (asked: readonly unknown[]): number => 1 + asked.length / 1_000;

export function createBatchReads(context: BatchContext) {
  const { pool, journal, events } = context;

  /** One question for all flights that begin before it is sent. */
  function createQuestion() {
    const ids: ArtifactId[] = [];
    const unwanted = new AbortController();
    let wantedBy = 0;
    let send = (): void => {};
    let withdraw = (_: unknown): void => {};
    const rows = new Promise<void>((resolve, reject) => {
      send = resolve;
      withdraw = reject;
    }).then(() => askFor(ids, unwanted.signal));
    rows.catch(() => {});
    return {
      add(id: ArtifactId, signal: AbortSignal): Promise<ReadRow> {
        const index = ids.push(id) - 1;
        wantedBy += 1;
        const leave = (): void => {
          wantedBy -= 1;
          if (wantedBy === 0) unwanted.abort(signal.reason);
        };
        signal.addEventListener('abort', leave, { once: true });
        return rows.then((all) => all[index] as ReadRow);
      },
      send(): void {
        if (ids.length > 0) send();
      },
      /** Those that count on it fail. */
      withdraw: (error: unknown) => withdraw(error),
    };
  }

  async function askFor(ids: readonly ArtifactId[], signal: AbortSignal): Promise<ReadRow[]> {
    const how = { weight: weightOf(ids), signal };
    const rows = await pool.run((sql) => calls.getMany(sql, ids), how);
    if (rows[0]?.token != null) return rows;
    // No epoch yet, as for a single read.
    await context.catchUp();
    return pool.run((sql) => calls.getMany(sql, ids), how);
  }

  /** Moves from `wanted` to `answers` what memory may answer. */
  async function takeFromMemory(
    wanted: Wanted,
    answers: Answers,
    strong: boolean,
    patience: Patience,
  ): Promise<void> {
    const found = [...wanted].flatMap(([name, id]) => {
      const entry = context.fromMemory(id);
      return entry === undefined ? [] : [{ name, entry }];
    });
    if (found.length === 0) return;
    const entries = found.map(({ entry }) => entry);
    const current = strong
      ? await patience.wait(
          pool.run((sql) => calls.areCurrent(sql, entries), {
            weight: weightOf(entries),
            signal: patience.signal,
          }),
        )
      : undefined;
    for (const [index, { name, entry }] of found.entries()) {
      if (current !== undefined && current[index] !== true) continue;
      wanted.delete(name);
      answers.set(name, context.servedFromMemory(entry));
      events.emit('hit', { id: entry.id, source: 'l1' });
    }
  }

  /** All or nothing: what memory does not hold may be there. */
  function takeInGrace(wanted: Wanted, answers: Answers, read: ReadOptions, error: unknown): boolean {
    const found: [string, L1Entry][] = [];
    for (const [name, id] of wanted) {
      const entry = context.inGrace(id, read, error);
      if (entry === undefined) return false;
      found.push([name, entry]);
    }
    for (const [name, entry] of found) answers.set(name, context.servedInGrace(entry));
    wanted.clear();
    return true;
  }

  async function answer(wanted: Wanted, read: ReadOptions, patience: Patience): Promise<Answers> {
    const answers: Answers = new Map();
    // As for a single read: what memory answers at once is counted before the call returns.
    const strong =
      read.after === undefined ? read.consistency === 'strong' : await context.isStrong(read, patience);
    const arrived = journal.position();
    for (let tries = 1; wanted.size > 0; tries += 1) {
      await takeFromMemory(wanted, answers, strong, patience);
      context.requireOpen();
      const question = createQuestion();
      const boarded: { name: string; id: ArtifactId; seat: Seat }[] = [];
      try {
        for (const [name, id] of wanted) {
          const [flight] = context.board(id, strong, (signal) => question.add(id, signal));
          boarded.push({ name, id, seat: flight.join() });
        }
        question.send();
        const results = await patience.wait(Promise.all(boarded.map(({ seat }) => resultOf(seat))));
        for (const [index, { name, id }] of boarded.entries()) {
          const { module, outdatedAt, seen } = results[index] ?? {};
          // It came with a flight from before; what is asked for anew goes into one question again.
          if (outdatedAt !== undefined && outdatedAt <= arrived && tries < MAX_TRIES) continue;
          wanted.delete(name);
          if (module === undefined) continue;
          answers.set(name, { ...module, token: seen === undefined ? undefined : context.tokenOf(seen) });
          events.emit('hit', { id, source: 'l2' });
        }
      } catch (error) {
        question.withdraw(error);
        if (!takeInGrace(wanted, answers, read, error)) throw error;
      } finally {
        for (const { seat } of boarded) seat.leave();
      }
    }
    return answers;
  }

  return async (
    requests: readonly ArtifactRequest[],
    read: ReadOptions = {},
  ): Promise<(ServedModule | undefined)[]> => {
    context.requireOpen();
    checkBatch(requests);
    const names: string[] = [];
    const wanted: Wanted = new Map();
    for (const request of requests) {
      const id = requireArtifactId(request ?? {});
      const name = nameOf(id);
      names.push(name);
      wanted.set(name, id);
    }
    checkRead(read);
    const patience = createPatience(read.deadlineMs ?? context.deadlineMs, read.signal);
    try {
      const answers = await patience.wait(answer(wanted, read, patience));
      return names.map((name) => answers.get(name));
    } finally {
      patience.close();
    }
  };
}

/** Undefined for a miss. */
async function resultOf({ result }: Seat): Promise<FlightResult | undefined> {
  try {
    return await result;
  } catch (error) {
    if (isNotThere(error)) return undefined;
    throw error;
  }
}

/** @throws ModuleCacheError MC003 */
function checkBatch(requests: unknown): void {
  if (!Array.isArray(requests)) throw wrongShape('requests is no array', 'Pass an array of { realm, path }.');
  if (requests.length > MAX_REQUESTS) {
    throw wrongShape(
      `${requests.length} requests`,
      `Ask for at most ${MAX_REQUESTS} at once: their bodies are held in memory together.`,
    );
  }
}
