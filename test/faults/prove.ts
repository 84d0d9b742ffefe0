/*
 * Proves that the checker sees: takes the guards of the protocol out one at a time, in the schema or in a build of the
 * client, and runs a fleet until its history shows it. Where it takes more luck than a minute has, the guard's own test
 * has to. `npm run prove -- --only text` for some of them. `--write` puts the table into docs/faults.md.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { makeBuilds } from '../mutations/builds.mjs';
import { allGuards } from '../mutations/guards.mjs';
import { runTests } from '../mutations/jest.mjs';
import type { Verdict } from './checker.js';
import { putInto, rowsIn } from './support/document.js';
import { soak } from './support/soak.js';

interface Mutation {
  guard: string;
  breaks: string;
  /** A name in test/protocol/support/guards.ts. */
  schema?: string;
  /** The test that is for it; it takes the guard out by itself. */
  schemaTest?: readonly [file: string, name: string];
  /** A guard of test/mutations, which knows its test, by its name. */
  client?: string;
  /** Options of the run that is most likely to need it. */
  options?: readonly string[];
}

/** What the others are compared with. */
const NOTHING = 'none is taken out';
const none = ['--faults', 'none'];
const cuts = ['--faults', 'cut,terminate,half open,stalled', '--faults-per-minute', '60'];

