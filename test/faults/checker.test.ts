import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { check } from './checker.js';
import { createRecorder, type Entry, type Read, type Recorder, type Version } from './support/history.js';

/**
 * Histories made by hand: what the checker has to call wrong, and what it has to let pass although it looks odd. Things
 * 0 to 9 are modules, a version is 100 times the thing plus its seq, and every write writes one thing.
 */

const BOUND_MS = 1_000;

let folder: string;
let conductor: Recorder;
let peer: Recorder;
let writes: number;
let survivors: Version[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'module-cache-checker-'));
  conductor = createRecorder(folder, 'conductor');
  peer = createRecorder(folder, 'peer-1');
  writes = 0;
  survivors = Array.from({ length: 10 }, (_, thing) => version(thing, 0));
  peer.write({ type: 'peer', peer: 1, client: 'file:///dist/index.js', variant: '' });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function version(thing: number, seq: number, number = 100 * thing + seq): Version {
  return { thing, seq, version: number, imports: [] };
}

interface Written extends Version {
  write: number;
}

type Outcome = Extract<Entry, { type: 'outcome' }>;

/** A commit sent at `commits` and answered at `answered`; `survives` says whether it is there at the end. */
function write(
  { thing, seq, version: number, imports }: Version,
  commits: number,
  answered: number | undefined,
  how: Partial<Outcome> & { survives?: boolean } = {},
): Written {
  writes += 1;
  const { survives = answered !== undefined && how.outcome === undefined, ...outcome } = how;
  const versions = [{ thing, seq, version: number, imports }];
  const isolation = how.isolation ?? 'read committed';
  peer.write({ type: 'write', write: writes, began: commits - 5, commits, versions, isolation });
  if (answered !== undefined) {
    peer.write({
      type: 'outcome',
      write: writes,
      at: answered,
      isolation,
      outcome: 'committed',
      ...outcome,
    });
  }
  if (survives) survivors.push(...versions);
  return { thing, seq, version: number, imports, write: writes };
}

let artifacts = 0;
function artifact(parts: Version[], split = false): number {
  artifacts += 1;
  const [{ thing: module }] = parts as [Version];
  peer.write({
    type: 'artifact',
    artifact: artifacts,
    module,
    parts: parts.map(({ thing, version }) => [thing, version]),
    split,
  });
  return artifacts;
}

function read(of: number, began: number, how: Partial<Read> = {}): void {
  peer.read({
    began,
    ended: began + 5,
    module: 0,
    mode: 'bounded',
    artifact: of,
    after: 0,
    cached: true,
    ...how,
  });
}

function loseLife(began: number, ended: number, lost: Version[]): void {
  survivors = survivors.filter(({ version }) => !lost.some((each) => each.version === version));
  conductor.write({ type: 'life', began, ended, survivors: JSON.stringify(survivors) });
}

/** The rules that were broken. */
async function broken(ended = 100_000): Promise<string[]> {
  conductor.write({ type: 'life', began: ended, ended, survivors: JSON.stringify(survivors) });
  conductor.write({
    type: 'run',
    seed: 1,
    boundMs: BOUND_MS,
    modules: 10,
    peers: 1,
    ended,
    interrupted: false,
  });
  conductor.close();
  peer.close();
  const { violations } = await check(folder);
  return violations.map(({ rule }) => rule);
}

const BOUNDED = 'a bounded read is no staler than the bound';
const STRONG = 'a strong read sees what was acknowledged before';
const CAUSAL = 'a causal read sees what it comes after';
const QUIET = 'after quiet every peer has the newest';
const TOGETHER = 'the parts of an artifact belong together';
const COMMITTED = 'only what was committed is read';
const NEWER = 'nothing is newer than its source';
const ONE_PRODUCER = 'one producer at a time';
const USERS = 'no transaction of a user fails because of the cache';

