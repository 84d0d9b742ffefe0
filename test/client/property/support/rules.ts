import type { CachedModule } from '../../../../src/index.js';
import type { Change, Made, Module, Server } from '../support/model.js';
import { modules } from '../support/model.js';

/**
 * What has to hold, whatever the schedule (DESIGN.md section 3). A rule looks at what an answer was made from and at
 * what had happened, and been told to the client, when it was given: never at how the client decides.
 */

export const MAX_STALENESS_MS = 5_000;
const CLAIM_PATIENCE_MS = 30_000;

export class Broken extends Error {}

/** One call of get or getOrProduce, or one module of a call of getMany. */
export interface Caller {
  readonly n: number;
  readonly module: Module;
  readonly way: 'bounded' | 'strong' | 'after';
  readonly produces: boolean;
  readonly after: Change | undefined;
  /** Answered together with others, when all of them can be. */
  readonly many?: boolean;
  /** When it called, counted in things that happened; and in ms. */
  readonly at: number;
  readonly ms: number;
  /** How much the client had been told when it called. */
  readonly hearings: number;
  readonly abort: AbortController;
  /** An earlier one that it has to share everything with. */
  partner: Caller | undefined;
  outcome: { body?: string | undefined; source?: string; error?: unknown } | undefined;
}

/** One call of a producer by the client. */
export interface Production {
  readonly module: Module;
  readonly signal: AbortSignal;
  readonly at: number;
  readonly hearings: number;
  readonly connection: object | undefined;
  done: boolean;
}

interface Surroundings {
  server: Server;
  tick(): number;
  /** The time in ms that really passed. */
  now(): number;
  connection(): object | undefined;
  peek(module: Module): CachedModule | undefined;
}

export type Rules = ReturnType<typeof createRules>;

