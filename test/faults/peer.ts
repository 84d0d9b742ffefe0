/*
 * One process of the fleet under test: reads, produces and writes as it likes, and records all of it. The client is the
 * built one that it is told to use, so that a guard can be missing in it, or that it is of another version.
 */
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import postgres, { type Sql, type TransactionSql } from 'postgres';
import type { ModuleCache, ReadOptions, ServedModule } from '../../src/index.js';
import { bodyOf, idOf, parseBody } from './support/body.js';
import { createClock, createRecorder, type Mode, type Version } from './support/history.js';
import type { Command, PeerSettings, Report } from './support/messages.js';
import { createRandom } from './support/random.js';
import { createWorld } from './support/world.js';

const send = (report: Report): void => void process.send?.(report);
const settings = await new Promise<PeerSettings>((resolve) =>
  process.once('message', (message) => resolve(message as PeerSettings)),
);
process.once('disconnect', () => process.exit(0));

const { peer, lane, lanes, variant, boundMs } = settings;
const clock = createClock(BigInt(settings.origin));
const recorder = createRecorder(settings.folder, `peer-${peer}`);
const random = createRandom(settings.seed + peer);
const world = createWorld(settings.modules);
let operations = 0;
/** Looks into memory that found nothing, since they were last written down. */
let inVain = 0;
const flushing = setInterval(() => {
  recorder.flush();
  noteInVain();
}, 200);

// An injected clock: what the process takes for the time of day can be set.
const timeOfDay = Date.now;
let clockOffsetMs = 0;
Date.now = () => timeOfDay() + clockOffsetMs;

function noteInVain(): void {
  operations += inVain;
  if (inVain > 0) recorder.write({ type: 'looked in vain', count: inVain });
  inVain = 0;
}

const clientFolder = new URL('.', settings.client).pathname;
const wrong = (what: string): void => recorder.write({ type: 'wrong', at: clock.now(), what });
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    const { stack = String(error), code } = (error ?? {}) as { stack?: string; code?: string };
    // A transaction of postgres.js 3.4 whose connection is lost rejects where nobody listens; but the client's own calls
    // do not.
    const isOfDriver =
      stack.includes('/postgres/') || /CONNECTION_|ECONNRE|EPIPE|57P0|terminating/.test(`${code} ${stack}`);
    if (isOfDriver && !stack.includes(clientFolder)) return;
    wrong(`${event}: ${stack.slice(0, 1000)}`);
  });
}

const { openModuleCache } = (await import(settings.client)) as typeof import('../../src/index.js');
recorder.write({ type: 'peer', peer, client: settings.client, variant });
let cache: ModuleCache;
for (;;) {
  try {
    cache = await openModuleCache({
      connection: settings.pooled ? connectionOf(settings.poolUrl) : settings.poolUrl,
      listenConnection: settings.directUrl,
      maxStalenessMs: boundMs,
      heartbeatMs: settings.heartbeatMs,
      claimPatienceMs: 5_000,
      callTimeoutMs: 2_000,
      deadlineMs: 10_000,
      l1: { maxBytes: settings.l1Bytes },
      broadcast: settings.broadcast,
      name: `peer ${peer}`,
    });
    break;
  } catch (error) {
    // It may start while the server is away.
    recorder.write({
      type: 'failed read',
      at: clock.now(),
      code: codeOf(error),
      message: `open: ${messageOf(error)}`,
    });
    await sleep(200);
  }
}
let sources = openOwn('sources', 3);
let writer = openOwn('writer', 1);

let writing = true;
let ending = false;
let writesUnderWay = 0;
let artifacts = 0;
let writes = 0;
let versions = 0;
const allModules = Array.from({ length: world.modules }, (_, module) => module);
const tokens: { write: number; thing: number; token: string }[] = [];
const known = new Set<number>();

function connectionOf(url: string) {
  const { hostname, port, username, password, pathname } = new URL(url);
  return {
    host: hostname,
    port: Number(port),
    username: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database: pathname.slice(1),
    prepare: false,
  };
}

function openOwn(purpose: string, max: number): Sql {
  return postgres(settings.directUrl, {
    max,
    onnotice: () => {},
    connect_timeout: 5,
    connection: { application_name: `${purpose} of peer ${peer}` },
  });
}