describe('one life', () => {
  test('what is true, and what became outdated during the read or within the bound, is right', async () => {
    const old = artifact([version(0, 0)]);
    write(version(0, 1), 10_000, 10_010);
    const current = artifact([version(0, 1)]);
    read(old, 9_000);
    read(old, 10_005, { mode: 'strong' });
    read(old, 10_010 + BOUND_MS, { mode: 'bounded' });
    read(current, 9_999);
    read(current, 20_000, { mode: 'quiet' });
    expect(await broken()).toEqual([]);
  });

  test('a bounded read beyond the bound', async () => {
    const old = artifact([version(0, 0)]);
    write(version(0, 1), 10_000, 10_010);
    read(old, 10_020 + BOUND_MS);
    expect(await broken()).toEqual([BOUNDED]);
  });

  test('a causal read of something else is bounded as well', async () => {
    const old = artifact([version(0, 0)]);
    write(version(0, 1), 10_000, 10_010);
    const other = write(version(1, 1), 10_020, 10_030);
    read(old, 10_020 + BOUND_MS, { mode: 'causal', after: other.write });
    expect(await broken()).toEqual([BOUNDED]);
  });

  test('a strong read of what was outdated before it began', async () => {
    const old = artifact([version(0, 0)]);
    write(version(0, 1), 10_000, 10_010);
    read(old, 10_011, { mode: 'strong' });
    expect(await broken()).toEqual([STRONG]);
  });

  test('a strong read of what was outdated by a commit that nobody answered, but that was written over', async () => {
    const old = artifact([version(0, 0)]);
    write(version(0, 1), 10_000, undefined, { survives: true });
    write(version(0, 2), 10_100, 10_110);
    read(old, 10_050, { mode: 'strong' });
    expect(await broken()).toEqual([]);
    beforeAgain();
    write(version(0, 1), 10_000, undefined, { survives: true });
    write(version(0, 2), 10_100, undefined, { survives: true });
    write(version(0, 3), 10_200, 10_210);
    read(artifact([version(0, 0)]), 10_150, { mode: 'strong' });
    expect(await broken()).toEqual([STRONG]);
  });

  test('a causal read that does not see the write of its token', async () => {
    const old = artifact([version(0, 0)]);
    const { write: after } = write(version(0, 1), 10_000, 10_010);
    read(old, 10_011, { mode: 'causal', after });
    expect(await broken()).toEqual([CAUSAL]);
  });

  test('after quiet, something outdated', async () => {
    const old = artifact([version(0, 0)]);
    write(version(0, 1), 10_000, 10_010);
    read(old, 10_500, { mode: 'quiet' });
    expect(await broken()).toEqual([QUIET]);
  });

  test('an artifact of parts that were never true at once', async () => {
    write(version(1, 1), 10_000, 10_010);
    write(version(0, 1), 10_020, 10_030);
    const mixed = artifact([version(0, 1), version(1, 0)], true);
    read(mixed, 10_040);
    expect(await broken()).toEqual([TOGETHER]);
  });

  test('the same, if it was not kept: its producer read in several snapshots', async () => {
    write(version(1, 1), 10_000, 10_010);
    write(version(0, 1), 10_020, 10_030);
    read(artifact([version(0, 1), version(1, 0)], true), 10_040, { cached: false });
    expect(await broken()).toEqual([]);
  });

  test('an artifact without what its source imports', async () => {
    write({ ...version(0, 1), imports: [3] }, 10_000, 10_010);
    read(artifact([version(0, 1)]), 10_020);
    expect(await broken()).toEqual([TOGETHER]);
  });

  test('a version that was rolled back', async () => {
    write(version(0, 1), 10_000, 10_010, { outcome: 'rolled back' });
    read(artifact([version(0, 1)]), 10_020);
    expect(await broken()).toEqual([COMMITTED]);
  });

  test('a version that is read before its commit was sent', async () => {
    write(version(0, 1), 10_000, 10_010);
    read(artifact([version(0, 1)]), 9_900);
    expect(await broken()).toEqual([NEWER]);
  });

  test('an answer that nobody can explain', async () => {
    read(4_711, 10_000);
    expect(await broken()).toEqual(['an answer can be explained']);
  });

  test('two producers of one artifact at once, and none where a change or a fault explains it', async () => {
    const made = (began: number, ended: number, module = 0): void =>
      peer.write({
        type: 'production',
        artifact: artifact([version(module, 0)]),
        module,
        variant: '',
        began,
        ended,
        how: 'made',
      });
    made(10_000, 10_100);
    made(10_200, 10_300);
    made(20_000, 20_100);
    write(version(5, 1), 20_010, 20_020);
    made(20_050, 20_150);
    made(30_000, 30_100, 1);
    conductor.write({ type: 'fault', kind: 'any', began: 30_010, ended: 30_020, recoveredMs: 0 });
    made(30_050, 30_150, 1);
    expect(await broken()).toEqual([]);
    beforeAgain();
    made(10_000, 10_100);
    made(10_050, 10_150);
    expect(await broken()).toEqual([ONE_PRODUCER]);
  });

  test.each([
    ['23505', 'duplicate key', 'read committed', '', true],
    ['40P01', 'deadlock detected', 'read committed', '', true],
    ['40001', 'could not serialize', 'repeatable read', 'PL/pgSQL function module_cache.invalidate', true],
    [
      '40001',
      'could not serialize',
      'repeatable read',
      'PL/pgSQL function invalidate(text,text[]) line 17',
      true,
    ],
    ['40001', 'could not serialize', 'repeatable read', '', false],
    ['40001', 'could not serialize', 'serializable', '', false],
    ['53100', 'could not extend file', 'read committed', 'PL/pgSQL function module_cache.invalidate', false],
    ['57P01', 'terminating connection', 'read committed', '', false],
    ['ECONNRESET', 'read ECONNRESET', 'read committed', '', false],
  ])(
    'a transaction of a user that fails with %s (%s, %s, %s): is it the cache? %s',
    async (code, message, isolation, where, isOurs) => {
      write(version(0, 1), 10_000, 10_010, { outcome: 'refused', code, message, isolation, where });
      expect(await broken()).toEqual(isOurs ? [USERS] : []);
    },
  );

  test('what a process or the conductor noticed itself', async () => {
    peer.write({ type: 'wrong', at: 1, what: 'a torn body' });
    conductor.write({ type: 'wrong', at: 2, what: 'no recovery within a minute' });
    expect(await broken()).toEqual(['no process sees anything odd', 'no process sees anything odd']);
  });
});

