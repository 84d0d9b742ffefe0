import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from 'postgres';
import { coversOf, coversOfRealm, GLOBAL_COVER, moduleCover } from '../../../src/keys.js';
import { type Isolation, type Session, session } from '../../sql/support/session.js';
import type { TestDatabase } from '../../support/database.js';

/**
 * A fleet at random against an oracle that is MVCC itself: in one snapshot, an artifact that is a hit was made from
 * exactly the source versions (its own and those of everything it read) that the same snapshot shows.
 *
 * Sources are append-only, so that what conflicts is the cache and not the sources: the current version of a module
 * is the highest visible one, 0 if there is none. The body of an artifact tells what it was made from.
 */

export interface OracleOptions {
  database: TestDatabase;
  /** Of the transactions that write. */
  isolation: Isolation;
  seed: number;
  ms: number;
  /** What the client does: everything but the transactions of the user runs at READ COMMITTED. */
  pinned?: boolean;
  /** Errors that these transactions may see. */
  allowed?: RegExp;
}

export interface OracleReport {
  /** Empty if all is well; the run ends with the first. */
  violations: string[];
  errors: string[];
  checked: number;
  commits: number;
  stored: number;
  collected: number;
}

const WORKERS = 15;
const CHECKERS = 3;
const PEERS = 2;

/** One of them lies in the URL of another. */
const PATHS = {
  'https://app.example/': ['a.ts', 'b.tsx', 'c/index.ts', 'd.js', 'e/f.gts', 'g.css'],
  'https://lib.example/v1/': ['a.ts', 'b.tsx', 'c/index.ts', 'e/f.gts'],
  'https://app.example/inner.js/': ['index.ts', 'c/a.ts'],
};
const REALMS = Object.keys(PATHS);
const VARIANTS = ['flat', 'deep'] as const;

interface Place {
  realm: string;
  path: string;
}
const MODULES: readonly Place[] = Object.entries(PATHS).flatMap(([realm, paths]) =>
  paths.map((path) => ({ realm, path })),
);

/** Numbers of a fixed sequence (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

interface Dice {
  chance(share: number): boolean;
  below(count: number): number;
  pick<T>(values: readonly T[]): T;
  some<T>(values: readonly T[], most: number): T[];
}

function diceOf(seed: number): Dice {
  const random = randomOf(seed);
  const below = (count: number): number => Math.floor(random() * count);
  const pick = <T>(values: readonly T[]): T => values[below(values.length)] as T;
  return {
    chance: (share) => random() < share,
    below,
    pick,
    some: (values, most) => [...new Set(Array.from({ length: 1 + below(most) }, () => pick(values)))],
  };
}

const keyOf = ({ realm, path }: Place): string => realm + path;
const extension = /\.(ts|tsx|js|gts)$/;

/** The many ways in which one module can be named by another. */
function nameFor(place: Place, from: string, dice: Dice): string {
  const path = dice.chance(0.5) ? place.path.replace(extension, '').replace(/\/index$/, '') : place.path;
  const url = place.realm + (path === 'index' && place.realm !== from ? '' : path);
  return url.startsWith(from) && dice.chance(0.8) ? url.slice(from.length) : url;
}

export async function prepareOracle(sql: Sql): Promise<void> {
  await sql.unsafe(`
    create table sources (
      realm text not null, path text not null, version bigint generated always as identity, imports text[]);
    create index on sources (realm, path, version desc);
    create table modules as select * from unnest(
      array[${MODULES.map(({ realm }) => `'${realm}'`).join()}],
      array[${MODULES.map(({ path }) => `'${path}'`).join()}]) m (realm, path)`);
}

interface Source {
  version: string;
  imports: string[] | null;
}

async function readSources(sql: Sql, keys: readonly string[]): Promise<Map<string, Source>> {
  const rows = await sql<(Source & { key: string })[]>`
    select k.key, coalesce(s.version, 0) as version, s.imports
    from unnest(${keys as string[]}::text[]) k (key)
    left join modules m on m.realm || m.path = k.key
    left join lateral (
      select s.version, s.imports from sources s
      where s.realm = m.realm and s.path = m.path order by s.version desc limit 1
    ) s on true`;
  return new Map(rows.map((row) => [row.key, row]));
}

