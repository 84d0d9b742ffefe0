/*
 * Has spin search the model of the protocol completely, in several configurations; then takes out one guard at a time,
 * which has to break a property; then asks for states that a model in which nothing happens would not have.
 * `ONLY=text` for the lines that contain it, `VERBOSE=1` to see how the first guard is missed.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const model = fileURLToPath(new URL('coherence.pml', import.meta.url));
const AT_A_TIME = 2;
const MEMORY_MB = 2_000;
const MAX_DEPTH = 100_000;

const A = 1;
const B = 2;
const REALM = 4;

/**
 * Bounds are those of the model's head; what a configuration does not name is not in it. Without the check at put
 * everything has to hold as well: it saves work, the check at read is what makes the cache right.
 */
const configurations = {
  'two producers': { MEMORIES: 0, TXS: 3, KINDS: B + REALM },
  'a writer reads its own': { MEMORIES: 0, TXS: 2, KINDS: A + B + REALM, WRITER_READS: 1 },
  'a producer, and a peer with memory': { MEMORIES: 1, TXS: 2, KINDS: B + REALM },
  'two peers with memory': { MEMORIES: 2, TXS: 1, KINDS: REALM },
  'callers share a flight': { MEMORIES: 1, PEERS: 1, TXS: 2, KINDS: A + B + REALM, LOSS: 1, SHARED: 1 },
  'strong reads': { MEMORIES: 1, TXS: 2, KINDS: B, STRONG: 1 },
  'notifications lost': { MEMORIES: 1, PEERS: 1, TXS: 3, KINDS: B, LOSS: 1 },
  maxStaleness: { MEMORIES: 1, PEERS: 1, TXS: 2, KINDS: B, LOSS: 1, STALENESS: 1 },
  'garbage, two producers': { MEMORIES: 0, TXS: 3, KINDS: B, GARBAGE: 1 },
  'garbage, memory': { MEMORIES: 1, PEERS: 1, TXS: 2, KINDS: B, GARBAGE: 1 },
  'garbage, no check at put': {
    MEMORIES: 0,
    TXS: 2,
    KINDS: B + REALM,
    GARBAGE: 1,
    MUTATION: 'check_at_put',
  },
  'memory, no check at put': {
    MEMORIES: 1,
    PEERS: 1,
    TXS: 2,
    KINDS: B,
    GARBAGE: 1,
    MUTATION: 'check_at_put',
  },
  'crash and garbage': { MEMORIES: 0, PEERS: 1, TXS: 2, KINDS: B, LIVES: 2, GARBAGE: 1 },
  'crash, two producers': { MEMORIES: 0, TXS: 2, KINDS: B, LIVES: 2 },
  'crash, memory': { MEMORIES: 1, PEERS: 1, TXS: 2, KINDS: B, LIVES: 2, OLD_SERVER: 1 },
};

/** What is taken out, the model's name for it, and the configuration in which that has to show. */
const mutations = [
  ['the check at read', 'check_at_read', 'two producers'],
  ['the key of the dependency', 'dependency_key', 'two producers'],
  ['the key of the realm', 'realm_key', 'two producers'],
  ['a token is taken before the sources are read', 'token_first', 'two producers'],
  ['put keeps the token it was given', 'own_token', 'two producers'],
  ['a token is a snapshot, not the highest id', 'snapshot_not_number', 'two producers'],
  ['the change and its generation commit together', 'one_commit', 'two producers'],
  ['no token inside a transaction that has written', 'null_token', 'a writer reads its own'],
  ['the row and its token come from one snapshot', 'one_snapshot', 'a producer, and a peer with memory'],
  ['the fill rule', 'fill_rule', 'a producer, and a peer with memory'],
  ['who comes after an invalidation shares no older work', 'late_callers', 'callers share a flight'],
  ['a catch-up asks for what was in progress', 'xip_of_cursor', 'a producer, and a peer with memory'],
  [
    'after: the cursor has seen it, not only later ones',
    'causal_by_snapshot',
    'a producer, and a peer with memory',
  ],
  ['strong: the put was visible when memory was filled', 'put_seen_by_strong', 'strong reads'],
  ['the log is applied after a reconnect', 'log_after_reconnect', 'notifications lost'],
  ['memory is read only while it is fresh', 'fresh_at_all', 'maxStaleness'],
  ['freshness counts from the begin of the catch-up', 'fresh_since_begin', 'maxStaleness'],
  ['the floor at read', 'floor_at_read', 'garbage, two producers'],
  ['the newest log row stays', 'newest_row_stays', 'garbage, two producers'],
  ['an artifact is judged before it is moved', 'judge_before_moving', 'garbage, two producers'],
  ['the floor of the cursor', 'floor_of_cursor', 'garbage, memory'],
  ['the epoch at put', 'epoch_at_put', 'crash, two producers'],
  ['rows without an epoch count in the next one', 'row_without_epoch', 'crash, two producers'],
  ['the life of what is kept in memory', 'life_of_entry', 'crash, memory'],
  ['a drop-all voids the fills in flight', 'drop_all_voids', 'crash, memory'],
  ['ids heard after a reconnect may be of another life', 'ids_of_life', 'crash, memory'],
  ['after: the life of the token', 'causal_of_life', 'crash, memory'],
];

