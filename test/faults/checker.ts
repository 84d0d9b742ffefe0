import { readdirSync } from 'node:fs';
import { type Entry, eachRead, entriesOf, type Mode, type Read } from './support/history.js';
import { type Life, livesOf, type Times, timesOf } from './support/lives.js';

/**
 * Judges a run by its history alone: what was committed, when that was begun and when it was acknowledged, and what
 * each read returned. It knows nothing of how the cache works.
 *
 * A version holds from some moment between the begin and the acknowledgement of its commit until some moment between
 * those of the next one. Everything is judged by the end of that doubt at which a read is right, so whatever is
 * reported is wrong in each order of events that the history allows.
 */
export interface Verdict {
  seed: number;
  seconds: number;
  operations: number;
  /** Of these, looks into memory that found nothing: there is nothing to judge. */
  inVain: number;
  reads: Record<Mode, number>;
  /** Reads of processes with an older client, which are not judged. */
  ofReleases: number;
  writes: { committed: number; rolledBack: number; refused: number; unknown: number };
  productions: number;
  /** Productions of one artifact at once that neither an invalidation nor a fault explains, or that a fault does. */
  duplicates: { unexplained: number; explained: number };
  faults: number;
  violations: Violation[];
  violationCount: number;
  /** ms since the start; infinite if there is none. */
  firstViolationAt: number;
  /** Of bounded reads, by how long what they returned had been outdated when they began. */
  staleness: { upToMs: number; reads: number }[];
  maxStalenessMs: number;
  /** Writes that Postgres refused, and reads that failed, by code and message. */
  refused: Map<string, number>;
  failedReads: Map<string, number>;
  recovery: Map<string, { count: number; recovered: number[]; failed: number }>;
}

export interface Violation {
  rule: string;
  at: number;
  detail: string;
  /** What happened around it. */
  history: string[];
}

interface Artifact {
  module: number;
  parts: [number, number][];
  split: boolean;
  /** For the lives in which it was read. */
  times: Times[];
}

const STALENESS_MS = [0, 1, 10, 100, 1_000, 10_000, Number.POSITIVE_INFINITY];
const MAX_REPORTED = 8;
const AROUND_MS = 3_000;

