/*
 * `npm run soak -- --seed 1 --minutes 10`: a fleet of processes reads, produces and writes on a real Postgres, while
 * faults strike; then a checker looks for anything in their history that must not be. `--help` for the options.
 */
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { SingleBar } from 'cli-progress';
import { Command, InvalidArgumentError } from 'commander';
import * as sqlGuards from '../protocol/support/guards.js';
import type { Guard } from '../support/install-script.js';
import { check, type Verdict } from './checker.js';
import { allFaults } from './kinds/index.js';
import { createConductor } from './support/conductor.js';
import { putInto } from './support/document.js';
import { onInterrupt } from './support/interrupt.js';
import { createRandom } from './support/random.js';
import { reportOf } from './support/report.js';
import { createStorm, quiet } from './support/storm.js';

const number = (text: string): number => {
  const value = Number(text);
  if (!(Number.isFinite(value) && value >= 0)) throw new InvalidArgumentError('Not a number.');
  return value;
};

const program = new Command('soak')
  .description('Runs a fleet under faults and judges its history. Exits with 1 if anything was wrong.')
  .option('--seed <n>', 'every choice comes from it', number, Math.floor(Math.random() * 1e6))
  .option('--minutes <n>', 'how long', number, 2)
  .option('--operations <n>', 'end earlier, after so many', number, Number.POSITIVE_INFINITY)
  .option('--peers <n>', 'processes', number, 8)
  .option('--modules <n>', 'modules', number, 60)
  .option('--imports <n>', 'how many a module imports at most', number, 4)
  .option('--faults <kinds>', 'parts of their names, separated by commas; "none" for none', '')
  .option('--faults-per-minute <n>', 'how often one strikes', number, 60)
  .option('--list', 'names the kinds of faults, and ends')
  .option('--peeks <n>', 'reads of memory per second and process', number, 1_000)
  .option('--writes <n>', 'transactions per second and process', number, 8)
  .option('--broadcast <how>', 'notify or log', 'notify')
  .option(
    '--without <guard>',
    'a guard of the schema to take out, as test/protocol/support/guards.ts names it',
  )
  .option('--client <folder>', 'another build of the client', 'dist')
  .option('--quiet-every <seconds>', 'how often everything has to come to rest and be equal', number, 60)
  .option('--keep', 'keep the history, also if nothing was wrong')
  .option('--check <folder>', 'run nothing: judge the history that is kept there')
  .option('--json', 'print the verdict as JSON')
  .option(
    '--report <file>',
    'also put the report into this Markdown file, between <!-- run --> and <!-- end -->',
  )
  .parse();
const options = program.opts();

if (options.list) {
  for (const { kind, scope } of allFaults) console.log(`${kind} (${scope})`);
  process.exit(0);
}

/** Prints it, and puts it where it is asked for. */
function tell(verdict: Verdict, command: string): void {
  if (options.json) {
    const plain = (map: Map<string, unknown>) => Object.fromEntries(map);
    const { refused, failedReads, recovery } = verdict;
    const maps = { refused: plain(refused), failedReads: plain(failedReads), recovery: plain(recovery) };
    console.log(JSON.stringify({ ...verdict, ...maps }));
    return;
  }
  const report = reportOf(verdict, command);
  console.log(report);
  if (options.report !== undefined) putInto(options.report, 'run', `\`\`\`\n${command}\n\n${report}\n\`\`\``);
}

if (options.check !== undefined) {
  const verdict = await check(options.check);
  tell(verdict, `npm run soak -- --check ${options.check}`);
  process.exit(verdict.violationCount > 0 ? 1 : 0);
}

const wanted = String(options.faults).split(',').filter(Boolean);
const chosen = allFaults.filter(
  ({ kind }) => wanted.length === 0 || wanted.some((text) => kind.includes(text)),
);
if (wanted.length > 0 && wanted[0] !== 'none' && chosen.length === 0) {
  program.error(`error: no fault is called ${options.faults}: --list names them`);
}
const client = resolve(options.client, 'index.js');
if (!existsSync(client)) program.error(`error: there is no client at ${client}: run "npm run build" first`);

