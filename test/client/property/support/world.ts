import { setImmediate as turn } from 'node:timers/promises';
import { jest } from '@jest/globals';
import type {
  ModuleCache,
  openModuleCache,
  Product,
  ReadOptions,
  ServedModule,
} from '../../../../src/index.js';
import { createServer, type Made, type Module, modules } from '../support/model.js';
import { Broken, type Caller, createRules, MAX_STALENESS_MS, type Production } from '../support/rules.js';
import { ConnectionLost, createWire } from '../support/wire.js';

/** One client, the model that it talks to, the rules that watch, and the clock that only the schedule moves. */

export const HEARTBEAT_MS = 1_000;
/** Timers fire at their own time; what they set off comes to rest this often. */
const GRAIN_MS = 50;

/** A production in sight of the schedule: the client's, or one of another process. */
export interface Work {
  readonly whose: string;
  readonly module: Module;
  /** Its own source, which it reads first; the imports come last. */
  read(): void;
  readonly hasRead: boolean;
  finish(lifeMs: number | undefined): Made;
  fail(): void;
}

/** What a caller wants; the rest is about how it fares. */
type Asked = Omit<Caller, 'n' | 'at' | 'ms' | 'hearings' | 'abort' | 'partner' | 'outcome'>;

export type World = Awaited<ReturnType<typeof openWorld>>;

/** Until nothing moves any more that time or an answer does not move. */
export const settle = async (): Promise<void> => {
  for (let times = 0; times < 3; times += 1) await turn();
};