function codeOf(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown };
  return String(code ?? name ?? 'unknown');
}
function messageOf(error: unknown): string {
  return String((error as Error)?.message ?? error).slice(0, 300);
}

// Producing ---------------------------------------------------------------------------------------------------------

class Sabotage extends Error {
  override readonly name = 'Sabotage';
}

async function produce(module: number, signal: AbortSignal) {
  artifacts += 1;
  const artifact = peer * 1_000_000 + artifacts;
  const began = clock.now();
  const note = (how: 'made' | 'threw' | 'aborted'): void =>
    recorder.write({ type: 'production', artifact, module, variant, began, ended: clock.now(), how });
  try {
    if (random.chance(0.02)) throw new Sabotage('this producer fails');
    const split = random.chance(0.15);
    const work = split
      ? readSources(sources, module, true)
      : (sources.begin('isolation level repeatable read read only', (tx) =>
          readSources(tx, module, false),
        ) as Promise<Made>);
    const { parts, imports } = await answered(work);
    await sleep(random.chance(0.03) ? random.integer(100, 600) : random.integer(0, 8));
    signal.throwIfAborted();
    const realm = world.realmOf(module);
    note('made');
    return {
      body: bodyOf({ artifact, module, parts, split }, random.integer(0, 3_000)),
      headers: { artifact, variant },
      dependencyKeys: imports.map((each) => world.keyOf(realm, each)),
    };
  } catch (error) {
    note(signal.aborted ? 'aborted' : 'threw');
    throw error;
  }
}

/** An application gives connections up that do not answer any more. */
async function answered<T>(work: Promise<T>): Promise<T> {
  const done = new AbortController();
  const late = sleep(3_000, undefined, { signal: done.signal }).then(() => {
    const silent = sources;
    sources = openOwn('sources', 3);
    void silent.end({ timeout: 0 }).catch(() => {});
    throw new Sabotage('the sources do not answer');
  });
  late.catch(() => {});
  try {
    return await Promise.race([work, late]);
  } finally {
    done.abort();
  }
}

interface Made {
  parts: [number, number][];
  imports: number[];
}

/** @param split each part in a statement, and a snapshot, of its own: only the cache can tell that they do not belong together */
async function readSources(sql: Sql | TransactionSql, module: number, split: boolean): Promise<Made> {
  const [own] = await sql`select version, imports from app.sources where thing = ${module}`;
  const direct = own?.imports as number[];
  let imports = direct;
  if (split) await sleep(random.integer(0, 30));
  if (random.chance(0.4)) {
    const rows = await sql`select imports from app.sources where thing = any(${direct}::int[])`;
    // Deeper than one level, without the versions in between: they are read below.
    const further = rows.flatMap((row) => row.imports as number[]).slice(0, 5);
    imports = [...new Set([...direct, ...further])].filter((each) => each !== module);
  }
  if (split) await sleep(random.integer(0, 30));
  const others = world.readFor(module, imports).filter((thing) => thing !== module);
  const rows = await sql`select thing, version from app.sources where thing = any(${others}::int[])`;
  const parts: [number, number][] = [[module, Number(own?.version)]];
  for (const row of rows) parts.push([Number(row.thing), Number(row.version)]);
  return { parts, imports };
}

// Reading -----------------------------------------------------------------------------------------------------------

function note(module: number, mode: Mode, after: number, began: number, answer: ServedModule): void {
  const ended = clock.now();
  operations += 1;
  const artifact = idOf(answer.body);
  const { headers } = answer as { headers: { artifact?: number; variant?: string } };
  if (artifact !== headers.artifact || variant !== headers.variant) {
    wrong(
      `variant ${variant} was asked for: the body is of artifact ${artifact}, its headers ${JSON.stringify(headers)}`,
    );
  }
  if (!known.has(artifact)) {
    if (known.size > 20_000) known.clear();
    const body = parseBody(answer.body);
    if (body === undefined) wrong(`a torn body: ${answer.body.slice(0, 200)}`);
    else {
      if (body.module !== module) wrong(`module ${module} was answered with module ${body.module}`);
      known.add(artifact);
      recorder.write({ type: 'artifact', ...body });
    }
  }
  recorder.read({ began, ended, module, mode, artifact, after, cached: answer.cached });
}

