import { createActivity, shareActivity } from './activity.js';
import { isAway, tooMany } from './away.js';
import { createBatchReads } from './batch.js';
import type { Change } from './calls.js';
import * as calls from './calls.js';
import { createClaims } from './claims.js';
import { createCoherence } from './coherence.js';
import { createTurns } from './concurrency.js';
import { ModuleCacheError } from './errors.js';
import { type CacheEmitter, createEmitter } from './events.js';
import { createFailures } from './failure.js';
import { type Flight, type FlightContext, type FlightOptions, isNotThere, startFlight } from './flight.js';
import { createGarbageCollector, type GarbageCollector } from './garbage.js';
import { guardPool } from './guarded-pool.js';
import { createJournal } from './journal.js';
import { type ArtifactId, nameOf, requireArtifactId, requireRealm } from './keys.js';
import { createL1, type L1Entry } from './l1.js';
import { checkOptions, checkRead, type ModuleCacheOptions, wrongShape } from './options.js';
import { createPeerReports, type PeerReports } from './peer-reports.js';
import { openPool } from './pool.js';
import { openSession, type Session } from './session.js';
import { parseCoherenceToken } from './snapshot.js';
import { createStalenessSampler } from './staleness.js';
import type {
  ArtifactRequest,
  InvalidateOptions,
  Invalidation,
  Producer,
  ReadOptions,
  ServedModule,
} from './types.js';
import { createPatience, type Patience, withDeadline } from './waiting.js';

export interface ModuleCache {
  readonly events: CacheEmitter;
  /** What the cache holds, from memory or the database; undefined for a miss. */
  get(request: ArtifactRequest, options?: ReadOptions): Promise<ServedModule | undefined>;
  /**
   * The same for many, in the order of the requests: what memory does not hold takes one question to the database,
   * whatever their number, and all of it is read in one snapshot. Reads that are not bounded take another one, about
   * what memory holds.
   *
   * @throws ModuleCacheError MC003 for more than 10,000 requests
   */
  getMany(requests: readonly ArtifactRequest[], options?: ReadOptions): Promise<(ServedModule | undefined)[]>;
  /** A bounded read of this process' memory only, without waiting. */
  peek(request: ArtifactRequest): ServedModule | undefined;
  /**
   * What the cache holds, or what `producer` makes: once for all who ask in the fleet.
   *
   * @throws ModuleCacheError MC102 when the deadline passes, MC104 if the production failed in another process, MC108
   *   if the database is away, MC109 if too many others wait; what the producer throws; the signal's reason
   */
  getOrProduce(request: ArtifactRequest, producer: Producer, options?: ReadOptions): Promise<ServedModule>;
  /** Invalidates modules and all that depend on them; with `tx` in the caller's transaction. */
  invalidate(realm: string, paths: readonly string[], options?: InvalidateOptions): Promise<Invalidation>;
  /** Invalidates a whole realm. Resolves to a token for `after`. */
  clearRealm(realm: string, options?: InvalidateOptions): Promise<{ token: string }>;
  /** Invalidates everything. Resolves to a token for `after`. */
  clearAll(options?: InvalidateOptions): Promise<{ token: string }>;
  /**
   * What memory holds, whether the dedicated connection is there, and the database; and how long ago, in ms, the last
   * completed catch-up began, which is how old an answer from memory can be.
   */
  stats(): {
    entries: number;
    bytes: number;
    connected: boolean;
    fresh: boolean;
    away: boolean;
    cursorAgeMs: number;
  };
  /** Aborts what is on its way and closes every connection and timer; not an instance that the caller handed in. */
  close(): Promise<void>;
}

