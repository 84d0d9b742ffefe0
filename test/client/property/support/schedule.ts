import fc from 'fast-check';
import { type Change, HOME, INNER, type Module, modules, type Scope } from '../support/model.js';
import { HEARTBEAT_MS, type World } from '../support/world.js';

/**
 * The steps of a schedule. A step that makes no sense where it stands (an answer when there is none) does nothing, so
 * that any list of steps is a schedule and any part of it as well: that is what lets a counterexample shrink. Those
 * that do something add a line in words to the story.
 */
export interface Step {
  /** Says in words what it did, or undefined if there was nothing to do. */
  run(world: World): string | undefined | Promise<string | undefined>;
  toString(): string;
}

const [a, b, c, d] = modules;
const nth = <T>(list: readonly T[], n: number): T | undefined => list[n % Math.max(list.length, 1)];

const moduleArb = fc.oneof(
  { weight: 6, arbitrary: fc.constant(a as Module) },
  { weight: 2, arbitrary: fc.constant(b as Module) },
  { weight: 1, arbitrary: fc.constantFrom<Module[]>(c, d) },
);
const scopeArb = fc.oneof<fc.MaybeWeightedArbitrary<Scope>[]>(
  { weight: 3, arbitrary: moduleArb },
  { weight: 3, arbitrary: fc.constant(b as Module) },
  { weight: 1, arbitrary: fc.constantFrom<Scope[]>(HOME, INNER) },
  { weight: 1, arbitrary: fc.constant('everything' as const) },
);
const which = fc.nat({ max: 3 });
const howArb = fc.constantFrom<Change['how']>('notified', 'only in the log', 'notified without names');
const importsArb = fc.constantFrom<(readonly string[])[]>(
  [b.url],
  [],
  [c.url],
  [d.url],
  [b.url, c.url, d.url],
);
const lifeArb = fc.option(fc.constant(2_000), { nil: undefined, freq: 8 });

const wordsOf = (scope: Scope): string =>
  typeof scope !== 'string' ? scope.url : scope === 'everything' ? scope : `realm ${scope}`;
const wordsOfChange = ({ payload, how, imports }: Change): string => {
  const named = payload.m?.[0] ?? (payload.k === 'realm' ? `realm ${payload.r}` : 'everything');
  const importing =
    payload.m === undefined || payload.m[0] !== a.path ? '' : `, which imports ${shortly(imports)}`;
  return `${named}${importing}; ${how}`;
};
const shortly = (urls: readonly string[]): string =>
  urls.length === 0 ? 'nothing' : urls.map((url) => url.slice(url.lastIndexOf('/') + 1)).join(' and ');
/** What the server answered, cut down to what tells. */
function short(answer: unknown): string {
  if (Array.isArray(answer)) return answer.map(short).join('; ');
  if (typeof answer !== 'object' || answer === null) return String(answer);
  const { status, body, token, claimed, cursor, complete, changes } = answer as Record<string, unknown>;
  const cut = (text: unknown): string => String(text).replace(/^0*/, '');
  if (claimed !== undefined) return claimed ? 'yes' : 'no';
  if (changes !== undefined) {
    const told = (changes as { x: string }[]).map(({ x }) => x).join(', ');
    return `${complete ? `transactions ${told || 'none'}` : 'incomplete'}, cursor ${cut(cursor)}`;
  }
  if (status === undefined) return `token ${cut(token)}`;
  return `${status === 'miss' ? 'miss' : String(body)}, token ${cut(token)}`;
}

type Run = Step['run'];
/** A kind of step, how often it comes, and what is drawn for it. */
function kind<T extends object>(
  weight: number,
  name: string,
  drawn: { [K in keyof T]: fc.Arbitrary<T[K]> },
  run: (world: World, drawn: T) => ReturnType<Run>,
) {
  const arbitrary = fc
    .record(drawn)
    .map((values): Step => ({ run: (world) => run(world, values as T), toString: () => name }));
  return { weight, arbitrary };
}

const readers = [
  kind<{ module: Module; produces: boolean }>(
    12,
    'read',
    { module: moduleArb, produces: fc.oneof(fc.constant(true), fc.constant(true), fc.constant(false)) },
    (world, { module, produces }) => callOf(world, { module, produces, way: 'bounded', after: undefined }),
  ),
  kind<{ module: Module; produces: boolean }>(
    3,
    'strong read',
    { module: moduleArb, produces: fc.boolean() },
    (world, { module, produces }) => callOf(world, { module, produces, way: 'strong', after: undefined }),
  ),
  kind<{ module: Module; produces: boolean; n: number }>(
    3,
    'read after',
    { module: moduleArb, produces: fc.boolean(), n: which },
    (world, { module, produces, n }) => {
      const after = nth([...world.server.changes].reverse(), n);
      return after && callOf(world, { module, produces, way: 'after', after });
    },
  ),
  kind<{ way: 'bounded' | 'strong' | 'after'; n: number }>(
    3,
    'read many',
    { way: fc.constantFrom('bounded', 'strong', 'after'), n: which },
    (world, { way, n }) => {
      const after = way === 'after' ? nth([...world.server.changes].reverse(), n) : undefined;
      if (way === 'after' && after === undefined) return undefined;
      const callers = world.callMany({ way, after }).map((caller) => caller.n);
      const how = way === 'after' ? `after transaction ${after?.xid}` : way;
      return `callers ${callers.join(', ')} ask for one module each, together (${how})`;
    },
  ),
  kind<{ n: number }>(1, 'give up', { n: which }, (world, { n }) => {
    const caller = nth(world.rules.openCallers(), n);
    caller?.abort.abort();
    return caller && `caller ${caller.n} gives up`;
  }),
];