export async function runOracle(options: OracleOptions): Promise<OracleReport> {
  const { database, isolation, seed, ms, pinned = false, allowed = /$^/ } = options;
  const report: OracleReport = {
    violations: [],
    errors: [],
    checked: 0,
    commits: 0,
    stored: 0,
    collected: 0,
  };
  const deadline = performance.now() + ms;
  const over = (): boolean =>
    performance.now() > deadline || report.violations.length > 0 || report.errors.length > 0;
  let prepared = 0;

  /** What a producer does: token first, then the sources, each in a snapshot of its own, then the put. */
  async function produce(cache: Session, dice: Dice): Promise<void> {
    const place = dice.pick(MODULES);
    const variant = dice.pick(VARIANTS);
    const target = { realm: place.realm, variant };
    const read = await cache.get(place.path, target);
    if (read.status !== 'miss' && dice.chance(0.8)) return;
    if (read.token === null) {
      await cache.changesSince(null);
      return;
    }
    const body: Record<string, string> = {};
    const dependencies = new Set<string>();
    let layer = [keyOf(place)];
    const depth = variant === 'deep' ? 3 : 2;
    for (let level = 0; level < depth && layer.length > 0; level += 1) {
      const sources = await readSources(cache.sql, layer);
      const next = new Set<string>();
      for (const [key, { version, imports }] of sources) {
        body[key] = version;
        const of = MODULES.find((module) => keyOf(module) === key) as Place;
        if (level > 0) dependencies.add(nameFor(of, place.realm, dice));
        for (const each of imports ?? []) if (!(each in body)) next.add(each);
      }
      layer = [...next];
      if (dice.chance(0.2)) await sleep(dice.below(20));
    }
    if (dice.chance(0.15)) await sleep(50 + dice.below(300));
    const level = pinned ? 'read committed' : isolation;
    const inTransaction = dice.chance(0.4);
    if (inTransaction) await cache.begin(level);
    const { stored } = await cache.put(place.path, JSON.stringify(body), {
      ...target,
      token: read.token,
      dependencies: [...dependencies],
      isError: dice.chance(0.1),
    });
    if (inTransaction) {
      if (dice.chance(0.5)) await sleep(dice.below(30));
      if (dice.chance(0.8)) await cache.commit();
      else await cache.rollback();
    }
    if (stored) report.stored += 1;
  }

  async function change(cache: Session, place: Place, dice: Dice): Promise<void> {
    const imports = dice.chance(0.15) ? null : dice.some(MODULES, 3).map(keyOf);
    const write = () => cache.sql`
      insert into sources (realm, path, imports) values (${place.realm}, ${place.path}, ${imports})`;
    const name = dice.chance(0.3) ? nameFor(place, place.realm, dice).replace(place.realm, '') : place.path;
    if (dice.chance(0.5)) await write().then(() => cache.invalidate([name], place.realm));
    else await cache.invalidate([name], place.realm).then(() => write());
  }

  async function changeAll(cache: Session, realm: string | undefined): Promise<void> {
    await cache.sql`
      insert into sources (realm, path, imports)
      select m.realm, m.path, array[m.realm || m.path] from modules m
      where ${realm ?? null}::text is null or m.realm = ${realm ?? null}`;
    if (realm === undefined) await cache.clearAll();
    else await cache.clearRealm(realm);
  }

  async function write(cache: Session, dice: Dice): Promise<void> {
    await cache.begin(isolation);
    if (dice.chance(0.1)) await cache.run('set local module_cache.notify = off');
    const kind = dice.below(100);
    if (kind < 8) await changeAll(cache, undefined);
    else if (kind < 20) await changeAll(cache, dice.pick(REALMS));
    else for (const place of dice.some(MODULES, 3)) await change(cache, place, dice);
    if (dice.chance(0.3)) {
      await cache.run('savepoint half_way');
      await change(cache, dice.pick(MODULES), dice);
      if (dice.chance(0.2)) await changeAll(cache, dice.pick(REALMS));
      await cache.run(dice.chance(0.6) ? 'rollback to savepoint half_way' : 'release savepoint half_way');
    }
    if (dice.chance(0.5)) await sleep(dice.below(20));
    if (dice.chance(0.05)) await sleep(200 + dice.below(300));
    if (dice.chance(0.2)) await cache.rollback();
    else await cache.commit();
    report.commits += 1;
  }

  async function writePrepared(cache: Session, dice: Dice): Promise<void> {
    if (prepared >= 5) return;
    prepared += 1;
    const name = `${database.name}-${dice.below(1e9)}`;
    try {
      await cache.begin(isolation);
      await cache.run('set local module_cache.notify = off');
      await change(cache, dice.pick(MODULES), dice);
      await cache.run(`prepare transaction '${name}'`);
      await sleep(dice.below(200));
      await cache.run(`${dice.chance(0.3) ? 'rollback' : 'commit'} prepared '${name}'`);
      report.commits += 1;
    } finally {
      prepared -= 1;
    }
  }

  async function collect(cache: Session, dice: Dice): Promise<void> {
    const { generations } = await cache.collect(dice.pick(['0 s', '0 s', '0.05 s']), 1 + dice.below(200));
    report.collected += Number(generations);
  }

  async function remove(cache: Session, dice: Dice): Promise<void> {
    const { realm, path } = dice.pick(MODULES);
    await cache.sql`delete from module_cache.artifacts where realm_url = ${realm} and canonical_path = ${path}`;
  }

  async function work(cache: Session, dice: Dice): Promise<void> {
    const kind = dice.below(100);
    if (kind < 66) await produce(cache, dice);
    else if (kind < 88) await write(cache, dice);
    else if (kind < 90) await writePrepared(cache, dice);
    else if (kind < 98) await collect(cache, dice);
    else await remove(cache, dice);
  }

  /** One statement is one snapshot. */
  async function check(cache: Session): Promise<void> {
    const rows = await cache.sql<Record<string, string>[]>`
      select m.realm || m.path as module, v.variant, g.status, r.key as read, r.value as made_from, c.version as shows
      from modules m
      cross join unnest(${VARIANTS as unknown as string[]}::text[]) v (variant)
      cross join lateral module_cache.get(m.realm, m.path, 'transpile', v.variant) g
      cross join lateral jsonb_each_text(g.body::jsonb) r
      cross join lateral (
        select coalesce(max(s.version), 0) as version from sources s where s.realm || s.path = r.key
      ) c
      where g.status <> 'miss'`;
    report.checked += rows.length;
    for (const row of rows) {
      if (row.made_from !== row.shows) report.violations.push(`read: ${JSON.stringify(row)}`);
    }
    // The views and garbage collection have the same opinion.
    const [{ disagree }] = (await cache.run(`
      select count(*) as disagree
      from module_cache.artifacts a
      cross join lateral module_cache.get(a.realm_url, a.canonical_path, a.kind, a.variant) g
      where (a.status = 'dead') <> (g.status = 'miss')`)) as [{ disagree: string }];
    if (disagree !== '0')
      report.violations.push(`${disagree} artifacts are dead in the view and hits of get`);
  }

  /** A process that knows of invalidations from the log alone. */
  function createPeer(cache: Session, dice: Dice): () => Promise<void> {
    const entries = new Map<string, { body: Record<string, string>; covers: Set<string> }>();
    let cursor: string | null = null;
    return async () => {
      await cache.begin('repeatable read');
      const next = await cache.changesSince(cursor);
      if (!next.complete) entries.clear();
      for (const { k, r = '', m = [] } of next.changes) {
        const covers =
          k === 'global'
            ? [GLOBAL_COVER]
            : k === 'realm'
              ? coversOfRealm(r)
              : m.map((path) => moduleCover(r, path));
        for (const [name, entry] of entries) {
          if (covers.some((cover) => entry.covers.has(cover))) entries.delete(name);
        }
      }
      for (const place of dice.some(MODULES, 6)) {
        const variant = dice.pick(VARIANTS);
        const read = await cache.get(place.path, { realm: place.realm, variant });
        if (read.status === 'miss' || read.token?.split('/')[0] !== next.cursor?.split('/')[0]) continue;
        entries.set(`${keyOf(place)} ${variant}`, {
          body: JSON.parse(read.body as string),
          covers: new Set(coversOf(place.realm, place.path, read.dependency_keys as string[])),
        });
      }
      const sources = await readSources(cache.sql, MODULES.map(keyOf));
      await cache.commit();
      cursor = next.cursor;
      for (const [name, { body }] of entries) {
        report.checked += 1;
        for (const [key, version] of Object.entries(body)) {
          if (sources.get(key)?.version !== version)
            report.violations.push(`peer: ${name} made from ${key} ${version}`);
        }
      }
      await sleep(dice.below(40));
    };
  }

  async function repeat(cache: Session, step: () => Promise<void>): Promise<void> {
    while (!over()) {
      try {
        await step();
      } catch (error) {
        const { code, message } = error as { code?: string; message: string };
        if (!allowed.test(code ?? '')) report.errors.push(`${code}: ${message}`);
        await cache.run('rollback');
      }
    }
  }

  const opened: Session[] = [];
  const open = (): Session => {
    const cache = session(database);
    opened.push(cache);
    return cache;
  };
  const runs: Promise<void>[] = [];
  for (let index = 0; index < WORKERS + CHECKERS + PEERS; index += 1) {
    const cache = open();
    const dice = diceOf(seed * 1000 + index);
    if (index < WORKERS) runs.push(repeat(cache, () => work(cache, dice)));
    else if (index < WORKERS + CHECKERS) runs.push(repeat(cache, () => check(cache)));
    else runs.push(repeat(cache, createPeer(cache, dice)));
  }
  await Promise.all(runs);
  await Promise.all(opened.map((each) => each.close()));
  return report;
}
