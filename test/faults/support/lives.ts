import type { Entry, Version } from './history.js';

/** A time during which the same versions were true or became so; another begins when the server loses some. */
export interface Life {
  /** When the one before was given up, and when the server of this one was seen to answer. */
  beginsBetween: readonly [number, number];
  /** When the server that had this life was given up, and when the next one answered. */
  endsBetween: readonly [number, number];
  /** By version. */
  bySource: Map<number, Held>;
}

type Survivor = Omit<Held, 'from' | 'known' | 'outdated' | 'write'> & { imports: number[] };

interface Held {
  thing: number;
  version: number;
  seq: number;
  imports: readonly number[] | undefined;
  /** Not before this moment. */
  from: number;
  /** By this moment it was known to be true: infinite if nobody was told. */
  known: number;
  /** By this moment it was known to be outdated. */
  outdated: number;
}

export interface Times {
  /** The first moment at which all of it can have been true. */
  from: number;
  /** The one by which some of it was not. */
  outdated: number;
  /** What was never committed. */
  missing: [number, number] | undefined;
}

/**
 * While a life ends the fleet is led nowhere. So what was about to commit before `ended` belongs to this life or to none,
 * what was so later to the next or to none; and what is there in the end was there from its commit on.
 */
export function livesOf(
  conductor: readonly Entry[],
  writes: ReadonlyMap<number, Extract<Entry, { type: 'write' }>>,
  outcomes: ReadonlyMap<number, Extract<Entry, { type: 'outcome' }>>,
  ended: number,
): Life[] {
  const ends = conductor.filter((entry) => entry.type === 'life');
  const byVersion = new Map<number, Extract<Entry, { type: 'write' }>>();
  for (const write of writes.values()) {
    for (const { version } of write.versions) byVersion.set(version, write);
  }
  const inOrder = [...writes.values()].sort((a, b) => a.commits - b.commits);
  const lives: Life[] = [];
  let next = 0;
  let survived: Survivor[] = [];
  for (const [index, end] of ends.entries()) {
    const previous = ends[index - 1];
    const isLast = index === ends.length - 1;
    const held = new Map<number, Held>();
    const hold = (row: Survivor, write: Extract<Entry, { type: 'write' }> | undefined, known: number) => {
      const before = held.get(row.version);
      if (before !== undefined) before.known = Math.min(before.known, known);
      else {
        const { thing, version, seq, imports } = row;
        const from = write?.commits ?? 0;
        held.set(version, {
          thing,
          version,
          seq,
          imports,
          from,
          known,
          outdated: Number.POSITIVE_INFINITY,
        });
      }
    };
    const acknowledged = (write: Extract<Entry, { type: 'write' }> | undefined): number => {
      if (write === undefined) return 0;
      const outcome = outcomes.get(write.write);
      return outcome?.outcome === 'committed' ? outcome.at : Number.POSITIVE_INFINITY;
    };
    // What survived the life before was seen at its end.
    for (const row of survived) {
      const write = byVersion.get(row.version);
      hold(row, write, Math.min(acknowledged(write), previous?.ended ?? Number.POSITIVE_INFINITY));
    }
    survived = JSON.parse(end.survivors) as Survivor[];
    const taken = new Set<string>();
    for (const row of survived) {
      const write = byVersion.get(row.version);
      hold(row, write, Math.min(acknowledged(write), end.ended));
    }
    for (const { thing, seq } of held.values()) taken.add(`${thing} ${seq}`);
    // What was committed in this life, or may have been, and is lost with it. The last one loses nothing.
    const lost: [Version, (typeof inOrder)[number], number][] = [];
    for (; next < inOrder.length; next += 1) {
      const write = inOrder[next] as (typeof inOrder)[number];
      if (write.commits > end.ended) break;
      const outcome = outcomes.get(write.write)?.outcome ?? 'unknown';
      if (isLast || (outcome !== 'committed' && outcome !== 'unknown')) continue;
      for (const version of write.versions) {
        if (!held.has(version.version)) lost.push([version, write, acknowledged(write)]);
      }
    }
    for (const [row, write, known] of lost) {
      if (known === Number.POSITIVE_INFINITY) continue;
      hold(row, write, known);
      taken.add(`${row.thing} ${row.seq}`);
    }
    // Where another one is known to have been committed, that which nobody answered was not.
    for (const [row, write, known] of lost) {
      if (known === Number.POSITIVE_INFINITY && !taken.has(`${row.thing} ${row.seq}`))
        hold(row, write, known);
    }
    const versions = new Map<number, Held[]>();
    for (const each of held.values()) {
      const list = versions.get(each.thing);
      if (list === undefined) versions.set(each.thing, [each]);
      else list.push(each);
    }
    for (const list of versions.values()) {
      list.sort((a, b) => b.seq - a.seq);
      // By when a later one than those of this seq was true, and by when one of this seq was: who wrote over it had seen it.
      let outdated = Number.POSITIVE_INFINITY;
      let seen = Number.POSITIVE_INFINITY;
      for (let i = 0; i < list.length; ) {
        const { seq } = list[i] as Held;
        const same: Held[] = [];
        for (; list[i]?.seq === seq; i += 1) same.push(list[i] as Held);
        for (const each of same) each.outdated = outdated;
        // Of several that nobody answered it is not known which one it was.
        if (same.length === 1) for (const each of same) each.known = Math.min(each.known, seen);
        const certain = same.filter(({ known }) => known < Number.POSITIVE_INFINITY);
        outdated = Math.min(outdated, seen, ...certain.map(({ known }) => known));
        seen = Math.min(Number.POSITIVE_INFINITY, ...certain.map(({ from }) => from));
        if (list[i]?.seq !== seq - 1) seen = Number.POSITIVE_INFINITY;
      }
    }
    lives.push({
      beginsBetween: [previous?.began ?? 0, previous?.ended ?? 0],
      endsBetween: isLast ? [ended, Number.POSITIVE_INFINITY] : [end.began, end.ended],
      bySource: held,
    });
  }
  return lives;
}

export function timesOf(parts: readonly [number, number][], lives: readonly Life[], index: number): Times {
  const times: Times = { from: 0, outdated: Number.POSITIVE_INFINITY, missing: undefined };
  for (const [thing, version] of parts) {
    const held = lives[index]?.bySource.get(version);
    if (held !== undefined) {
      times.from = Math.max(times.from, held.from);
      times.outdated = Math.min(times.outdated, held.outdated);
      continue;
    }
    const last = lives.slice(0, index).findLastIndex(({ bySource }) => bySource.has(version));
    // True in an earlier life, and lost with it.
    if (last >= 0) times.outdated = Math.min(times.outdated, (lives[last + 1] as Life).beginsBetween[1]);
    else times.missing = [thing, version];
  }
  return times;
}