function callOf(world: World, caller: Parameters<World['call']>[0]): Promise<string> {
  const { n, partner } = world.call(caller);
  const { module, produces, way, after } = caller;
  const how = way === 'after' ? `after transaction ${after?.xid}` : way;
  const words = `caller ${n} asks for ${module.path} (${how}${produces ? ', can produce' : ''})`;
  const before = world.wire.asked;
  return world.settle().then(() => {
    if (partner !== undefined && world.wire.asked > before) {
      throw world.broken(`caller ${n} does not share the work of caller ${partner.n}`);
    }
    return words;
  });
}

const network = [
  kind<{ n: number }>(14, 'handle', { n: which }, ({ wire }, { n }) => {
    const question = nth(wire.unhandled(), n);
    return (
      question &&
      `the server handles question ${question.n} (${question.about}): ${short(wire.handle(question))}`
    );
  }),
  kind<{ n: number }>(12, 'answer', { n: which }, ({ wire }, { n }) => {
    const question = nth(wire.onTheWay(), n);
    if (question === undefined) return undefined;
    wire.deliver(question);
    return `the answer to question ${question.n} (${question.about}) arrives`;
  }),
  kind<{ again: boolean }>(
    6,
    'notification',
    { again: fc.oneof(fc.constant(false), fc.constant(false), fc.boolean()) },
    ({ wire }, { again }) => {
      if (wire.notifications().length === 0) return undefined;
      return `a notification arrives: ${wire.deliverNotification(again)}${again ? ', and is to come again' : ''}`;
    },
  ),
  kind<{ work: boolean }>(8, 'all arrives', { work: fc.boolean() }, async (world, { work }) => {
    await world.flush(work);
    return `everything on its way arrives${work ? ', what is being produced is finished' : ''}`;
  }),
  kind<{ later: boolean }>(6, 'dedicated', { later: fc.boolean() }, async (world, { later }) => {
    if (world.wire.link === undefined) return undefined;
    if (later) await world.pass(HEARTBEAT_MS);
    await world.flush(false, 'session');
    return `everything on the dedicated connection arrives${later ? `, the next heartbeat included` : ''}`;
  }),
  kind<object>(2, 'lose', {}, ({ wire }) => {
    if (wire.link === undefined) return undefined;
    wire.lose(new Error('cut'));
    return 'the dedicated connection is lost';
  }),
  kind<object>(4, 'connect', {}, async (world) => {
    if (world.wire.link !== undefined) return undefined;
    world.wire.connect();
    await world.settle();
    if (!world.wire.asksTheLog()) throw world.broken('the log is not asked once it listens again');
    return 'the dedicated connection is back';
  }),
  kind<{ n: number }>(1, 'break', { n: which }, ({ wire }, { n }) => {
    const question = nth(
      [...wire.unhandled(), ...wire.onTheWay()].filter(({ via }) => via === 'pool'),
      n,
    );
    if (question === undefined) return undefined;
    wire.break(question);
    return `the connection of question ${question.n} (${question.about}) breaks`;
  }),
];

const sources = [
  kind<{ what: Scope; how: Change['how']; imports: readonly string[] }>(
    8,
    'change',
    { what: scopeArb, how: howArb, imports: importsArb },
    ({ server }, { what, how, imports }) => {
      const change = server.begin(what, how, imports);
      server.commit(change);
      return `transaction ${change.xid} changes ${wordsOfChange(change)}`;
    },
  ),
  kind<{ what: Scope; how: Change['how']; imports: readonly string[] }>(
    4,
    'begin',
    { what: scopeArb, how: howArb, imports: importsArb },
    ({ server }, { what, how, imports }) => {
      const change = server.begin(what, how, imports);
      return `transaction ${change.xid} begins to change ${wordsOfChange(change)}`;
    },
  ),
  kind<{ n: number }>(5, 'commit', { n: which }, ({ server }, { n }) => {
    const change = nth(server.open(), n);
    if (change !== undefined) server.commit(change);
    return change && `transaction ${change.xid} commits`;
  }),
  kind<{ n: number }>(1, 'roll back', { n: which }, ({ server }, { n }) => {
    const change = nth(server.open(), n);
    if (change !== undefined) server.rollBack(change);
    return change && `transaction ${change.xid} rolls back`;
  }),
  kind<{ what: Scope }>(3, 'own', { what: scopeArb }, (world, { what }) => {
    const { cache } = world;
    const done =
      what === 'everything'
        ? cache.clearAll()
        : typeof what === 'string'
          ? cache.clearRealm(what)
          : cache.invalidate(what.realm, [what.path]);
    done.catch(() => {});
    return `this process invalidates ${wordsOf(what)}`;
  }),
  kind<{ module: Module }>(1, 'by hand', { module: moduleArb }, (world, { module }) => {
    if (world.wire.link === undefined) return undefined;
    world.rules.told([]);
    world.wire.hand({ k: 'module', r: module.realm, m: [module.path] });
    if (world.cache.peek(module) !== undefined) throw world.broken(`${module.path} is still in memory`);
    return `somebody notifies by hand that ${module.path} is invalid`;
  }),
];

