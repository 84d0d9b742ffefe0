import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql, TransactionSql } from 'postgres';
import { bodyOf } from '../support/body.js';
import { clock, openOwn, random, recorder, settings, world } from './process.js';

const { peer, variant } = settings;
let sources = openOwn('sources', 3);
let artifacts = 0;

export const closeSources = (): Promise<void> => sources.end({ timeout: 1 });

export function nextArtifact(): number {
  artifacts += 1;
  return peer * 1_000_000 + artifacts;
}

export class Sabotage extends Error {
  override readonly name = 'Sabotage';
}

export async function produce(module: number, signal: AbortSignal) {
  const artifact = nextArtifact();
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
export async function readSources(sql: Sql | TransactionSql, module: number, split: boolean): Promise<Made> {
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
