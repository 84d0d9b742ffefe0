/*
 * Proves that the checker sees: takes the guards of the protocol out one at a time, in the schema or in a build of the
 * client, and runs a fleet until its history shows it. `npm run prove -- --only text` for some of them. `--write` puts
 * the table into docs/faults.md.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { makeBuilds } from '../mutations/builds.mjs';
import { allGuards } from '../mutations/guards.mjs';
import type { Verdict } from './checker.js';
import { putInto } from './support/document.js';
import { soak } from './support/soak.js';

interface Mutation {
  guard: string;
  breaks: string;
  /** A name in test/protocol/support/guards.ts. */
  schema?: string;
  /** A guard of test/mutations, by its name. */
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
    options: none,
  },
  {
    guard: 'dependency keys',
    breaks: 'a module is served with the text of an import that has changed',
    schema: 'DEPENDENCIES',
    options: none,
  },
  { guard: 'realm key', breaks: 'a cleared realm is still served', schema: 'REALM_KEY', options: none },
  { guard: 'key of everything', breaks: 'clear_all clears nothing', schema: 'GLOBAL_KEY', options: none },
  {
    guard: 'floor',
    breaks: 'garbage collection lets in what an invalidation had rejected',
    schema: 'FLOOR',
    options: [...none, '--writes', '30'],
  },
  {
    guard: 'floor of cursors',
    breaks: 'a process that was away for long keeps what the log no longer tells of',
    schema: 'CURSOR_BELOW_THE_FLOOR',
    options: ['--faults', 'refused,stalled,SIGSTOP', '--faults-per-minute', '60'],
  },
  {
    guard: 'transactions in progress at the cursor',
    breaks: 'who commits late is never heard of',
    schema: 'CURSOR_IN_PROGRESS',
    options: [...none, '--broadcast', 'log'],
  },
  {
    guard: 'no token in a transaction that has written',
    breaks: 'what was rolled back is served',
    schema: 'NO_TOKEN_IN_A_WRITER',
    options: none,
  },
  {
    guard: 'server start in the life',
    breaks: 'tokens and memory outlive a server that was set back',
    schema: 'SERVER_START',
    options: ['--faults', 'set back', '--faults-per-minute', '30'],
  },
  {
    guard: 'epoch row of its own',
    breaks: 'rows that a dump brought back count',
    schema: 'WRITTEN_BY',
    options: ['--faults', 'restore', '--faults-per-minute', '30'],
  },
  {
    guard: 'cursor of another life',
    breaks: 'memory outlives a crash or a failover',
    schema: 'CURSOR_OF_ANOTHER_LIFE',
    options: ['--faults', 'failover,set back', '--faults-per-minute', '30'],
  },
  {
    guard: 'variant',
    breaks: 'one variant is served as another',
    schema: 'VARIANT_AT_READ',
    options: ['--faults', 'variant', '--faults-per-minute', '30'],
  },
  {
    guard: 'one claim at a time',
    breaks: 'two requests of one process produce one module at once',
    schema: 'CLAIM_ONCE',
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
  if ((found === undefined) !== isNothing) missed += 1;
  const soon =
    found === undefined
      ? `${isNothing ? 'nothing' : 'NOT'} found in ${spentMs / 1000} s`
      : `${(spentMs / 1000).toFixed(1)} s`;
  const rule = found?.violations[0]?.rule ?? '';
  console.log(`${mutation.guard}: ${soon}${rule && `: ${rule}`}`);
  rows.push([mutation.guard, mutation.breaks, rule, soon]);
}
console.log(`${chosen.length} runs, ${chosen.length - missed} as they should be`);
if (write) {
  const lines = rows.map((row) => `| ${row.join(' | ')} |`);
  const head = [
    '| taken out | what breaks | rule that the checker finds broken | after |',
    '| --- | --- | --- | --- |',
  ];
  putInto(join(root, 'docs/faults.md'), 'guards', [...head, ...lines].join('\n'));
}
process.exitCode = missed === 0 ? 0 : 1;
