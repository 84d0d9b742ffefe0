import { isAway } from './away.js';
import type { ReadRow } from './calls.js';
import * as calls from './calls.js';
import type { Claim, Claims, Waiter } from './claims.js';
import { isNoSuchModule } from './errors.js';
import type { CacheEmitter } from './events.js';
import { bodyOfFailure, FAILURE_HEADER, FAILURE_LIFE_MS, type Failures, failureOf } from './failure.js';
import type { GuardedPool } from './guarded-pool.js';
import type { Fill, Journal } from './journal.js';
import { type ArtifactId, coversOf, GLOBAL_COVER, moduleCover, PRIVATE_COVER, realmCover } from './keys.js';
import type { L1 } from './l1.js';
import { type NormalProduct, normalizeProduct } from './product.js';
import { isVisible, parseSnapshotToken, type SeenUpTo, type Snapshot } from './snapshot.js';
import type { Producer, ServedModule, Source } from './types.js';
import { orAborted, shareOutcome, sleep } from './waiting.js';

/**
 * One flight is one answer on its way: read from the database, waited for, or produced. Callers of one process share
 * it (single flight), the claim makes it one production for the fleet.
 */
export interface Flight {
  readonly result: Promise<FlightResult>;
  /** Resolves when nothing is on its way any more, which can be after `result` if that was given up. */
  readonly landed: Promise<void>;
  /** False once an invalidation has outdated it: later callers need a flight of their own. */
  readonly joinable: boolean;
  /** How long it has been on its way, in ms by the clock that says more. */
  age(): number;
  join(): Seat;
  /** An invalidation was applied here; aborts the production if it is known to be outdated. */
  onApplied(covers: ReadonlySet<string>, xid: bigint | undefined): void;
  onDroppedAll(): void;
  /** The oldest snapshot that it may still present to the database; undefined for none. */
  needs(): SeenUpTo | undefined;
  abort(reason: unknown): void;
}

/** Of one caller. */
export interface Seat {
  readonly result: Promise<FlightResult>;
  /** The last caller to leave aborts what is still on its way. */
  leave(): void;
}

export interface FlightResult {
  readonly module: ServedModule;
  /**
   * Journal position of the first invalidation that outdates the answer; undefined while none is known here. A caller
   * that arrived at or after it must not get this answer.
   */
  readonly outdatedAt: number | undefined;
  /** A snapshot that has seen everything the answer was made from; undefined if none is known. */
  readonly seen: SeenUpTo | undefined;
}

export interface FlightContext {
  readonly pool: Pick<GuardedPool, 'run'>;
  readonly claims: Claims;
  readonly l1: L1;
  readonly journal: Journal;
  readonly events: CacheEmitter;
  readonly failures: Failures;
  /** Of the cursor: memory takes only entries of this life. */
  life(): string | undefined;
  catchUp(): Promise<boolean>;
  /** What the last completed catch-up has seen. */
  seen(): SeenUpTo | undefined;
  readonly claimPatienceMs: number;
  readonly pollMs: number;
  /** Has a production without the database its turn; undefined if there is to be none. */
  readonly withoutDatabase?: (<T>(work: () => Promise<T>, signal: AbortSignal) => Promise<T>) | undefined;
}

interface Production {
  readonly controller: AbortController;
  /** What its token has seen. */
  readonly seen: SeenUpTo | undefined;
  onOutdated(): void;
}

const MAX_TRIES = 3;
const CONTENDED_RETRIES = 5;
const ELECTION_ATTEMPTS = 3;
/** A body so much longer may take as long again on its way. */
const BYTES_PER_CALL = 1_000_000;

export interface FlightOptions {
  /** How long it waits for another producer, in ms; the context's unless given. */
  readonly claimPatienceMs?: number | undefined;
  /**
   * Asks the database for the first time together with other flights. To be called by the flight itself, so that its
   * fill has begun by then; the answer has been asked for a second time if it came without a token. The signal aborts once
   * nobody waits for the flight.
   */
  readonly firstRead?: (signal: AbortSignal) => Promise<ReadRow>;
  /** Its callers would rather have what memory holds past its time than wait for what is made without the database. */
  readonly preferStale?: (() => boolean) | undefined;
}

/** Of what is made without a token nothing is known to have been seen. */
const NOTHING_SEEN: Snapshot = { xmin: 0n, xmax: 0n, xip: new Set() };