const requestOf = (module: number) => ({ realm: world.realmOf(module), path: world.pathOf(module), variant });
/** A few are read most. */
const someModule = (): number => Math.floor(random.fraction() ** 2 * world.modules);

async function read(module: number, mode: Mode, options: ReadOptions, after = 0): Promise<boolean> {
  const began = clock.now();
  try {
    const answer =
      random.chance(0.9) || mode === 'quiet'
        ? await cache.getOrProduce(requestOf(module), ({ signal }) => produce(module, signal), options)
        : await cache.get(requestOf(module), options);
    if (answer === undefined || answer.status === 'error') operations += 1;
    else note(module, mode, after, began, answer);
    return true;
  } catch (error) {
    operations += 1;
    if (
      !(error instanceof Sabotage || /this producer fails|the sources do not answer/.test(messageOf(error)))
    ) {
      recorder.write({
        type: 'failed read',
        at: clock.now(),
        code: codeOf(error),
        message: messageOf(error),
      });
    }
    return false;
  }
}

async function readMany(): Promise<void> {
  const modules = Array.from({ length: 8 }, someModule);
  const strong = random.chance(0.3);
  const began = clock.now();
  try {
    const answers = await cache.getMany(modules.map(requestOf), {
      consistency: strong ? 'strong' : 'bounded',
    });
    answers.forEach((answer, index) => {
      if (answer !== undefined && answer.status !== 'error') {
        note(modules[index] as number, strong ? 'strong' : 'bounded', 0, began, answer);
      }
    });
  } catch (error) {
    recorder.write({ type: 'failed read', at: clock.now(), code: codeOf(error), message: messageOf(error) });
  }
}

async function readForEver(): Promise<void> {
  while (!ending) {
    const die = random.fraction();
    const causal = tokens.length > 0 && die < 0.15 ? random.pick(tokens) : undefined;
    if (causal !== undefined) {
      const module = causal.thing < world.modules && random.chance(0.5) ? causal.thing : someModule();
      await read(module, 'causal', { after: causal.token }, causal.write);
    } else if (die < 0.25) await read(someModule(), 'strong', { consistency: 'strong' });
    else if (die < 0.28 && typeof cache.getMany === 'function') await readMany();
    else await read(someModule(), 'bounded', {});
    await sleep(random.chance(0.1) ? random.integer(5, 40) : random.integer(0, 4));
  }
}

/** What most reads are: hits in memory. */
async function peekForEver(): Promise<void> {
  const perTurn = Math.max(1, Math.round(settings.peeksPerSecond / 100));
  while (!ending) {
    for (let i = 0; i < perTurn; i += 1) {
      const module = someModule();
      const began = clock.now();
      const answer = cache.peek(requestOf(module));
      if (answer !== undefined && answer.status !== 'error') note(module, 'bounded', 0, began, answer);
      else inVain += 1;
    }
    await sleep(10);
    await setImmediate();
  }
}

// Writing -----------------------------------------------------------------------------------------------------------

class OnPurpose extends Error {}

async function change(tx: Sql | TransactionSql, thing: number): Promise<Version> {
  versions += 1;
  const version = peer * 1_000_000 + versions;
  // Some imports are dropped, others come: also cycles, and modules that import modules that are written later.
  const imports =
    thing < world.modules && random.chance(0.3)
      ? random.sample(
          allModules.filter((each) => each !== thing),
          random.integer(0, settings.imports),
        )
      : undefined;
  const [row] = await tx`
    update app.sources set version = ${version}, seq = seq + 1, imports = coalesce(${imports ?? null}::int[], imports)
    where thing = ${thing} returning seq, imports`;
  const { seq, imports: now } = row as unknown as { seq: number; imports: number[] };
  await tx`insert into app.history values (${thing}, ${seq}, ${version}, ${now}::int[])`;
  return { thing, seq, version, imports: now };
}