/** Another history in the same test. */
function beforeAgain(): void {
  rmSync(folder, { recursive: true, force: true });
  folder = mkdtempSync(join(tmpdir(), 'module-cache-checker-'));
  conductor = createRecorder(folder, 'conductor');
  peer = createRecorder(folder, 'peer-1');
  writes = 0;
  survivors = Array.from({ length: 10 }, (_, thing) => version(thing, 0));
}

describe('a life that is lost from 20,000 to 21,000', () => {
  test('what was lost is right before, and within the bound afterwards', async () => {
    const lost = write(version(0, 1), 19_000, 19_010);
    const of = artifact([lost]);
    read(of, 19_020, { mode: 'strong' });
    read(of, 20_500, { mode: 'strong' });
    read(of, 20_990, { ended: 23_000, mode: 'strong' });
    read(of, 21_000 + BOUND_MS);
    loseLife(20_000, 21_000, [lost]);
    expect(await broken()).toEqual([]);
  });

  test.each([
    ['bounded', 21_010 + BOUND_MS, BOUNDED],
    ['strong', 21_010, STRONG],
    ['quiet', 21_010, QUIET],
  ] as const)('what was lost, %s, afterwards', async (mode, began, rule) => {
    const lost = write(version(0, 1), 19_000, 19_010);
    read(artifact([lost]), began, { mode });
    loseLife(20_000, 21_000, [lost]);
    expect(await broken()).toEqual([rule]);
  });

  test('what it had outdated is true again', async () => {
    const old = artifact([version(0, 0)]);
    const lost = write(version(0, 1), 19_000, 19_010);
    loseLife(20_000, 21_000, [lost]);
    read(old, 30_000, { mode: 'strong' });
    expect(await broken()).toEqual([]);
  });

  test('but not before', async () => {
    const old = artifact([version(0, 0)]);
    const lost = write(version(0, 1), 18_000, 18_010);
    read(old, 19_900);
    loseLife(20_000, 21_000, [lost]);
    expect(await broken()).toEqual([BOUNDED]);
  });

  test('what survived stays outdated, or true', async () => {
    const old = artifact([version(0, 0)]);
    const kept = write(version(0, 1), 18_000, 18_010);
    loseLife(20_000, 21_000, []);
    read(artifact([kept]), 30_000, { mode: 'strong' });
    read(old, 30_000, { mode: 'strong' });
    expect(await broken()).toEqual([STRONG]);
  });

  test('what survived although nobody answered is known afterwards', async () => {
    const old = artifact([version(0, 0)]);
    write(version(0, 1), 18_000, undefined, { survives: true });
    loseLife(20_000, 21_000, []);
    read(old, 20_900, { mode: 'strong' });
    expect(await broken()).toEqual([]);
    beforeAgain();
    write(version(0, 1), 18_000, undefined, { survives: true });
    loseLife(20_000, 21_000, []);
    read(artifact([version(0, 0)]), 21_010, { mode: 'strong' });
    expect(await broken()).toEqual([STRONG]);
  });

  test('a version of the next life beside one that was lost', async () => {
    const lost = write(version(0, 1), 19_000, 19_010);
    loseLife(20_000, 21_000, [lost]);
    const next = write(version(1, 1), 22_000, 22_010);
    read(artifact([lost, next], true), 22_020, { cached: true, mode: 'causal' });
    expect(await broken()).toEqual([TOGETHER]);
  });

  test('the next life writes the same seq anew', async () => {
    const old = artifact([version(0, 0)]);
    const lost = write(version(0, 1), 19_000, 19_010);
    loseLife(20_000, 21_000, [lost]);
    const again = write(version(0, 1, 9_999), 25_000, 25_010);
    read(old, 24_000, { mode: 'strong' });
    read(artifact([again]), 26_000, { mode: 'strong' });
    read(artifact([lost]), 19_500, { mode: 'strong' });
    expect(await broken()).toEqual([]);
    beforeAgain();
    const first = write(version(0, 1), 19_000, 19_010);
    loseLife(20_000, 21_000, [first]);
    write(version(0, 1, 9_999), 25_000, 25_010);
    read(artifact([version(0, 0)]), 26_000, { mode: 'strong' });
    expect(await broken()).toEqual([STRONG]);
  });

  test('a commit that was sent to the server of before, after its end, outdates nothing', async () => {
    const old = artifact([version(0, 0)]);
    const lost = write(version(0, 1), 19_000, 19_010);
    loseLife(20_000, 21_000, [lost]);
    // It had seen what is lost, and its connection is gone when it commits.
    write(version(0, 2), 21_100, 21_200, { outcome: 'unknown' });
    read(old, 22_500, { mode: 'strong' });
    expect(await broken()).toEqual([]);
  });

  test('an answer that arrives after the end is of the life before', async () => {
    const lost = write(version(0, 1), 19_900, 21_500, { survives: true });
    read(artifact([lost]), 19_950);
    loseLife(20_000, 21_000, [lost]);
    read(artifact([version(0, 0)]), 24_000, { mode: 'strong' });
    expect(await broken()).toEqual([]);
  });

  test('a commit without an answer may be lost', async () => {
    const lost = write(version(0, 1), 19_990, 20_300, { outcome: 'unknown' });
    read(artifact([lost]), 20_000, { mode: 'strong' });
    loseLife(20_000, 21_000, []);
    read(artifact([version(0, 0)]), 22_000, { mode: 'strong' });
    expect(await broken()).toEqual([]);
  });

  test('but not where another one of the same seq survived', async () => {
    const never = write(version(0, 1), 19_000, 19_300, { outcome: 'unknown' });
    write(version(0, 1, 9_999), 19_400, 19_410);
    read(artifact([never]), 19_500);
    loseLife(20_000, 21_000, []);
    expect(await broken()).toEqual([COMMITTED]);
  });

  test('a token of a write that is lost orders nothing afterwards; one of a write that survived does', async () => {
    const old = artifact([version(0, 0)]);
    const lost = write(version(0, 1), 19_000, 19_010);
    loseLife(20_000, 21_000, [lost]);
    read(old, 22_000, { mode: 'causal', after: lost.write });
    expect(await broken()).toEqual([]);
    beforeAgain();
    const kept = write(version(0, 1), 19_900, 19_910);
    loseLife(20_000, 20_100, []);
    read(artifact([version(0, 0)]), 20_500, { mode: 'causal', after: kept.write });
    expect(await broken()).toEqual([CAUSAL]);
  });

  test('set back across two lives: what the one before last had is lost with the last', async () => {
    const old = artifact([version(0, 0)]);
    const early = write(version(0, 1), 5_000, 5_010);
    const of = artifact([early]);
    loseLife(20_000, 21_000, []);
    read(of, 30_000, { mode: 'strong' });
    loseLife(40_000, 41_000, [early]);
    read(of, 41_500);
    read(old, 45_000, { mode: 'strong' });
    expect(await broken()).toEqual([]);
    beforeAgain();
    const before = write(version(0, 1), 5_000, 5_010);
    loseLife(20_000, 21_000, []);
    read(artifact([version(0, 0)]), 30_000, { mode: 'strong' });
    loseLife(40_000, 41_000, [before]);
    read(artifact([before]), 43_000);
    expect((await broken()).sort()).toEqual([BOUNDED, STRONG].sort());
  });
});