const producers = [
  kind<{ n: number }>(3, 'source', { n: which }, (world, { n }) => {
    const work = nth(
      world.works().filter(({ hasRead }) => !hasRead),
      n,
    );
    work?.read();
    return work && `${work.whose} producer of ${work.module.path} reads its source`;
  }),
  kind<{ n: number; lifeMs: number | undefined }>(
    9,
    'finish',
    { n: which, lifeMs: lifeArb },
    (world, drawn) => {
      const work = nth(world.works(), drawn.n);
      if (work === undefined) return undefined;
      const { body, reads } = work.finish(drawn.lifeMs);
      const life = drawn.lifeMs === undefined ? '' : `, to live for ${drawn.lifeMs} ms`;
      return `${work.whose} producer of ${work.module.path} makes ${body} from ${shortly([...reads.keys()])}${life}`;
    },
  ),
  kind<{ n: number }>(1, 'fail', { n: which }, (world, { n }) => {
    const work = nth(world.works(), n);
    work?.fail();
    return work && `${work.whose} producer of ${work.module.path} fails`;
  }),
  kind<{ module: Module }>(3, 'elsewhere', { module: moduleArb }, (world, { module }) => {
    world.produceElsewhere(module);
    return `another process begins to produce ${module.path}`;
  }),
];

const times = [
  kind<{ ms: number }>(
    6,
    'time',
    { ms: fc.constantFrom(300, 1_000, 2_500, 6_000) },
    async (world, { ms }) => {
      await world.pass(ms);
      return `${ms} ms pass`;
    },
  ),
  kind<{ ms: number }>(1, 'sleep', { ms: fc.constantFrom(2_500, 6_000) }, (world, { ms }) => {
    if (world.wasSetBack()) return undefined;
    world.suspend(ms);
    return `the machine sleeps for ${ms} ms`;
  }),
  kind<{ ms: number }>(1, 'clock', { ms: fc.constantFrom(2_500, 6_000) }, (world, { ms }) => {
    if (world.wasSuspended()) return undefined;
    world.setClockBack(ms);
    return `the wall clock is set back by ${ms} ms`;
  }),
];

const lives = [
  kind<object>(3, 'garbage', {}, ({ server }) => {
    server.collectGarbage();
    return 'garbage is collected: the log does not reach back';
  }),
  kind<object>(1, 'crash', {}, ({ server, wire }) => {
    server.crash();
    wire.breakAll();
    return 'the server crashes: its unlogged tables are empty';
  }),
  kind<{ count: number }>(1, 'set back', { count: fc.integer({ min: 1, max: 3 }) }, (world, { count }) => {
    world.server.setBack(count);
    world.wire.breakAll();
    return `the server is set back to before its last ${count} change(s)`;
  }),
];

export const stepArb = fc.oneof(...readers, ...network, ...sources, ...producers, ...times, ...lives);
export const scheduleArb = fc.record({
  /** Whether another process has published a.ts before. */
  published: fc.boolean(),
  steps: fc.array(stepArb, { minLength: 1, maxLength: 70, size: 'max' }),
  /** Whether everything comes to rest before the cache is closed. */
  rests: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
});
export type Schedule = { published: boolean; steps: Step[]; rests: boolean };

/** Plays a schedule against a client, and tells it. @throws what is wrong */
export async function play(world: World, { published, steps, rests }: Schedule): Promise<void> {
  const { story } = world;
  if (published) {
    world.produceElsewhere(a);
    story.push(`another process has published ${world.works()[0]?.finish(undefined).body}`);
  }
  for (const step of steps) {
    const from = story.length;
    let words: string | undefined;
    try {
      words = await step.run(world);
      await world.settle();
    } catch (error) {
      words ??= `(${step})`;
      throw error;
    } finally {
      // What followed from it comes after it.
      if (words !== undefined) story.splice(from, 0, words);
    }
    if (words !== undefined) world.check();
  }
  if (rests) {
    story.push('everything comes to rest');
    await world.rest();
  }
  story.push('the cache is closed');
  await world.close();
}