export async function openWorld(open: typeof openModuleCache) {
  jest.useFakeTimers({ now: 1_000_000, doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] });
  const story: string[] = [];
  let ticks = 0;
  const tick = (): number => {
    ticks += 1;
    return ticks;
  };
  let suspendedMs = 0;
  let setBackMs = 0;
  /** The time that really passed, whatever the clocks of the process say. */
  const now = (): number => performance.now() + suspendedMs;
  let cache: ModuleCache | undefined;
  let works: Work[] = [];
  let broken: unknown;

  const rules = createRules(() => ({
    server: wire.server,
    tick,
    now,
    connection: () => wire.link,
    peek: (module) => cache?.peek(module),
  }));
  const wire = createWire(tick, rules, (notify) => createServer(tick, now, notify));
  const { server } = wire;
  /** What goes wrong inside a promise of the client is told by the schedule. */
  const guarded = (check: () => void): void => {
    try {
      check();
    } catch (error) {
      broken ??= error;
    }
  };

  let count = 0;
  function addWork(whose: string, module: Module, end: (made: Made | Error, lifeMs?: number) => void): void {
    count += 1;
    const body = `${module.path}#${count}`;
    const made: Made = { body, reads: new Map(), endsMs: Number.POSITIVE_INFINITY };
    const readSource = (url: string): readonly string[] => {
      const { value, imports } = server.latest(url);
      if (!made.reads.has(url)) made.reads.set(url, { seq: tick(), value });
      return imports;
    };
    let imports: readonly string[] | undefined;
    const work: Work = {
      whose,
      module,
      get hasRead() {
        return imports !== undefined;
      },
      read() {
        imports ??= readSource(module.url);
      },
      finish(lifeMs) {
        work.read();
        for (const url of imports ?? []) readSource(url);
        server.made.set(body, made);
        works = works.filter((other) => other !== work);
        end(made, lifeMs);
        return made;
      },
      fail() {
        works = works.filter((other) => other !== work);
        end(new Error(`${body} failed`));
      },
    };
    works.push(work);
  }

  const produce = (module: Module, signal: AbortSignal): Promise<Product> =>
    new Promise((resolve, reject) => {
      const { hearings } = rules;
      const production: Production = {
        module,
        signal,
        at: tick(),
        hearings,
        connection: wire.link,
        done: false,
      };
      guarded(() => rules.produces(production));
      story.push(`    (the producer of ${module.path} begins)`);
      addWork('the', module, (made, lifeMs) => {
        production.done = true;
        if (made instanceof Error) return reject(made);
        const dependencyKeys = [...made.reads.keys()];
        const life = lifeMs === undefined ? {} : { expiresInMs: lifeMs };
        resolve({ body: made.body, headers: { at: production.at }, dependencyKeys, ...life });
      });
    });

  function arrive(caller: Asked, abort: AbortController): Caller {
    const partner = rules.mustShare(caller);
    const { callers, hearings } = rules;
    const n = callers.length + 1;
    const full = { ...caller, n, at: tick(), ms: now(), hearings, abort, partner, outcome: undefined };
    callers.push(full);
    return full;
  }
  const optionsOf = ({ way, after, abort: { signal } }: Caller): ReadOptions => ({
    signal,
    ...(way === 'strong' ? { consistency: 'strong' } : {}),
    ...(after === undefined ? {} : { after: after.token }),
  });
  function answered(caller: Caller, found: ServedModule | undefined): void {
    const what = found === undefined ? 'nothing' : `${found.body}, ${found.source}`;
    story.push(`    (caller ${caller.n} gets ${what})`);
    guarded(() => rules.answered(caller, found ?? {}));
  }
  function failed(caller: Caller, error: unknown): void {
    story.push(`    (caller ${caller.n} gets an error: ${(error as Error).message})`);
    guarded(() => rules.answered(caller, { error }));
    if (!isExpected(error)) broken ??= error;
  }

  const world = {
    story,
    settle,
    broken: (what: string): Error => new Broken(what),
    tick,
    wire,
    server,
    rules,
    now,
    works: () => works,
    get cache() {
      return cache as ModuleCache;
    },
    /** Another process takes the claim if it can, and a token in any case. */
    produceElsewhere(module: Module): void {
      const holder = {};
      const { token } = server.get(module.url);
      server.claim(module.url, holder);
      addWork("another process'", module, (made, lifeMs) => {
        if (!(made instanceof Error)) {
          const dependencyKeys = [...made.reads.keys()].slice(1).map((url) => url.replace(/\.ts$/, ''));
          const row = { body: made.body, headers: {}, dependencyKeys, token, isError: false };
          server.put(module.url, { ...row, expiresInMs: lifeMs ?? null });
          server.release(module.url, holder);
        }
        server.end(holder);
      });
    },
    call(caller: Asked): Caller {
      const { module, produces } = caller;
      const full = arrive(caller, new AbortController());
      const options = optionsOf(full);
      const answer = produces
        ? world.cache.getOrProduce(module, ({ signal }) => produce(module, signal), options)
        : world.cache.get(module, options);
      answer.then(
        (found) => answered(full, found),
        (error) => failed(full, error),
      );
      return full;
    },
    /** Asks for all modules at once. */
    callMany(how: Pick<Asked, 'way' | 'after'>): Caller[] {
      const abort = new AbortController();
      const callers = modules.map((module) => arrive({ ...how, module, produces: false, many: true }, abort));
      world.cache.getMany(modules, optionsOf(callers[0] as Caller)).then(
        (found) => {
          for (const [index, caller] of callers.entries()) answered(caller, found[index]);
        },
        (error) => {
          for (const caller of callers) failed(caller, error);
        },
      );
      return callers;
    },
    async pass(ms: number): Promise<void> {
      for (let left = ms; left > 0; left -= GRAIN_MS) {
        jest.advanceTimersByTime(Math.min(left, GRAIN_MS));
        await settle();
      }
    },
    /** The process sleeps: its monotonic clock stands still. */
    suspend(ms: number): void {
      suspendedMs += ms;
      jest.setSystemTime(Date.now() + ms);
    },
    setClockBack(ms: number): void {
      setBackMs += ms;
      jest.setSystemTime(Date.now() - ms);
    },
    /** With both no clock of the process tells the time that passed, so that a schedule has the one or the other. */
    wasSuspended: () => suspendedMs > 0,
    wasSetBack: () => setBackMs > 0,
    /** Whatever is on its way arrives, and what follows from it; with what is produced, or without. */
    async flush(withWork: boolean, via: 'both' | 'session' = 'both'): Promise<void> {
      const concerned = (questions: ReturnType<typeof wire.onTheWay>) =>
        questions.filter((question) => via === 'both' || question.via === via);
      for (let rounds = 0; ; rounds += 1) {
        if (rounds > 300) throw new Broken('the client never comes to rest');
        for (const question of concerned(wire.unhandled())) wire.handle(question);
        for (const question of concerned(wire.onTheWay())) wire.deliver(question);
        if (wire.notifications().length > 0) wire.deliverNotification(false);
        if (withWork) for (const work of works) work.finish(undefined);
        await settle();
        const pending = [...concerned(wire.unhandled()), ...concerned(wire.onTheWay())].length;
        if (pending + wire.notifications().length + (withWork ? works.length : 0) === 0) return;
      }
    },
    check(): void {
      if (broken !== undefined) throw broken;
      rules.check();
    },
    /** Everything that was begun comes to its end. */
    async rest(): Promise<void> {
      for (const change of server.open()) server.commit(change);
      if (wire.link === undefined) wire.connect();
      await settle();
      for (let rounds = 0; rounds < 30 && (rounds < 4 || rules.openCallers().length > 0); rounds += 1) {
        await world.flush(true);
        world.check();
        await world.pass(HEARTBEAT_MS / 2);
      }
      await world.flush(true);
      world.check();
      rules.checkQuiet();
      // The heartbeat, the next report, and the next look at garbage.
      if (jest.getTimerCount() > 3)
        throw new Broken(`${jest.getTimerCount()} timers run although all is quiet`);
    },
    async close(): Promise<void> {
      const closing = world.cache.close();
      let isClosed = false;
      closing.then(() => {
        isClosed = true;
      });
      for (let rounds = 0; rounds < 10 && !isClosed; rounds += 1) await world.pass(500);
      if (!isClosed) throw new Broken('close does not end');
      await settle();
      if (broken !== undefined) throw broken;
      const [left] = rules.openCallers();
      if (left !== undefined) throw new Broken(`caller ${left.n} is left waiting by close`);
      if (jest.getTimerCount() > 0) throw new Broken(`${jest.getTimerCount()} timers run after close`);
      if (world.cache.stats().entries > 0) throw new Broken('memory is not empty after close');
    },
  };

  const opening = open({
    connection: wire as never,
    heartbeatMs: HEARTBEAT_MS,
    maxStalenessMs: MAX_STALENESS_MS,
  });
  let opened = false;
  opening.then((it) => {
    cache = it;
    opened = true;
  });
  await settle();
  await world.flush(false);
  if (!opened) throw new Broken('the cache does not open');
  return world;
}

/** What a caller may be told instead of an answer. */
function isExpected(error: unknown): boolean {
  const { name, code, message } = error as { name: string; code?: string; message: string };
  if (error instanceof ConnectionLost || name === 'AbortError' || message.endsWith(' failed')) return true;
  return ['MC102', 'MC103', 'MC104', 'MC108'].includes(code ?? '');
}