const folder = mkdtempSync(join(tmpdir(), 'module-cache-faults-'));
chmodSync(folder, 0o755);
const interrupted = onInterrupt(folder);
const random = createRandom(options.seed);
const log = (line: string): void => {
  if (!options.json) process.stderr.write(`\n${line}\n`);
};
const conductor = await createConductor(
  {
    seed: options.seed,
    random,
    folder,
    peers: options.peers,
    modules: options.modules,
    imports: options.imports,
    client: pathToFileURL(client).href,
    oldClient: new URL('../schema/releases/client-0.1.0.mjs', import.meta.url).href,
    without: guardsOf(options.without),
    boundMs: 1_500,
    heartbeatMs: 300,
    broadcast: options.broadcast,
    peeksPerSecond: options.peeks,
    writesPerSecond: options.writes,
    needs: new Set(chosen.flatMap(({ needs }) => needs ?? [])),
  },
  log,
);

function guardsOf(name: string | undefined): readonly Guard[] {
  if (name === undefined) return [];
  const guard = (sqlGuards as unknown as Record<string, Guard | Guard[] | undefined>)[name];
  if (guard === undefined)
    program.error(`error: no guard is called ${name}: ${Object.keys(sqlGuards).join(', ')}`);
  return [guard ?? []].flat();
}

const began = performance.now();
const elapsed = (): number => (performance.now() - began) / 1000;
const seconds = options.minutes * 60;
const faults = chosen.filter((fault) => {
  const lack =
    (fault.needs === undefined ? undefined : conductor.lacks(fault.needs)) ?? fault.lacks?.(conductor);
  if (lack !== undefined) log(`left out: ${fault.kind}: ${lack}`);
  return lack === undefined;
});
const storm = createStorm(conductor, faults, options.faultsPerMinute, random.fork());

const bar =
  process.stderr.isTTY && !options.json
    ? new SingleBar({
        format: '{bar} {value}/{total} s  {operations} operations  {faults} faults  {active}',
        hideCursor: true,
      })
    : undefined;
bar?.start(Math.round(seconds), 0, { operations: 0, faults: 0, active: '' });
const progress = setInterval(
  () => {
    const { operations } = conductor.fleet;
    const figures = {
      operations: operations.toLocaleString('en'),
      faults: storm.count,
      active: storm.active.join(' + '),
    };
    if (bar !== undefined) bar.update(Math.round(elapsed()), figures);
    else if (!options.json)
      process.stderr.write(
        `${elapsed().toFixed(0)} s  ${figures.operations} operations  ${figures.faults} faults  ${figures.active}\n`,
      );
  },
  bar === undefined ? 10_000 : 500,
);

let nextQuiet = options.quietEvery;
while (elapsed() < seconds && conductor.fleet.operations < options.operations && !interrupted.aborted) {
  await sleep(100);
  if (elapsed() < nextQuiet || seconds - elapsed() < 10) continue;
  await storm.pause();
  await quiet(conductor);
  storm.resume();
  nextQuiet = elapsed() + options.quietEvery;
}
await storm.stop();
if (!interrupted.aborted) await quiet(conductor);
for (const peer of await conductor.fleet.all('end', 30_000)) {
  conductor.recorder.write({
    type: 'wrong',
    at: conductor.clock.now(),
    what: `peer ${peer.number} does not close`,
  });
}
const ended = conductor.clock.now();
await conductor.loseLife(ended);
conductor.recorder.write({
  type: 'run',
  seed: options.seed,
  boundMs: conductor.settings.boundMs,
  modules: options.modules,
  peers: options.peers,
  ended,
  interrupted: interrupted.aborted,
});
clearInterval(progress);
bar?.stop();
await conductor.close();

const command = `npm run soak -- --seed ${options.seed} ${process.argv
  .slice(2)
  .filter((arg, index, all) => arg !== '--seed' && all[index - 1] !== '--seed')
  .join(' ')}`;
const verdict = await check(folder);
tell(verdict, command);

if (options.keep || (verdict.violationCount > 0 && !options.json)) {
  const bytes = readdirSync(folder).reduce((sum, file) => sum + statSync(join(folder, file)).size, 0);
  console.log(`the history is kept in ${folder} (${Math.round(bytes / 1e6)} MB)`);
} else rmSync(folder, { recursive: true, force: true });
process.exitCode = verdict.violationCount > 0 ? 1 : 0;