/** Resolves to the token to read after, if there is one. */
async function invalidateAll(
  tx: Sql | TransactionSql,
  things: readonly number[],
): Promise<string | undefined> {
  let token: string | undefined;
  const byRealm = new Map<string, string[]>();
  for (const thing of things) {
    if (thing === world.global) ({ token } = await cache.clearAll({ tx: tx as TransactionSql }));
    else if (thing >= world.modules)
      ({ token } = await cache.clearRealm(world.realmOf(thing), { tx: tx as TransactionSql }));
    else
      byRealm.set(world.realmOf(thing), [...(byRealm.get(world.realmOf(thing)) ?? []), world.pathOf(thing)]);
  }
  for (const [realm, paths] of byRealm) {
    if (random.chance(0.8)) ({ token } = await cache.invalidate(realm, paths, { tx: tx as TransactionSql }));
    else await tx`select from module_cache.invalidate(${realm}, ${paths})`;
  }
  return token;
}

async function makeInside(
  tx: TransactionSql,
  things: readonly number[],
): Promise<((sql: Sql) => Promise<unknown>) | undefined> {
  const module = things.find((thing) => thing < world.modules);
  if (module === undefined) return undefined;
  const { realm, path } = requestOf(module);
  const [row] = await tx`select token from module_cache.get(${realm}, ${path}, 'transpile', ${variant})`;
  const { parts, imports } = await readSources(tx, module, false);
  artifacts += 1;
  const artifact = peer * 1_000_000 + artifacts;
  const body = bodyOf({ artifact, module, parts, split: false }, 10);
  const keys = imports.map((each) => world.keyOf(realm, each));
  return (sql) => sql`
    select from module_cache.put(${realm}, ${path}, 'transpile', ${variant}, ${body}, ${JSON.stringify({ artifact, variant })}::text::jsonb,
      ${keys}::text[], ${row?.token ?? null})`;
}

async function writeOnce(): Promise<void> {
  writes += 1;
  const write = peer * 1_000_000 + writes;
  const began = clock.now();
  const die = random.fraction();
  const isolation = die < 0.8 ? 'read committed' : die < 0.9 ? 'repeatable read' : 'serializable';
  // Postgres refuses rows of the application that two transactions write at once at the higher levels: there each peer
  // keeps to its own, so that a refusal would be the cache's doing. And all lock in the same order.
  const mine = allModules.filter((thing) =>
    isolation === 'read committed' ? thing % 2 === 0 : thing % 2 === 1 && (thing >> 1) % lanes === lane,
  );
  let things = random.sample(mine, random.integer(1, 3));
  if (isolation === 'read committed' && random.chance(0.06))
    things = [...things.slice(0, 1), random.integer(world.modules, world.global - 1)];
  else if (isolation === 'read committed' && random.chance(0.01)) things = [world.global];
  things.sort((a, b) => a - b);
  const rollsBack = random.chance(0.2);
  const waits = random.chance(0.05) ? random.integer(100, 500) : random.integer(0, 15);
  let token: string | undefined;
  let commits = Number.NaN;
  // An application that makes the module inside of its own transaction, and offers it whatever becomes of that.
  const hasty = random.chance(0.08);
  let offer: ((sql: Sql) => Promise<unknown>) | undefined;
  try {
    await writer.begin(`isolation level ${isolation}`, async (tx) => {
      const early = random.chance(0.3);
      if (random.chance(0.05)) await tx`set local module_cache.notify = off`;
      if (early) token = await invalidateAll(tx, things);
      const changed: Version[] = [];
      for (const thing of things) changed.push(await change(tx, thing));
      if (!early) token = await invalidateAll(tx, things);
      if (random.chance(0.15)) {
        // As if it had not been.
        await tx
          .savepoint(async (inner) => {
            const other = things.at(-1) as number;
            await change(inner, other);
            await invalidateAll(inner, [other]);
            throw new OnPurpose();
          })
          .catch((error) => {
            if (!(error instanceof OnPurpose)) throw error;
          });
      }
      if (random.chance(0.02)) {
        await tx`delete from module_cache.artifacts where canonical_path = ${world.pathOf(random.pick(mine))}`;
      }
      if (hasty) offer = await makeInside(tx, things);
      await sleep(waits);
      if (rollsBack) throw new OnPurpose();
      // Before it is sent: who is killed now may have committed.
      recorder.write({ type: 'write', write, began, commits: clock.now(), versions: changed, isolation });
      commits = clock.now();
    });
    const at = clock.now();
    recorder.write({ type: 'outcome', write, at, isolation, outcome: 'committed' });
    operations += 1;
    if (token !== undefined) send({ type: 'token', write, thing: random.pick(things), token });
  } catch (error) {
    const at = clock.now();
    operations += 1;
    // It has read what was never committed.
    if (error instanceof OnPurpose) await offer?.(writer).catch(() => {});
    if (error instanceof OnPurpose)
      recorder.write({ type: 'outcome', write, at, isolation, outcome: 'rolled back' });
    else {
      const { name, where } = error as { name?: string; where?: string };
      const code = codeOf(error);
      const refused = name === 'PostgresError' && !/^(08|57P)/.test(code);
      const outcome = Number.isNaN(commits) || refused ? 'refused' : 'unknown';
      recorder.write({
        type: 'outcome',
        write,
        at,
        isolation,
        outcome,
        code,
        message: messageOf(error),
        where: where?.slice(0, 500),
      });
      // With what is left of the connection nothing can be begun.
      if (!refused) {
        void writer.end({ timeout: 0 }).catch(() => {});
        writer = openOwn('writer', 1);
        await sleep(100);
      }
    }
  }
}