const mutations: readonly Mutation[] = [
  { guard: NOTHING, breaks: 'nothing: the checker finds nothing either' },
  {
    guard: 'check at read',
    breaks: 'what is stored while its invalidation commits is served for ever',
    schema: 'CHECK_AT_READ',
    schemaTest: [
      'test/protocol/in-flight.test.ts',
      'an invalidation that is not yet committed while put checks is not lost',
    ],
    options: none,
  },
  {
    guard: 'dependency keys',
    breaks: 'a module is served with the text of an import that has changed',
    schema: 'DEPENDENCIES',
    schemaTest: [
      'test/protocol/in-flight.test.ts',
      'a change of a dependency while its consumer is produced for the first time outdates the consumer',
    ],
    options: none,
  },
  {
    guard: 'realm key',
    breaks: 'a cleared realm is still served',
    schema: 'REALM_KEY',
    schemaTest: [
      'test/protocol/in-flight.test.ts',
      'a realm that is cleared while a path without a row is being produced stays cleared',
    ],
    options: none,
  },
  {
    guard: 'key of everything',
    breaks: 'clear_all clears nothing',
    schema: 'GLOBAL_KEY',
    schemaTest: [
      'test/protocol/in-flight.test.ts',
      'everything that is cleared while a path without a row is being produced stays cleared',
    ],
    options: none,
  },
  {
    guard: 'floor',
    breaks: 'garbage collection lets in what an invalidation had rejected',
    schema: 'FLOOR',
    schemaTest: ['test/protocol/oracle.test.ts', 'when the floor is taken out'],
    options: [...none, '--writes', '30'],
  },
  {
    guard: 'floor of cursors',
    breaks: 'a process that was away for long keeps what the log no longer tells of',
    schema: 'CURSOR_BELOW_THE_FLOOR',
    schemaTest: ['test/sql/changes.test.ts', 'a cursor whose log was collected means: drop everything'],
    options: ['--faults', 'refused,stalled,SIGSTOP', '--faults-per-minute', '60'],
  },
  {
    guard: 'transactions in progress at the cursor',
    breaks: 'who commits late is never heard of',
    schema: 'CURSOR_IN_PROGRESS',
    schemaTest: [
      'test/sql/changes.test.ts',
      'an invalidation that commits in another order than it began is not skipped',
    ],
    options: [...none, '--broadcast', 'log'],
  },
  {
    guard: 'no token in a transaction that has written',
    breaks: 'what was rolled back is served',
    schema: 'NO_TOKEN_IN_A_WRITER',
    schemaTest: [
      'test/protocol/in-flight.test.ts',
      'a token taken inside a transaction that invalidated and then rolls back stores nothing',
    ],
    options: none,
  },
  {
    guard: 'server start in the life',
    breaks: 'tokens and memory outlive a server that was set back',
    schema: 'SERVER_START',
    schemaTest: [
      'test/protocol/lives.test.ts',
      'the cache is warm, and the tokens and cursors of before are void',
    ],
    options: ['--faults', 'set back', '--faults-per-minute', '30'],
  },
  {
    guard: 'epoch row of its own',
    breaks: 'rows that a dump brought back count',
    schema: 'WRITTEN_BY',
    schemaTest: ['test/protocol/restore.test.ts', 'brings back no artifact, token or cursor'],
    options: ['--faults', 'restore', '--faults-per-minute', '30'],
  },
  {
    guard: 'cursor of another life',
    breaks: 'memory outlives a crash or a failover',
    schema: 'CURSOR_OF_ANOTHER_LIFE',
    schemaTest: ['test/sql/changes.test.ts', 'a cursor of another life means: drop everything'],
    options: ['--faults', 'failover,set back', '--faults-per-minute', '30'],
  },
  {
    guard: 'variant',
    breaks: 'one variant is served as another',
    schema: 'VARIANT_AT_READ',
    schemaTest: [
      'test/protocol/in-flight.test.ts',
      'two variants of one module keep their own bodies and dependencies',
    ],
    options: ['--faults', 'variant', '--faults-per-minute', '30'],
  },
  {
    guard: 'one claim at a time',
    breaks: 'two requests of one process produce one module at once',
    schema: 'CLAIM_ONCE',
    schemaTest: ['test/sql/claims.test.ts', 'a claim is false for what this session already holds'],
    options: none,
  },
  {
    guard: 'fill rule',
    breaks: 'an answer that comes after the news that outdate it stays in memory',
    client: 'the fill rule',
    options: [...none, '--writes', '30'],
  },
  {
    guard: 'news drop what is in memory',
    breaks: 'memory is as old as it likes',
    client: 'an invalidation drops what is in memory',
    options: none,
  },
  {
    guard: 'catch-up after a reconnect',
    breaks: 'what happened while the connection was away comes a heartbeat late',
    client: 'catch-up after a reconnect',
    options: cuts,
  },
  {
    guard: 'catch-up at the heartbeat',
    breaks: 'a notification that is lost, or was not sent, is never made up for',
    client: 'catch-up at the heartbeat',
    options: cuts,
  },
  {
    guard: 'staleness limit',
    breaks: 'a process that is cut off serves what it has for ever',
    client: 'memory is served only while it is fresh',
    options: ['--faults', 'refused,stalled,SIGSTOP', '--faults-per-minute', '60'],
  },
  {
    guard: 'a strong read asks',
    breaks: 'a strong read returns what memory has',
    client: 'a strong read asks whether memory is current',
    options: [...none, '--writes', '30'],
  },
  {
    guard: 'a strong read does not join older work',
    breaks: 'a strong read returns what was read before it began',
    client: 'a strong read never joins older work',
    options: [...none, '--writes', '30'],
  },
  {
    guard: 'a token is waited for',
    breaks: 'a causal read does not see the write that it comes after',
    client: 'a token counts only once the cursor has seen it',
    options: [...none, '--writes', '30'],
  },
  {
    guard: 'incomplete changes drop everything',
    breaks: 'memory outlives what the log no longer tells of',
    client: 'incomplete changes drop everything',
    options: ['--faults', 'refused,stalled,SIGSTOP,restarted', '--faults-per-minute', '60'],
  },
];

const program = new Command('prove')
  .description('Takes out one guard after the other: the checker has to find each.')
  .option('--only <text>', 'those whose name contains it', '')
  .option('--write', 'put the table into docs/faults.md')
  .parse();
const { only, write } = program.opts<{ only: string; write?: boolean }>();

/** Longer and longer, each with a seed of its own. */
const WINDOWS_S = [12, 25, 60];
const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), `module-cache-test-${process.pid}-`));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