export function createRules(world: () => Surroundings) {
  const told = new Map<Change, number>();
  const callers: Caller[] = [];
  const productions: Production[] = [];
  /** Counts what may have ended the sharing of work: news, and connections lost. */
  let hearings = 0;
  let connectedAt = 0;
  let droppedAt = 0;
  let asked: { monotonic: number; wall: number } | undefined;

  const outdates = (change: Change, made: Made): boolean =>
    !change.undone &&
    change.seq !== undefined &&
    [...change.urls].some(
      (url) => (made.reads.get(url)?.seq ?? Number.POSITIVE_INFINITY) < (change.seq ?? 0),
    );
  const nameOf = (change: Change): string => `transaction ${change.xid}`;

  function madeOf(body: string): Made {
    const made = world().server.made.get(body);
    if (made === undefined) throw new Broken(`an answer that nobody made: ${body}`);
    return made;
  }

  const isFresh = (): boolean =>
    asked !== undefined &&
    performance.now() - asked.monotonic < MAX_STALENESS_MS &&
    Date.now() - asked.wall < MAX_STALENESS_MS;

  /** Rules 1 and 4: what comes out of memory. */
  function checkMemory(body: string, from: string): void {
    const made = madeOf(body);
    for (const change of told.keys()) {
      if (!outdates(change, made)) continue;
      throw new Broken(`${from} is ${body}, although this process was told of ${nameOf(change)}`);
    }
    if (!isFresh()) throw new Broken(`${from} is ${body}, although the log was not asked for too long`);
    const { server, now } = world();
    const since = server.outdatedSinceMs(made);
    if (since !== undefined && now() - since >= MAX_STALENESS_MS) {
      throw new Broken(`${from} is ${body}, outdated for ${now() - since} ms`);
    }
    if (now() >= made.endsMs) throw new Broken(`${from} is ${body}, whose life is over`);
  }

  /** Rules 2 and 3: what a caller may be given. */
  function checkAnswer(caller: Caller): void {
    const { outcome, n, way, after, at } = caller;
    if (outcome?.body === undefined) return;
    const made = madeOf(outcome.body);
    const gets = `caller ${n} gets ${outcome.body}`;
    // What an `after` read finds in memory the database may have confirmed.
    if (outcome.source === 'l1' && way === 'bounded' && !caller.many) checkMemory(outcome.body, gets);
    const since = world().server.outdatedSinceMs(made);
    if (since !== undefined && caller.ms - since >= MAX_STALENESS_MS) {
      throw new Broken(`${gets}, which was outdated for ${caller.ms - since} ms when it asked`);
    }
    for (const change of world().server.committed()) {
      if (!outdates(change, made)) continue;
      const before = (change.seq as number) < at;
      if (way === 'strong' && before) throw new Broken(`${gets} by a strong read after ${nameOf(change)}`);
      if (change === after && before) throw new Broken(`${gets} although it asked for ${nameOf(change)}`);
      if ((told.get(change) ?? at) < at) {
        throw new Broken(`${gets} although it came after this process was told of ${nameOf(change)}`);
      }
    }
  }

  /** Rule 5: who shares a flight shares its outcome. */
  function checkPartners(): void {
    for (const { partner, outcome, n, abort, many } of callers) {
      const other = partner?.outcome;
      if (outcome === undefined || other === undefined || abort.signal.aborted) continue;
      // The error may be that of another module.
      if (many && outcome.error !== undefined) continue;
      if (partner?.abort.signal.aborted || outcome.source === 'l1') continue;
      if (outcome.body === other.body && outcome.error === other.error) continue;
      throw new Broken(`callers ${partner?.n} and ${n} shared their work, and get different answers`);
    }
  }

  const openCallers = (): Caller[] => callers.filter(({ outcome }) => outcome === undefined);

  return {
    callers,
    productions,
    openCallers,
    get hearings() {
      return hearings;
    },
    told(changes: readonly Change[]): void {
      const at = world().tick();
      hearings += 1;
      for (const change of changes) if (!told.has(change)) told.set(change, at);
    },
    caughtUp(of: { monotonic: number; wall: number }): void {
      asked = of;
    },
    droppedAll(): void {
      droppedAt = world().tick();
    },
    lost(): void {
      hearings += 1;
    },
    connected(): void {
      connectedAt = world().tick();
    },

    /** Who has to share the work of an earlier caller: nothing was heard since that one came. */
    mustShare({ module, way, produces }: Pick<Caller, 'module' | 'way' | 'produces'>): Caller | undefined {
      if (way !== 'bounded' || !isFresh()) return undefined;
      const same = callers.filter((one) => one.module === module && one.produces === produces);
      // A strong read takes the place of what is on its way, for those who come after it.
      const alone = same.findLast((one) => one.way !== 'bounded')?.at ?? 0;
      return same.find(
        (one) =>
          one.outcome === undefined &&
          !one.many &&
          one.hearings === hearings &&
          one.at > alone &&
          !one.abort.signal.aborted,
      );
    },
    /** Rule 5: one production at a time for callers that may share. */
    produces(production: Production): void {
      const { module, connection } = production;
      // Who came without a connection, or waited for too long, produces without a claim.
      const claimed = openCallers().every(
        (one) =>
          one.module !== module || (one.at > connectedAt && world().now() - one.ms < CLAIM_PATIENCE_MS),
      );
      for (const other of productions) {
        if (other.module !== module || other.done || other.signal.aborted || other.hearings !== hearings)
          continue;
        if (connection === undefined || other.connection !== connection || !claimed) continue;
        throw new Broken(`${module.path} is produced twice at a time`);
      }
      productions.push(production);
    },
    answered(caller: Caller, outcome: NonNullable<Caller['outcome']>): void {
      caller.outcome = outcome;
      checkAnswer(caller);
    },
    /** To be called after each step. */
    check(): void {
      for (const module of modules) {
        const entry = world().peek(module);
        if (entry === undefined) continue;
        checkMemory(entry.body, `${module.path} in memory`);
        if ((entry.headers.at as number) > droppedAt) continue;
        throw new Broken(`${entry.body} is in memory, asked for before everything had to be dropped`);
      }
      checkPartners();
    },
    /** Rule 6: when everything has arrived, memory says what the sources say. */
    checkQuiet(): void {
      const stuck = openCallers();
      if (stuck.length > 0) throw new Broken(`caller ${stuck[0]?.n} never gets an answer`);
      if (!isFresh()) throw new Broken('all is quiet, and memory is not trusted');
      for (const module of modules) {
        const entry = world().peek(module);
        if (entry === undefined) continue;
        if (world().server.outdatedSinceMs(madeOf(entry.body)) === undefined) continue;
        throw new Broken(`${module.path} in memory stays ${entry.body}, which is outdated`);
      }
    },
  };
}