async function writeForEver(): Promise<void> {
  while (!ending) {
    if (writing) {
      writesUnderWay += 1;
      const late = new AbortController();
      const patience = sleep(20_000, true, { signal: late.signal }).catch(() => false);
      // A commit that nobody answers stays unknown.
      const isLate = await Promise.race([writeOnce().then(() => false), patience]);
      late.abort();
      if (isLate) {
        void writer.end({ timeout: 0 }).catch(() => {});
        writer = openOwn('writer', 1);
      }
      writesUnderWay -= 1;
    }
    await sleep(random.integer(1, 2 * Math.round(1000 / settings.writesPerSecond)));
  }
}

// What the conductor asks for ---------------------------------------------------------------------------------------

async function quieten(): Promise<void> {
  const missing: number[] = [];
  for (let module = 0; module < world.modules; module += 1) {
    let read_ = false;
    for (let tries = 0; tries < 40 && !read_; tries += 1) {
      read_ = await read(module, 'quiet', {});
      if (!read_) await sleep(100);
    }
    if (!read_) missing.push(module);
  }
  if (missing.length > 0) wrong(`after quiet, modules could not be read: ${missing.join(', ')}`);
}

async function recover(): Promise<void> {
  for (;;) {
    const module = someModule();
    const { connected, fresh } = cache.stats();
    if (connected && fresh && (await read(module, 'strong', { consistency: 'strong', deadlineMs: 2_000 })))
      return;
    await sleep(10);
  }
}

async function obey(command: Command): Promise<void> {
  if (command.type === 'token') {
    tokens.push(command);
    if (tokens.length > 20) tokens.shift();
  } else if (command.type === 'writes') {
    writing = command.on;
    while (!writing && writesUnderWay > 0) await sleep(10);
    send({ type: 'done', number: command.number });
  } else if (command.type === 'quiet') {
    await quieten();
    recorder.flush();
    send({ type: 'done', number: command.number });
  } else if (command.type === 'recover') {
    await recover();
    send({ type: 'done', number: command.number });
  } else if (command.type === 'forget tokens') tokens.length = 0;
  else if (command.type === 'clock') clockOffsetMs = command.offsetMs;
  else if (command.type === 'end') {
    ending = true;
    clearInterval(flushing);
    await working;
    noteInVain();
    await Promise.all([cache.close(), sources.end({ timeout: 1 }), writer.end({ timeout: 1 })]);
    recorder.close();
    send({ type: 'done', number: command.number });
    process.disconnect();
  }
}
process.on('message', (message) => void obey(message as Command));

const counting = setInterval(() => send({ type: 'operations', operations }), 500);
const working = Promise.all([
  ...Array.from({ length: settings.readers }, readForEver),
  peekForEver(),
  writeForEver(),
]).finally(() => clearInterval(counting));
send({ type: 'ready' });