const CHANNEL_INVALIDATED = 'module_cache_invalidated';
const CHANNEL_POPULATED = 'module_cache_populated';
/** How often a waiter looks again by itself: a killed producer is replaced within a second. */
const POLL_MS = 300;
const MAX_TRIES = 3;
/** Answers on their way at once: far beyond what a process can make, and still within its memory. */
const MAX_FLIGHTS = 100_000;
/** Productions at once without the database, where no other process helps. */
const ALONE_AT_ONCE = 16;
/** How long `close` waits for flights that it has aborted. */
const LANDING_MS = 1_000;

/**
 * Opens a peer of the fleet.
 *
 * @throws ModuleCacheError MC004 for a server or schema that cannot be used, MC101 if the dedicated connection cannot
 *   hear itself, MC107 for options that contradict each other
 */
export async function openModuleCache(options: ModuleCacheOptions): Promise<ModuleCache> {
  const settings = checkOptions(options);
  const activity = createActivity();
  const events = createEmitter(activity.observe);
  const journal = createJournal();
  const l1 = createL1(settings.maxBytes);
  const flights = new Map<string, Flight>();
  const allFlights = new Set<Flight>();
  let session: Session | undefined;
  let garbage: GarbageCollector | undefined;
  let reports: PeerReports | undefined;
  let closing: Promise<void> | undefined;

  const dedicated = (): Session => {
    if (session === undefined) throw new Error('the dedicated connection is not there yet');
    return session;
  };
  const claims = createClaims(dedicated, events);
  const coherence = createCoherence({
    session: dedicated,
    l1,
    journal,
    events,
    heartbeatMs: settings.heartbeatMs,
    maxStalenessMs: settings.maxStalenessMs,
    onApplied(covers, xid) {
      if (allFlights.size === 0) return;
      const named = new Set(covers);
      for (const flight of allFlights) flight.onApplied(named, xid);
    },
    onDroppedAll() {
      for (const flight of allFlights) flight.onDroppedAll();
    },
  });

  const mute = settings.broadcast === 'log';
  const opened = await openPool(options.connection, settings.name, () => coherence.isFresh());
  const pool = guardPool(opened, {
    callTimeoutMs: settings.callTimeoutMs,
    deadlineMs: settings.deadlineMs,
    onAway: (error) => events.emit('away', { error }),
    onBack: () => events.emit('back', {}),
  });
  try {
    session = await openSession({
      connection: options.listenConnection ?? options.connection,
      applicationName: settings.name,
      channels: [CHANNEL_INVALIDATED, CHANNEL_POPULATED],
      broadcast: settings.broadcast,
      // Whether or not it counts as away: this is how it comes back.
      notify: (channel) => opened.run((sql) => calls.notify(sql, channel), settings.callTimeoutMs),
      onNotification(channel, payload) {
        if (channel === CHANNEL_POPULATED) claims.onPopulated(payload);
        else coherence.onNotification(payload);
      },
      onConnected() {
        if (session === undefined) return;
        pool.look();
        claims.wakeAll();
        coherence.onConnected();
        reports?.onConnected();
      },
      onDisconnected(error) {
        pool.look();
        events.emit('disconnected', { error });
      },
    });
    await coherence.start();
  } catch (error) {
    coherence.stop();
    await session?.close();
    await pool.close(error);
    throw error;
  }

  reports = createPeerReports({
    session,
    coherence,
    flights: allFlights,
    events,
    activity,
    memory: l1,
    name: settings.name,
    broadcast: settings.broadcast,
    heartbeatMs: settings.heartbeatMs,
  });
  if (settings.garbage !== undefined) {
    garbage = createGarbageCollector({ session, pool, events, ...settings.garbage });
  }

  const context: FlightContext = {
    pool,
    claims,
    l1,
    journal,
    events,
    failures: createFailures(),
    life: coherence.life,
    catchUp: coherence.catchUp,
    seen: coherence.seen,
    claimPatienceMs: settings.claimPatienceMs,
    pollMs: POLL_MS,
    withoutDatabase:
      settings.withoutDatabase === 'produce' ? createTurns(ALONE_AT_ONCE, MAX_FLIGHTS) : undefined,
  };

  function fromMemory(id: ArtifactId): L1Entry | undefined {
    const entry = l1.get(id);
    if (entry === undefined || !coherence.isFresh()) return undefined;
    return usable(entry);
  }

  /** Of this life, and not past the end that its producer set; that holds at any time. */
  function usable(entry: L1Entry | undefined): L1Entry | undefined {
    if (entry === undefined || entry.seen.life !== coherence.life()) return undefined;
    const { expires } = entry;
    if (expires !== undefined && (performance.now() >= expires.monotonic || Date.now() >= expires.wall)) {
      l1.delete(entry);
      return undefined;
    }
    return entry;
  }

  const sampler =
    settings.staleness === undefined
      ? undefined
      : createStalenessSampler({
          pool,
          events,
          fromMemory,
          maxStalenessMs: settings.maxStalenessMs,
          ...settings.staleness,
        });

  function servedFromMemory(entry: L1Entry): ServedModule {
    sampler?.count(entry);
    const cursor = coherence.seen();
    let { answer } = entry;
    if (answer === undefined || answer.cursor !== cursor) {
      const token = coherence.tokenOf(entry.seen);
      // All who ask get the same one.
      answer = { cursor, module: Object.freeze({ ...entry.module, source: 'l1', cached: true, token }) };
      entry.answer = answer;
    }
    return answer.module;
  }

  /** What memory holds past its time, for bounded reads, and only once the database has turned out to be away. */
  function inGrace(id: ArtifactId, read: ReadOptions, error: unknown): L1Entry | undefined {
    return isAway(error) && mayBeStale(read) ? notTooOld(id) : undefined;
  }

  function servedInGrace(entry: L1Entry): ServedModule {
    events.emit('hit', { id: entry.id, source: 'l1' });
    // It may have been heard from meanwhile.
    if (coherence.isFresh()) return servedFromMemory(entry);
    return Object.freeze({
      ...entry.module,
      source: 'l1',
      cached: true,
      token: coherence.tokenOf(entry.seen),
      staleMs: coherence.ageMs(),
    });
  }

  const mayBeStale = ({ consistency = 'bounded', after }: ReadOptions): boolean =>
    settings.graceMs > 0 && consistency === 'bounded' && after === undefined;

  function notTooOld(id: ArtifactId): L1Entry | undefined {
    if (coherence.ageMs() >= settings.maxStalenessMs + settings.graceMs) return undefined;
    return usable(l1.get(id));
  }

  /** A flight to share: for a strong read never one whose token may be older than the read. */
  function board(
    id: ArtifactId,
    producer: Producer | undefined,
    alone: boolean,
    how?: FlightOptions,
  ): [Flight, boolean] {
    // What was begun without a producer cannot produce for those who join.
    const flightKey = producer === undefined ? `get\0${nameOf(id)}` : nameOf(id);
    const current = flights.get(flightKey);
    // Cut off from the log this process may not have heard what outdates it, as with memory.
    const known = current !== undefined && (coherence.isFresh() || current.age() < settings.maxStalenessMs);
    if (known && current.joinable && !alone) return [current, true];
    if (allFlights.size >= MAX_FLIGHTS) throw tooMany('answers are on their way', MAX_FLIGHTS);
    const flight = startFlight(context, id, producer, how);
    flights.set(flightKey, flight);
    allFlights.add(flight);
    const land = (): void => {
      allFlights.delete(flight);
      if (flights.get(flightKey) === flight) flights.delete(flightKey);
    };
    flight.result.then(land, land);
    return [flight, false];
  }

  function requireOpen(): void {
    if (closing !== undefined) throw closedError();
  }

  const serveMany = createBatchReads({
    pool,
    journal,
    events,
    catchUp: coherence.catchUp,
    deadlineMs: settings.deadlineMs,
    requireOpen,
    isStrong,
    fromMemory,
    servedFromMemory,
    inGrace,
    servedInGrace,
    tokenOf: coherence.tokenOf,
    board: (id, alone, firstRead) => board(id, undefined, alone, { firstRead }),
  });

  async function serve(
    request: ArtifactRequest,
    producer: Producer | undefined,
    read: ReadOptions,
  ): Promise<ServedModule> {
    requireOpen();
    const id = requireArtifactId(request ?? {});
    if (read.after === undefined && (read.consistency ?? 'bounded') === 'bounded') {
      const entry = fromMemory(id);
      if (entry !== undefined) {
        events.emit('hit', { id, source: 'l1' });
        return servedFromMemory(entry);
      }
    }
    checkRead(read);
    const patience = createPatience(read.deadlineMs ?? settings.deadlineMs, read.signal);
    try {
      return await patience.wait(serveSlowly(id, producer, read, patience));
    } catch (error) {
      const entry = inGrace(id, read, error);
      if (entry === undefined) throw error;
      return servedInGrace(entry);
    } finally {
      patience.close();
    }
  }

  /** Whether only the database can tell what is current. */
  async function isStrong({ consistency, after }: ReadOptions, patience: Patience): Promise<boolean> {
    if (consistency === 'strong') return true;
    return after !== undefined && !(await patience.wait(coherence.satisfies(after)));
  }

  async function serveSlowly(
    id: ArtifactId,
    producer: Producer | undefined,
    read: ReadOptions,
    patience: Patience,
  ): Promise<ServedModule> {
    // Without a wait where there is nothing to wait for: work that is given up this very moment must not be met.
    const strong = read.after === undefined ? read.consistency === 'strong' : await isStrong(read, patience);
    const arrived = journal.position();
    // What others would rather have from memory past its time, a causal read cannot have.
    const alone = strong || (read.after !== undefined && settings.graceMs > 0 && !coherence.isFresh());
    for (let tries = 1; ; tries += 1) {
      const entry = fromMemory(id);
      if (
        entry !== undefined &&
        (!strong || (await patience.wait(isCurrent(entry, producer !== undefined, patience.signal))))
      ) {
        events.emit('hit', { id, source: 'l1' });
        return servedFromMemory(entry);
      }
      requireOpen();
      const [flight, joined] = board(id, producer, alone, {
        claimPatienceMs: read.claimPatienceMs,
        preferStale: () => !alone && settings.graceMs > 0 && notTooOld(id) !== undefined,
      });
      const seat = flight.join();
      try {
        const { module, outdatedAt, seen } = await patience.wait(seat.result);
        // Who came after the invalidation that outdates this answer starts anew; but not for ever.
        if (outdatedAt !== undefined && outdatedAt <= arrived && tries < MAX_TRIES) continue;
        const token = seen === undefined ? undefined : coherence.tokenOf(seen);
        if (joined && module.source === 'produced') {
          events.emit('coalesced', { id });
          return { ...module, source: 'coalesced', token };
        }
        if (module.source === 'l2') events.emit('hit', { id, source: 'l2' });
        if (module.source === 'coalesced') events.emit('coalesced', { id });
        return { ...module, token };
      } finally {
        seat.leave();
      }
    }
  }

  async function isCurrent(
    { id, token }: L1Entry,
    canProduce: boolean,
    signal: AbortSignal,
  ): Promise<boolean> {
    try {
      return await pool.run((sql) => calls.isCurrent(sql, id, token), { signal });
    } catch (error) {
      // What is produced from now on is current as well.
      if (canProduce && settings.withoutDatabase === 'produce' && isAway(error)) return false;
      throw error;
    }
  }

  /** Outside of a caller's transaction it is applied here at once, without waiting for the echo. */
  async function invalidateWith<T extends { token: string }>(
    tx: InvalidateOptions['tx'],
    call: (sql: calls.Queryable) => Promise<T>,
    changesOf: (result: T) => Change[],
  ): Promise<T> {
    requireOpen();
    if (tx !== undefined && typeof tx !== 'function') {
      throw wrongShape('tx is no transaction', 'Pass what the callback of sql.begin was given.');
    }
    if (tx !== undefined) return call(tx);
    const result = await pool.run(call, { write: true });
    const { life, xid } = parseCoherenceToken(result.token);
    // Ids of another life say nothing about what memory has seen: the server may have been set back.
    const x = life === coherence.life() ? String(xid) : undefined;
    for (const change of changesOf(result)) coherence.apply({ ...change, x });
    return result;
  }

  async function shutDown(): Promise<void> {
    coherence.stop();
    claims.stop();
    sampler?.stop();
    const landing = [...allFlights].map((flight) => flight.landed);
    landing.push(garbage?.stop() ?? Promise.resolve(), reports?.stop() ?? Promise.resolve());
    for (const flight of allFlights) flight.abort(closedError());
    // Claims are released on the way; but a database that does not answer is not waited for.
    await withDeadline(Promise.all(landing), LANDING_MS, closedError).catch(() => {});
    await Promise.all([session?.close(), pool.close(closedError())]);
  }

  const cache: ModuleCache = {
    events,
    async get(request, read = {}) {
      try {
        return await serve(request, undefined, read);
      } catch (error) {
        if (isNotThere(error)) return undefined;
        throw error;
      }
    },
    getMany: serveMany,
    peek(request) {
      // Entries are kept under canonical names, so a name that is found needs no check.
      const { realm, path, kind = 'transpile', variant = '' } = request ?? {};
      const entry = fromMemory({ realm, path, kind, variant });
      if (entry === undefined) return undefined;
      // Counted, but not announced: who serves from memory alone does so by the hundred thousand a second.
      activity.observe('hit', { id: entry.id, source: 'l1' });
      return servedFromMemory(entry);
    },
    async getOrProduce(request, producer, read = {}) {
      if (typeof producer !== 'function') {
        throw wrongShape(
          'producer is no function',
          'Pass a function that returns { body, headers, dependencyKeys }.',
        );
      }
      return serve(request, producer, read);
    },
    async invalidate(realm, paths, { tx } = {}) {
      const normal = requireRealm(realm);
      if (!Array.isArray(paths)) throw wrongShape('paths is no array', 'Pass an array of canonical paths.');
      return invalidateWith(
        tx,
        (sql) => calls.invalidate(sql, normal, paths, mute),
        ({ modules }) => {
          const byRealm = new Map<string, string[]>();
          for (const module of modules) {
            const of = byRealm.get(module.realm);
            if (of === undefined) byRealm.set(module.realm, [module.path]);
            else of.push(module.path);
          }
          return [...byRealm].map(([r, m]) => ({ k: 'module', r, m }));
        },
      );
    },
    async clearRealm(realm, { tx } = {}) {
      const r = requireRealm(realm);
      return invalidateWith(
        tx,
        async (sql) => ({ token: await calls.clearRealm(sql, r, mute) }),
        () => [{ k: 'realm', r }],
      );
    },
    async clearAll({ tx } = {}) {
      return invalidateWith(
        tx,
        async (sql) => ({ token: await calls.clearAll(sql, mute) }),
        () => [{ k: 'global' }],
      );
    },
    stats() {
      const { entries, bytes } = l1.stats();
      return {
        entries,
        bytes,
        connected: dedicated().connected,
        fresh: coherence.isFresh(),
        away: pool.away,
        cursorAgeMs: coherence.ageMs(),
      };
    },
    close() {
      closing ??= shutDown();
      return closing;
    },
  };
  shareActivity(cache, activity);
  return cache;
}

function closedError(): ModuleCacheError {
  return new ModuleCacheError('MC103', 'the cache is closed', {
    hint: 'Open another one with openModuleCache.',
  });
}
