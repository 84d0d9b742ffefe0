/*
 * Proves that each guard of the client has a test which fails without it: takes the guards out one at a time, each in
 * a build of its own, and runs the test that is named beside it. `ONLY=regexp` for the guards whose file and
 * name match it, `VERBOSE=1` to see how their tests fail.
 */
import { chmodSync, cpSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startEmbeddedPostgres } from '../../dist/cli/embedded-postgres.js';
import { createTemplate, dropTemplate } from '../support/template.mjs';
import { makeBuilds } from './builds.mjs';
import { allGuards } from './guards.mjs';
import { runTests } from './jest.mjs';

const PATIENCE_MS = 60_000;
/** For a test that waits in vain. It gets twice the time that it takes with its guard in addition. */
const SHORT_PATIENCE_MS = 3_000;
/** Chance decides whether some tests meet what their guard is for, or are late on a busy machine. */
const ATTEMPTS = 5;
/** What a mistake in a mutation looks like, rather than a guard that is missing. */
const MISTAKE = /^(Reference|Type|Syntax)Error\b/;

const interrupted = new AbortController();
const { signal } = interrupted;
const root = resolve(fileURLToPath(new URL('../..', import.meta.url)));
// The name by which the next run of the tests finds, and removes, what a killed one has left.
const folder = mkdtempSync(join(tmpdir(), `module-cache-test-${process.pid}-`));
const where = {
  root,
  folder,
  signal,
  serverUrl: process.env.TEST_DATABASE_URL,
  template: `module_cache_template_${process.pid}`,
};
let starting;
let building;

async function cleanUp() {
  interrupted.abort();
  // Interrupted early, the server may not have started yet, and the compiler is still writing.
  const [, server] = await Promise.allSettled([building, starting]);
  if (starting === undefined) await dropTemplate(where.serverUrl, where.template);
  else await server.value?.stop('immediate');
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(name, () => cleanUp().finally(() => process.kill(process.pid, name)));
}

const only = new RegExp(process.env.ONLY ?? '');
const guards = allGuards.filter(({ file, name }) => only.test(`${file}: ${name}`));
if (guards.length === 0) throw new Error(`no guard is called ${process.env.ONLY}`);

try {
  process.exitCode = (await main()) ? 0 : 1;
} catch (error) {
  if (!signal.aborted) throw error;
} finally {
  if (!signal.aborted) await cleanUp();
}

async function main() {
  if (where.serverUrl === undefined) starting = startServer();
  building = makeBuilds(where, guards);
  const intact = await building;
  where.serverUrl ??= (await starting).url;
  await createTemplate(where.serverUrl, where.template);

  const tests = guards.map(({ test }) => test);
  const results = await runTests(where, intact, tests, PATIENCE_MS);
  for (const guard of guards) look(guard, results);

  const rest = [...guards];
  const missed = [];
  const work = async (_, index) => {
    // Always under the same name, so that Jest need not compile the tests anew for each build.
    const place = join(folder, `place-${index}`);
    for (let guard = rest.shift(); guard !== undefined; guard = rest.shift()) {
      const began = performance.now();
      const outcome = await withoutIt(guard, place).catch(({ message }) => `ERROR ${message}`);
      signal.throwIfAborted();
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      const line = `${guard.file}: ${guard.name} | ${guard.test.file}: ${guard.test.name} | ${outcome} | ${seconds} s`;
      if (!outcome.startsWith('found')) missed.push(line);
      console.log(line);
    }
  };
  // More than can work at a time, because many of them wait in vain.
  await Promise.all(Array.from({ length: availableParallelism() + 2 }, work));
  for (const line of missed) console.log(`MISSED: ${line}`);
  console.log(`${guards.length} guards, ${guards.length - missed.length} found`);
  return missed.length === 0;
}

function startServer() {
  // As root the server's own user has to pass through.
  chmodSync(folder, 0o755);
  return startEmbeddedPostgres({
    dataDirectory: join(folder, 'server'),
    binaries: process.env.TEST_POSTGRES_BINARIES,
    settings: { fsync: false, max_connections: 200, max_prepared_transactions: 10 },
  });
}

function resultsOf({ test }, results) {
  return results.filter(({ file, name }) => file === test.file && name.includes(test.name));
}

/** At how its test does with the guard, and for how long: without it there has to be an end to waiting. */
function look(guard, results) {
  const own = resultsOf(guard, results);
  const failed = own.find(({ passed }) => !passed);
  guard.ms = Math.max(0, ...own.map(({ ms }) => ms));
  if (own.length === 0) guard.problem ??= 'there is no such test';
  guard.failedWithIt = failed !== undefined;
}

async function withoutIt(guard, place) {
  if (guard.problem !== undefined) return `ERROR ${guard.problem}`;
  if (guard.failedWithIt) {
    const failed = await repeatedFailure(guard);
    if (failed !== undefined) return `ERROR its test fails with it: ${failed.message}`;
  }
  rmSync(place, { recursive: true, force: true });
  cpSync(join(folder, '0'), place, { recursive: true });
  cpSync(guard.build, place, { recursive: true });
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const outcome = await oneAttempt(guard, place);
    if (outcome !== 'NOT FOUND')
      return attempt > 1 && outcome === 'found' ? `found at attempt ${attempt}` : outcome;
  }
  return 'NOT FOUND';
}

/** Of a test that failed among all the others, although its guard is there. Undefined as soon as it passes once. */
async function repeatedFailure(guard) {
  let failed;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    failed = await firstFailure(guard, join(folder, '0'), PATIENCE_MS);
    if (failed === undefined) break;
  }
  return failed;
}

async function oneAttempt(guard, place) {
  let patienceMs = SHORT_PATIENCE_MS + 2 * guard.ms;
  for (; patienceMs < PATIENCE_MS; patienceMs *= 4) {
    const failed = await firstFailure(guard, place, patienceMs);
    if (failed === undefined) return 'NOT FOUND';
    if (process.env.VERBOSE) console.log(failed.message);
    if (MISTAKE.test(failed.message)) return `ERROR it fails by mistake: ${failed.message}`;
    if (!failed.message.includes('Exceeded timeout of')) return 'found';
    // It waited in vain; unless the machine is so busy that it would have, too, with its guard.
    const isHook = failed.message.includes('for a hook');
    if (!isHook && (await firstFailure(guard, join(folder, '0'), patienceMs)) === undefined) return 'found';
  }
  return 'ERROR its test takes too long, with it as well';
}

async function firstFailure(guard, build, patienceMs) {
  const own = resultsOf(guard, await runTests(where, build, [guard.test], patienceMs));
  if (own.length === 0) throw new Error('no test was run');
  return own.find(({ passed }) => !passed);
}
