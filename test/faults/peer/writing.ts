import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql, TransactionSql } from 'postgres';
import { bodyOf } from '../support/body.js';
import type { Version } from '../support/history.js';
import {
  cache,
  clock,
  codeOf,
  messageOf,
  openOwn,
  progress,
  random,
  recorder,
  send,
  settings,
  world,
} from './process.js';
import { nextArtifact, readSources } from './producing.js';
import { requestOf } from './reading.js';

const { peer, lane, lanes, variant } = settings;
const allModules = Array.from({ length: world.modules }, (_, module) => module);
let writer = openOwn('writer', 1);
let writing = true;
let underWay = 0;
let writes = 0;
let versions = 0;

export const closeWriter = (): Promise<void> => writer.end({ timeout: 1 });

/** Resolves, if they are to stop, once none is under way. */
export async function letWrite(on: boolean): Promise<void> {
  writing = on;
  while (!writing && underWay > 0) await sleep(10);
}

function openWriterAnew(): void {
  void writer.end({ timeout: 0 }).catch(() => {});
  writer = openOwn('writer', 1);
}

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
  const artifact = nextArtifact();
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
    progress.operations += 1;
    if (token !== undefined) send({ type: 'token', write, thing: random.pick(things), token });
  } catch (error) {
    const at = clock.now();
    progress.operations += 1;
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
        openWriterAnew();
        await sleep(100);
      }
    }
  }
}

export async function writeForEver(): Promise<void> {
  while (!progress.ending) {
    if (writing) {
      underWay += 1;
      const late = new AbortController();
      const patience = sleep(20_000, true, { signal: late.signal }).catch(() => false);
      // A commit that nobody answers stays unknown.
      const isLate = await Promise.race([writeOnce().then(() => false), patience]);
      late.abort();
      if (isLate) {
        openWriterAnew();
      }
      underWay -= 1;
    }
    await sleep(random.integer(1, 2 * Math.round(1000 / settings.writesPerSecond)));
  }
}