export async function check(folder: string): Promise<Verdict> {
  const files = readdirSync(folder);
  const conductor = [...entriesOf(folder, 'conductor.jsonl')];
  const run = conductor.find((entry) => entry.type === 'run');
  if (run === undefined)
    throw new Error(`${folder} holds no whole run: conductor.jsonl has no entry of type run`);
  const entries: (Entry & { peer: number })[] = [];
  for (const file of files) {
    const peer = /^peer-(\d+)\.jsonl$/.exec(file)?.[1];
    if (peer === undefined) continue;
    for (const entry of entriesOf(folder, file)) entries.push({ ...entry, peer: Number(peer) });
  }
  const of = <Type extends Entry['type']>(type: Type) =>
    entries.filter((entry) => entry.type === type) as (Extract<Entry, { type: Type }> & { peer: number })[];
  const faults = conductor.filter((entry) => entry.type === 'fault');
  const writes = new Map(of('write').map((write) => [write.write, write]));
  const outcomes = new Map(of('outcome').map((outcome) => [outcome.write, outcome]));
  const lives = livesOf(conductor, writes, outcomes, run.ended);
  const artifacts = new Map<number, Artifact>();
  for (const { artifact, module, parts, split } of of('artifact')) {
    artifacts.set(artifact, { module, parts, split, times: [] });
  }

  const violations: Violation[] = [];
  let violationCount = 0;
  let firstViolationAt = Number.POSITIVE_INFINITY;
  const told = new Set<string>();
  function violate(
    rule: string,
    at: number,
    detail: string,
    around: readonly number[] = [],
    name: unknown = detail,
  ): void {
    violationCount += 1;
    firstViolationAt = Math.min(firstViolationAt, at);
    // Of what is the same again and again once is enough.
    const isNew = !told.has(`${rule} ${name}`);
    told.add(`${rule} ${name}`);
    if (isNew && violations.length < MAX_REPORTED) {
      violations.push({ rule, at, detail, history: historyAround(at, new Set(around), entries, faults) });
    }
  }

  const reads: Record<Mode, number> = { bounded: 0, strong: 0, causal: 0, quiet: 0 };
  const staleness = STALENESS_MS.map((upToMs) => ({ upToMs, reads: 0 }));
  let maxStalenessMs = 0;
  let ofReleases = 0;
  const released = new Set(
    of('peer')
      .filter(({ client }) => client.includes('/releases/'))
      .map(({ peer }) => peer),
  );
  function judge(read: Read, peer: number): void {
    // What an old release answers cannot be mended any more. What it writes and stores counts.
    if (released.has(peer)) {
      ofReleases += 1;
      return;
    }
    reads[read.mode] += 1;
    const artifact = artifacts.get(read.artifact);
    const say = (): string =>
      `peer ${peer} read module ${read.module} (${read.mode}) from ${read.began.toFixed(2)} to ${read.ended.toFixed(2)} and got artifact ${read.artifact}`;
    if (artifact === undefined) {
      violate('an answer can be explained', read.ended, `${say()}, which nobody knows`);
      return;
    }
    // In each life that the read may have been of; one that makes it right is enough.
    let worst: { rule: string; detail: string } | undefined;
    let staleMs = Number.POSITIVE_INFINITY;
    for (const [index, life] of lives.entries()) {
      if (read.ended < life.beginsBetween[0] || read.began > life.endsBetween[1]) continue;
      artifact.times[index] ??= timesOf(artifact.parts, lives, index);
      const times = artifact.times[index] as Times;
      const wrong = wrongIn(read, times, artifact, life);
      staleMs = Math.min(staleMs, Math.max(0, read.began - times.outdated));
      if (wrong === undefined) {
        worst = undefined;
        break;
      }
      worst = wrong;
    }
    if (read.mode === 'bounded') {
      maxStalenessMs = Math.max(maxStalenessMs, staleMs);
      const bucket = staleness.find(({ upToMs }) => staleMs <= upToMs);
      if (bucket !== undefined) bucket.reads += 1;
    }
    if (worst !== undefined) {
      violate(
        worst.rule,
        read.ended,
        `${say()}: ${worst.detail}`,
        artifact.parts.map(([thing]) => thing),
        `${peer} ${read.artifact}`,
      );
    }
  }

  function wrongIn(
    read: Read,
    { from, outdated, missing }: Times,
    artifact: Artifact,
    life: Life,
  ): { rule: string; detail: string } | undefined {
    if (missing !== undefined) {
      return {
        rule: 'only what was committed is read',
        detail: `version ${missing[1]} of thing ${missing[0]} was never committed`,
      };
    }
    if (read.ended < from) {
      return {
        rule: 'nothing is newer than its source',
        detail: `a part of it was not committed before ${from.toFixed(2)}`,
      };
    }
    if (read.cached && from > outdated) {
      return {
        rule: 'the parts of an artifact belong together',
        detail: `one part was outdated by ${outdated.toFixed(2)}, another not true before ${from.toFixed(2)}`,
      };
    }
    if ((read.mode === 'bounded' || read.mode === 'causal') && outdated + (run?.boundMs ?? 0) < read.began) {
      return {
        rule: 'a bounded read is no staler than the bound',
        detail: `outdated since ${outdated.toFixed(2)}`,
      };
    }
    if (read.mode === 'strong' && outdated < read.began) {
      return {
        rule: 'a strong read sees what was acknowledged before',
        detail: `outdated since ${outdated.toFixed(2)}`,
      };
    }
    if (read.mode === 'quiet' && outdated < read.began) {
      return {
        rule: 'after quiet every peer has the newest',
        detail: `outdated since ${outdated.toFixed(2)}`,
      };
    }
    if (read.mode === 'causal') {
      const write = writes.get(read.after);
      for (const written of write?.versions ?? []) {
        const part = artifact.parts.find(([thing]) => thing === written.thing);
        const held = part === undefined ? undefined : life.bySource.get(part[1]);
        // A write that this life lost cannot be seen any more.
        if (held !== undefined && life.bySource.has(written.version) && held.seq < written.seq) {
          return {
            rule: 'a causal read sees what it comes after',
            detail: `it has seq ${held.seq} of thing ${written.thing}, write ${read.after} made seq ${written.seq}`,
          };
        }
      }
    }
    return undefined;
  }

  for (const file of files) {
    const peer = /^peer-(\d+)\.reads$/.exec(file)?.[1];
    if (peer !== undefined) await eachRead(folder, file, (read) => judge(read, Number(peer)));
  }
  for (const [id, artifact] of artifacts) {
    const own = artifact.parts.find(([thing]) => thing === artifact.module);
    const imports = lives
      .map((life) => life.bySource.get(own?.[1] ?? -1)?.imports)
      .find((each) => each !== undefined);
    const lacking = imports?.filter((each) => !artifact.parts.some(([thing]) => thing === each));
    if (lacking?.length && !artifact.split) {
      violate(
        'the parts of an artifact belong together',
        0,
        `artifact ${id} lacks ${lacking.join(', ')}, which its source imports`,
        [artifact.module],
      );
    }
  }
  for (const { at, what, peer } of of('wrong'))
    violate('no process sees anything odd', at, `peer ${peer}: ${what}`);
  for (const entry of conductor)
    if (entry.type === 'wrong') violate('no process sees anything odd', entry.at, entry.what);

  const refused = new Map<string, number>();
  for (const { code = '', message = '', where = '', outcome, isolation, at, peer } of of('outcome')) {
    if (outcome !== 'refused') continue;
    count(refused, `${code} ${message.replaceAll(/\d+/g, 'N')} (${isolation})`);
    if (!isOfPostgres(code, isolation, where)) {
      violate(
        'no transaction of a user fails because of the cache',
        at,
        `peer ${peer}: ${code} ${message} ${where}`,
      );
    }
  }
  const failedReads = new Map<string, number>();
  for (const { code, message } of of('failed read'))
    count(failedReads, `${code} ${message.replaceAll(/\d+/g, 'N')}`);

  const productions = of('production');
  const duplicates = findDuplicates();
  function findDuplicates(): Verdict['duplicates'] {
    const found = { unexplained: 0, explained: 0 };
    const made = new Map<string, typeof productions>();
    for (const production of productions) {
      if (production.how !== 'made') continue;
      const name = `${production.module} ${production.variant}`;
      const list = made.get(name);
      if (list === undefined) made.set(name, [production]);
      else list.push(production);
    }
    const changes = [...writes.values()].map((write) => ({
      from: write.commits,
      to:
        outcomes.get(write.write)?.outcome === 'committed'
          ? (outcomes.get(write.write)?.at ?? Number.POSITIVE_INFINITY)
          : write.commits + 60_000,
    }));
    for (const list of made.values()) {
      list.sort((a, b) => a.began - b.began);
      for (let i = 1; i < list.length; i += 1) {
        const first = list[i - 1] as (typeof list)[number];
        const second = list[i] as (typeof list)[number];
        if (second.began >= first.ended) continue;
        const from = first.began - 2_000;
        const disturbed =
          faults.some((fault) => fault.began - 1_000 < second.began && fault.ended + 3_000 > from) ||
          changes.some((change) => change.from < second.began && change.to > from);
        if (disturbed) found.explained += 1;
        else {
          found.unexplained += 1;
          violate(
            'one producer at a time',
            second.began,
            `module ${second.module}: peers ${first.peer} and ${second.peer} made artifacts ${first.artifact} and ${second.artifact} at once`,
            [second.module],
          );
        }
      }
    }
    return found;
  }

  const recovery: Verdict['recovery'] = new Map();
  for (const { kind, recoveredMs, failed } of faults) {
    const of = recovery.get(kind) ?? { count: 0, recovered: [], failed: 0 };
    recovery.set(kind, of);
    if (failed === undefined) of.count += 1;
    else of.failed += 1;
    if (recoveredMs !== null) of.recovered.push(recoveredMs);
  }
  const inVain = of('looked in vain').reduce((sum, { count }) => sum + count, 0);
  const byOutcome = (outcome: string): number =>
    [...outcomes.values()].filter((each) => each.outcome === outcome).length;
  const allReads = Object.values(reads).reduce((sum, each) => sum + each, 0);
  return {
    seed: run.seed,
    seconds: run.ended / 1000,
    operations: allReads + outcomes.size + of('failed read').length + inVain,
    inVain,
    reads,
    ofReleases,
    writes: {
      committed: byOutcome('committed'),
      rolledBack: byOutcome('rolled back'),
      refused: byOutcome('refused'),
      unknown: byOutcome('unknown'),
    },
    productions: productions.length,
    duplicates,
    faults: faults.filter(({ failed }) => failed === undefined).length,
    violations,
    violationCount,
    firstViolationAt,
    staleness,
    maxStalenessMs,
    refused,
    failedReads,
    recovery,
  };

  function historyAround(
    at: number,
    things: ReadonlySet<number>,
    all: typeof entries,
    faultList: typeof faults,
  ): string[] {
    const near = (time: number): boolean => Math.abs(time - at) < AROUND_MS;
    const lines: [number, string][] = [];
    for (const entry of all) {
      if (entry.type === 'write' && (near(entry.commits) || near(outcomes.get(entry.write)?.at ?? 0))) {
        const own = entry.versions.filter(({ thing }) => things.has(thing));
        const outcome = outcomes.get(entry.write);
        if (own.length > 0) {
          lines.push([
            entry.commits,
            `write ${entry.write} of peer ${entry.peer} (${entry.isolation}): ${own.map(({ thing, version, seq }) => `thing ${thing} seq ${seq} = ${version}`).join(', ')}; ${outcome?.outcome ?? 'no outcome'} at ${outcome?.at.toFixed(2) ?? '?'}`,
          ]);
        }
      }
      if (entry.type === 'production' && near(entry.ended) && things.has(entry.module)) {
        lines.push([
          entry.began,
          `peer ${entry.peer} made artifact ${entry.artifact} of module ${entry.module}: ${entry.how} at ${entry.ended.toFixed(2)}`,
        ]);
      }
    }
    for (const fault of faultList) {
      if (fault.began < at + AROUND_MS && fault.ended > at - AROUND_MS)
        lines.push([fault.began, `fault: ${fault.kind} until ${fault.ended.toFixed(2)}`]);
    }
    return lines
      .sort(([a], [b]) => a - b)
      .slice(-30)
      .map(([time, line]) => `${time.toFixed(2)} ${line}`);
  }
}

function count(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}

/**
 * Whether Postgres itself refuses the transaction, whatever the application called in it: the connection or the server
 * went, a limit was set, resources ran out, or serializable transactions of the application conflict, which can come out
 * at any statement.
 */
function isOfPostgres(code: string, isolation: string, where: string): boolean {
  if (/^(08|57P|57014|25P0|53|ECONN|EPIPE|ETIMEDOUT|CONNECTION_|CONNECT_TIMEOUT|EHOSTUNREACH)/.test(code))
    return true;
  // The application of a run has no functions.
  return code === '40001' && (isolation === 'serializable' || !/module_cache|PL\/pgSQL/.test(where));
}