export function startFlight(
  context: FlightContext,
  id: ArtifactId,
  producer: Producer | undefined,
  options: FlightOptions = {},
): Flight {
  const { pool, claims, l1, journal, events, failures } = context;
  const claimPatienceMs = options.claimPatienceMs ?? context.claimPatienceMs;
  const ended = new AbortController();
  const whileWanted = { signal: ended.signal };
  const began = { monotonic: performance.now(), wall: Date.now() };
  const fill: Fill = journal.begin();
  const ownCovers = [moduleCover(id.realm, id.path), realmCover(id.realm), GLOBAL_COVER];
  /** Whether it is about something private: not known before the first token. */
  let isPrivate: boolean | undefined;
  let joinable = true;
  let callers = 0;
  let production: Production | undefined;
  /** By the producer: whatever it is, it is not about this cache's database. */
  let thrown: unknown;
  /** When the database was last asked: its answer may be long on its way, and what it says of a life began there. */
  let asked = { monotonic: 0, wall: 0 };
  /** The token that was asked for then is no older than this. */
  let seenThen: SeenUpTo | undefined;
  const noteAsking = (): void => {
    asked = { monotonic: performance.now(), wall: Date.now() };
    seenThen = context.seen();
  };

  const coversOfAll = (dependencyKeys: readonly string[], seen: SeenUpTo | undefined): string[] => {
    const covers = coversOf(id.realm, id.path, dependencyKeys);
    return seen?.isPrivate === true ? [...covers, PRIVATE_COVER] : covers;
  };

  /** Inserts into memory what the fill rule lets in, and says whether the answer is outdated already. */
  function keep(
    module: Omit<ServedModule, 'source' | 'cached'>,
    token: string,
    expiresInMs: number | null,
  ): number | undefined {
    const seen = parseSnapshotToken(token);
    const covers = coversOfAll(module.dependencyKeys, seen);
    const outdatedAt = fill.outdatedAt(covers, seen.snapshot);
    if (outdatedAt !== undefined) events.emit('stale', { id, reason: 'outdated on its way' });
    else if (seen.life !== context.life()) forget();
    else {
      const expires =
        expiresInMs === null
          ? undefined
          : { monotonic: asked.monotonic + expiresInMs, wall: asked.wall + expiresInMs };
      const { status, body, headers, dependencyKeys } = module;
      l1.set({ id, module: { status, body, headers, dependencyKeys }, covers, token, seen, expires });
    }
    return outdatedAt;
  }

  /** The database has nothing, or something else: what memory holds must not come back should the database go away. */
  function forget(): void {
    const entry = l1.get(id);
    if (entry !== undefined) l1.delete(entry);
  }

  async function read(): Promise<ReadRow> {
    noteAsking();
    const row = await pool.run((sql) => calls.get(sql, id), whileWanted);
    if (row.token !== null) return row;
    // No epoch yet, or one that a restart left unconfirmed: asking the log mends that.
    await context.catchUp();
    noteAsking();
    return pool.run((sql) => calls.get(sql, id), whileWanted);
  }

  function firstRead(): Promise<ReadRow> {
    if (options.firstRead === undefined) return read();
    noteAsking();
    return options.firstRead(ended.signal);
  }

  /** There is something, and it is not the failure of a production that ended before anybody here asked. */
  function isAnswer(row: ReadRow): boolean {
    if (row.status === 'miss') return false;
    return row.headers[FAILURE_HEADER] === undefined || !failures.isFromBefore(row, began);
  }

  function served(row: ReadRow, source: Source): FlightResult {
    const { status, body, headers, dependencyKeys } = row;
    if (headers[FAILURE_HEADER] !== undefined) {
      forget();
      if (producer === undefined) throw notThere(id);
      failures.noteTold(headers);
      throw failureOf(body);
    }
    const module = { status: status as 'hit' | 'error', body, headers, dependencyKeys };
    const outdatedAt = row.token === null ? undefined : keep(module, row.token, row.expiresInMs);
    const seen = row.token === null ? undefined : parseSnapshotToken(row.token);
    return { module: { ...module, source, cached: true }, outdatedAt, seen };
  }

  async function run(): Promise<FlightResult> {
    try {
      return await answer();
    } catch (error) {
      const inTurn = context.withoutDatabase;
      if (producer === undefined || inTurn === undefined || !isAway(error)) throw error;
      if (error === thrown || options.preferStale?.() === true) throw error;
      return await inTurn(() => produceAlone(producer), ended.signal);
    }
  }

  /** For this process only. */
  async function produceAlone(make: Producer): Promise<FlightResult> {
    for (let tries = 1; ; tries += 1) {
      const result = await produce(null, undefined, make, tries >= MAX_TRIES, true);
      if (result !== undefined) return result;
    }
  }

  async function answer(): Promise<FlightResult> {
    let waited = false;
    let patienceEnds = performance.now() + claimPatienceMs;
    let row = await firstRead();
    if (isAnswer(row)) return served(row, 'l2');
    forget();
    events.emit('miss', { id });
    if (producer === undefined) throw notThere(id);

    for (let tries = 1; ; ) {
      const claim = performance.now() < patienceEnds ? await elect() : undefined;
      try {
        // Between the read and the claim somebody may have stored it; and whoever waits is registered by now.
        row = await read();
      } catch (error) {
        await leaveElection(claim);
        throw error;
      }
      if (isAnswer(row)) {
        await leaveElection(claim);
        return served(row, waited ? 'coalesced' : 'l2');
      }
      if (claim?.held === false) {
        waited = true;
        const woken = await claim.next(context.pollMs * (0.75 + Math.random() / 2), ended.signal);
        claim.close();
        ended.signal.throwIfAborted();
        // Looking first keeps a crowd of waiters from taking and ending the claim in turn.
        if (woken) row = await read();
        if (isAnswer(row)) return served(row, 'coalesced');
        continue;
      }
      const result = await produce(row.token, claim, producer, tries >= MAX_TRIES);
      if (result !== undefined) return result;
      tries += 1;
      // Patience is for the work of others.
      patienceEnds = performance.now() + claimPatienceMs;
    }
  }

  /** Undefined if there is no connection to claim with: better twice than not at all. */
  async function elect(): Promise<Claim | Waiter | undefined> {
    for (let attempt = 1; ; attempt += 1) {
      ended.signal.throwIfAborted();
      try {
        return await claims.acquire(id);
      } catch (error) {
        // A connection may come back; what the server refuses it refuses again.
        if (attempt >= ELECTION_ATTEMPTS || (error as Error).name === 'PostgresError') {
          events.emit('warning', { message: 'a module is produced without a claim', error });
          return undefined;
        }
        await sleep(context.pollMs, ended.signal);
      }
    }
  }

  async function leaveElection(claim: Claim | Waiter | undefined): Promise<void> {
    if (claim?.held === true) await claim.release();
    if (claim?.held === false) claim.close();
  }

  /** Resolves to undefined if an invalidation aborted the producer, so that it is worth another try. */
  async function produce(
    token: string | null,
    claim: Claim | undefined,
    make: Producer,
    last: boolean,
    alone = false,
  ): Promise<FlightResult | undefined> {
    const controller = new AbortController();
    const began = performance.now();
    let released = false;
    const release = async (): Promise<void> => {
      if (released) return;
      released = true;
      await claim?.release();
    };
    const presented = token === null ? undefined : parseSnapshotToken(token);
    isPrivate = presented?.isPrivate;
    production = {
      controller,
      seen: presented,
      onOutdated() {
        // Those who come after the invalidation must not wait for a production that is lost.
        if (last) void release();
        else controller.abort(new DOMException('the module was invalidated', 'AbortError'));
      },
    };
    controller.signal.addEventListener('abort', () => void release(), { once: true });
    try {
      let product: NormalProduct;
      try {
        ended.signal.throwIfAborted();
        const making = Promise.resolve().then(() => make({ signal: controller.signal }));
        product = normalizeProduct(id, await orAborted(making, ended.signal));
      } catch (error) {
        if (controller.signal.aborted && !ended.signal.aborted) return undefined;
        if (!ended.signal.aborted) {
          const ms = performance.now() - began;
          if (isNoSuchModule(error)) events.emit('absent', { id, ms });
          else events.emit('failed', { id, ms, error });
        }
        // Nobody waits for what is produced without the claim, and its holder may have made a good one.
        if (!ended.signal.aborted && claim !== undefined) await keepFailure(token, error);
        thrown = error;
        throw error;
      }
      const made = performance.now();
      const stored = alone ? 'away' : await store(token, product);
      const now = performance.now();
      events.emit('produced', { id, ms: now - began, putMs: now - made, reason: stored });
      const { body, headers, dependencyKeys } = product;
      const status = product.isError ? ('error' as const) : ('hit' as const);
      const module = { status, body, headers, dependencyKeys };
      if (stored === 'stored' && token !== null) {
        const outdatedAt = keep(module, token, product.expiresInMs);
        const cached = outdatedAt === undefined;
        return { module: { ...module, source: 'produced', cached }, outdatedAt, seen: presented };
      }
      if (stored === 'stale') events.emit('stale', { id, reason: 'put' });
      // Sources were read after the token, and may hold what it has not seen: a snapshot from now on has.
      const known = stored !== 'failed' && !alone && (await orAborted(context.catchUp(), ended.signal));
      const seen = known ? context.seen() : undefined;
      const covers = coversOfAll(module.dependencyKeys, presented);
      // What could not be stored may have been made from what is private, and its token did not know.
      if (stored === 'failed') covers.push(PRIVATE_COVER);
      const outdatedAt =
        token === null && !alone ? undefined : fill.outdatedAt(covers, presented?.snapshot ?? NOTHING_SEEN);
      return { module: { ...module, source: 'produced', cached: false }, outdatedAt, seen };
    } finally {
      production = undefined;
      await release();
    }
  }

  async function store(token: string | null, product: NormalProduct): Promise<string> {
    const row = { ...product, token };
    const weight = 1 + product.body.length / BYTES_PER_CALL;
    try {
      for (let attempt = 0; ; attempt += 1) {
        noteAsking();
        const reason = await pool.run((sql) => calls.put(sql, id, row), { weight });
        if (reason === 'epoch') void context.catchUp();
        if (reason !== 'contended' || attempt >= CONTENDED_RETRIES) return reason;
        await sleep(5 + Math.random() * 20, ended.signal);
      }
    } catch (error) {
      // The product is good for those who wait, even if nobody else can have it.
      events.emit('warning', { message: 'a product could not be stored', error });
      return 'failed';
    }
  }

  /** Tells all who wait in other processes; without it each of them would produce in turn, and fail as well. */
  async function keepFailure(token: string | null, error: unknown): Promise<void> {
    // Who has lost patience with this one may have made it, from a snapshot that `put` cannot tell from an older one.
    const made = await read().catch(() => undefined);
    if (made !== undefined && isAnswer(made) && made.headers[FAILURE_HEADER] === undefined) return;
    const headers = failures.mark();
    await store(token, {
      body: bodyOfFailure(error),
      headers,
      dependencyKeys: [],
      isError: true,
      expiresInMs: FAILURE_LIFE_MS,
    });
    failures.noteTold(headers);
  }

  const work = run().finally(() => {
    joinable = false;
    fill.end();
  });
  // Nobody has to wait for an answer of the database once the flight has been given up.
  const result = orAborted(work, ended.signal);
  result.catch(() => {});
  const share = shareOutcome(result);

  function leaveFlight(): void {
    callers -= 1;
    if (callers > 0 || ended.signal.aborted) return;
    joinable = false;
    const reason = new DOMException('nobody waits for this module any more', 'AbortError');
    ended.abort(reason);
    production?.controller.abort(reason);
  }

  return {
    result,
    landed: work.then(
      () => {},
      () => {},
    ),
    get joinable() {
      return joinable;
    },
    age: () => Math.max(performance.now() - began.monotonic, Date.now() - began.wall),
    join() {
      callers += 1;
      const { result: own, leave } = share();
      return {
        result: own,
        leave() {
          leave();
          leaveFlight();
        },
      };
    },
    onApplied(covers, xid) {
      const isReached =
        ownCovers.some((cover) => covers.has(cover)) || (covers.has(PRIVATE_COVER) && isPrivate !== false);
      if (!isReached) return;
      const seen = production?.seen;
      if (xid !== undefined && seen !== undefined && isVisible(xid, seen.snapshot)) return;
      joinable = false;
      production?.onOutdated();
    },
    onDroppedAll() {
      joinable = false;
    },
    needs: () => (production === undefined ? seenThen : production.seen),
    abort(reason) {
      joinable = false;
      ended.abort(reason);
      production?.controller.abort(reason);
    },
  };
}

/** Internal: `get` asks without a producer. */
export const isNotThere = (error: unknown): boolean => error instanceof NotThere;
class NotThere extends Error {}
const notThere = (id: ArtifactId): NotThere => new NotThere(`${id.realm}${id.path}`);