/** Numbers of the model's marks. */
const reachable = [
  ['a hit in memory', 1, 'a producer, and a peer with memory'],
  ['a hit in the database after garbage was collected', 2, 'garbage, two producers'],
  ['a put that is rejected as stale', 3, 'two producers'],
  ['a hit in the database after a crash', 4, 'crash, two producers'],
  ['an older transaction that commits after a younger one', 5, 'two producers'],
  ['an answer that the fill rule keeps out', 6, 'a producer, and a peer with memory'],
  ['a causal read from memory', 7, 'a producer, and a peer with memory'],
  ['a put that finds a newer artifact', 8, 'two producers'],
  ['a cursor that has fallen below the floor', 9, 'garbage, memory'],
  ['an outdated artifact that was stored nevertheless', 10, 'two producers'],
  ['a put of another life', 11, 'crash, two producers'],
  ['a hit in memory when all is quiet', 12, 'a producer, and a peer with memory'],
  ['a hit in memory after maxStaleness', 13, 'maxStaleness'],
  ['a strong read from memory', 14, 'strong reads'],
  ['a caller that shares a flight', 15, 'callers share a flight'],
];

const folder = mkdtempSync(join(tmpdir(), `module-cache-model-${process.pid}-`));
const interrupted = new AbortController();
const { signal } = interrupted;
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(name, () => {
    interrupted.abort();
    rmSync(folder, { recursive: true, force: true });
    process.kill(process.pid, name);
  });
}

try {
  process.exitCode = (await main()) ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

async function main() {
  const jobs = [
    ...Object.keys(configurations).map((name) => ({ kind: 'complete', name, configuration: name, more: {} })),
    ...mutations.map(([name, guard, configuration]) => {
      return { kind: 'without', name, configuration, more: { MUTATION: guard } };
    }),
    ...reachable.map(([name, n, configuration]) => ({
      kind: 'reached',
      name,
      configuration,
      more: { REACH: n },
    })),
  ].filter(({ kind, name }) => `${kind} ${name}`.includes(process.env.ONLY ?? ''));
  if (jobs.length === 0) throw new Error(`nothing is called ${process.env.ONLY}`);

  const rest = [...jobs.entries()];
  let failed = 0;
  let shown = false;
  const work = async () => {
    for (let next = rest.shift(); next !== undefined; next = rest.shift()) {
      const [number, job] = next;
      const outcome = await look(job, join(folder, String(number)));
      if (!outcome.good) failed += 1;
      console.log(`${outcome.good ? '' : 'FAILED: '}${job.kind} | ${job.name} | ${outcome.line}`);
      if (outcome.trail !== undefined && process.env.VERBOSE && !shown) {
        shown = true;
        console.log(outcome.trail);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, work));
  console.log(`${jobs.length} searches, ${jobs.length - failed} as they have to be`);
  return failed === 0;
}

async function look({ kind, configuration, more }, place) {
  const bounds = configurations[configuration];
  const flags = Object.entries({ ...bounds, ...more }).map(([name, value]) => `-D${name}=${value}`);
  await run('mkdir', ['-p', place]);
  const at = { cwd: place, signal, maxBuffer: 1e9 };
  const began = performance.now();
  await run('spin', ['-a', ...flags, model], at);
  // Breadth first the counterexample is a shortest one; depth first the whole search takes less memory.
  const how = kind === 'complete' ? ['-DCOLLAPSE'] : ['-DCOLLAPSE', '-DBFS'];
  await run(
    'gcc',
    ['-O2', '-w', '-DSAFETY', '-DNOFAIR', `-DMEMLIM=${MEMORY_MB}`, ...how, '-o', 'pan', 'pan.c'],
    at,
  );
  const { stdout } = await run('./pan', [`-m${MAX_DEPTH}`, '-n'], at).catch((error) => {
    if (typeof error.code !== 'number') throw error;
    return error;
  });
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  const number = (pattern) => Number(pattern.exec(stdout)?.[1] ?? Number.NaN);
  const errors = number(/errors: (\d+)/);
  const states = number(/(\d+) states, stored/);
  const depth = number(/depth reached (\d+)/);
  const cut =
    /max search depth too small|out of memory|memory bound|Search not completed|hash-?compact/i.exec(stdout);

  if (kind === 'complete') {
    const good = errors === 0 && cut === null && states > 0;
    const verdict = good ? 'complete, holds' : (cut?.[0] ?? 'a property is broken');
    const found = errors > 0 ? await replay(at, flags) : undefined;
    const bound = Object.entries(bounds).map((entry) => entry.join('='));
    return {
      good,
      line: [
        bound.join(' '),
        `${states} states, depth ${depth}`,
        `${seconds} s`,
        found?.broken ?? verdict,
      ].join(' | '),
      trail: found?.trail,
    };
  }
  if (!(errors > 0))
    return { good: false, line: `${configuration} | NOT FOUND in ${states} states | ${seconds} s` };
  const { broken, steps, trail } = await replay(at, flags);
  // A mark is no property: without it spin has to find a property broken, and with it nothing else.
  const good = (kind === 'without') === (broken !== undefined);
  const what = broken ?? (good ? 'found' : 'stopped by a mark');
  return { good, line: `${configuration} | ${what} | ${steps} steps | ${seconds} s`, trail };
}

/** Follows the trail of a counterexample. */
async function replay(at, flags) {
  const { stdout } = await run(
    'spin',
    ['-t', '-k', 'coherence.pml.trail', '-p', '-g', ...flags, model],
    at,
  ).catch((e) => e);
  const steps = readFileSync(join(at.cwd, 'coherence.pml.trail'), 'utf8').trim().split('\n').length;
  const broken =
    /BROKEN: (.*)/.exec(stdout)?.[1] ?? (/^#?\s*invalid end state/m.test(stdout) ? 'no deadlock' : undefined);
  return { broken, steps, trail: stdout };
}