const chosen = mutations.filter(({ guard }) => guard.includes(only));
if (chosen.length === 0) program.error(`error: no guard is called ${only}`);
const guards = chosen.map(({ client }) => {
  if (client === undefined) return undefined;
  const guard = allGuards.find(({ name }) => name === client);
  if (guard === undefined) throw new Error(`test/mutations has no guard "${client}"`);
  return { ...guard };
});
const inClient = guards.filter((guard) => guard !== undefined);
if (inClient.length > 0) await makeBuilds({ root, folder }, inClient);

const rows: string[][] = [];
let missed = 0;
for (const [index, mutation] of chosen.entries()) {
  const guard = guards[index];
  const args = ['--peers', '6', ...(mutation.options ?? [])];
  if (mutation.schema !== undefined) args.push('--without', mutation.schema);
  if (guard !== undefined) {
    if (guard.problem !== undefined) throw new Error(`${guard.name}: ${guard.problem}`);
    const build = join(folder, 'client');
    rmSync(build, { recursive: true, force: true });
    cpSync(join(folder, '0'), build, { recursive: true });
    cpSync(guard.build as string, build, { recursive: true });
    args.push('--client', build);
  }
  let found: Verdict | undefined;
  let spentMs = 0;
  for (const [attempt, seconds] of WINDOWS_S.entries()) {
    const window = ['--seed', String(attempt + 1), '--minutes', String(seconds / 60)];
    const verdict = await soak(...args, ...window).catch(({ message }: Error) => {
      console.log(message);
      return undefined;
    });
    if (verdict === undefined) break;
    if (verdict.violationCount > 0) {
      found = verdict;
      spentMs += verdict.firstViolationAt;
      break;
    }
    spentMs += seconds * 1000;
  }
  const isNothing = mutation.guard === NOTHING;
  let by = found?.violations[0]?.rule ?? '';
  let after = found === undefined ? 'nothing found' : `${(spentMs / 1000).toFixed(1)} s`;
  if (found === undefined && !isNothing) {
    by = (await ownTest(mutation, guard)) ?? '';
    after = by === '' ? 'NOT FOUND' : 'its own test';
  }
  if ((by === '') !== isNothing) missed += 1;
  console.log(`${mutation.guard}: ${after}${by && `: ${by}`}`);
  rows.push([mutation.guard, mutation.breaks, by, after]);
}
console.log(`${chosen.length} runs, ${chosen.length - missed} as they should be`);
if (write) {
  const document = join(root, 'docs/faults.md');
  // Of those that were left alone the table says what it said.
  const before = rowsIn(document, 'guards');
  const rowOf = ({ guard }: Mutation): string[] | undefined =>
    [...rows, ...before].find(([name]) => name === guard);
  const head = ['taken out', 'what breaks', 'rule that is found broken, or test', 'found after'];
  const known = mutations.map(rowOf).filter((row) => row !== undefined);
  const lines = [head, head.map(() => '---'), ...known].map((row) => `| ${row.join(' | ')} |`);
  putInto(document, 'guards', lines.join('\n'));
}
process.exitCode = missed === 0 ? 0 : 1;

/** Returns the name of the guard's own test, if that tells that it is missing. */
async function ownTest(
  { schemaTest }: Mutation,
  guard: (typeof guards)[number],
): Promise<string | undefined> {
  if (schemaTest !== undefined) {
    const [file, name] = schemaTest;
    return (await passes({ file, name }, join(root, 'dist'))) ? name : undefined;
  }
  if (guard === undefined || !(await passes(guard.test, join(folder, '0')))) return undefined;
  return (await passes(guard.test, join(folder, 'client'))) ? undefined : guard.test.name;
}

async function passes(test: { file: string; name: string }, build: string): Promise<boolean> {
  const results = await runTests({ root, folder }, build, [test], 60_000);
  if (results.length === 0) throw new Error(`${test.file} has no test "${test.name}"`);
  return results.every(({ passed }) => passed);
}
