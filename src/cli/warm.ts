import { availableParallelism } from 'node:os';
import { Presets, SingleBar } from 'cli-progress';
import { type WarmProgress, type WarmResult, warmRealm } from '../realm/index.js';
import type { CompileFailure } from '../transpile/index.js';
import { print } from './database.js';
import { type ModulesOptions, openModules, settleModules } from './modules.js';
import { createReport, createWarn, textOfWarning } from './report.js';
import { type OnClose, openServer, type ServerOptions } from './server.js';
import { stopOnSignal } from './signals.js';
import { printable } from './text.js';
import { settleTracking } from './tracking.js';

export interface WarmOptions extends ServerOptions, ModulesOptions {
  threads?: number;
  /** A module that does not compile is a failure of the command. */
  strict?: boolean;
}

/** What a shell expects of a command that was interrupted. */
const INTERRUPTED = 130;
const LINE_EVERY_MS = 2_000;
const SHOWN_FAILURES = 20;
/** Modules that wait for the database or for another process while the threads compile. */
const MORE_THAN_THREADS = 8;

/** Compiles and stores all modules of a folder or table; Ctrl-C keeps what is done, and the next run goes on there. */
export async function warmCommand(folder: string | undefined, options: WarmOptions): Promise<void> {
  const stop = stopOnSignal();
  const opened: (() => Promise<unknown>)[] = [];
  let exitCode: number;
  try {
    exitCode = await run(folder, options, stop, (close) => opened.unshift(close));
  } catch (error) {
    if (!stop.aborted) throw error;
    exitCode = INTERRUPTED;
  } finally {
    for (const close of opened) await close();
  }
  process.exit(exitCode);
}

async function run(
  folder: string | undefined,
  options: WarmOptions,
  stop: AbortSignal,
  onClose: OnClose,
): Promise<number> {
  const threads = options.threads ?? availableParallelism();
  const concurrency = threads + MORE_THAN_THREADS;
  const report = createReport(options.json === true);
  const named = await settleModules(folder, options);
  const { sql, cache } = await openServer(options, {
    name: 'module-cache warm',
    connections: concurrency,
    report,
    onClose,
  });
  const warn = createWarn(report);
  const told = new Set<string>();
  cache.events.on('warning', (warning) => {
    const text = textOfWarning(warning);
    // One cause, such as a right that is missing, concerns every module.
    if (!told.has(text)) warn(text);
    told.add(text);
  });
  let unstored = 0;
  cache.events.on('produced', ({ reason }) => {
    if (reason === 'failed' || reason === 'away') unstored += 1;
  });
  // As `serve` does, because both have to mean the same realm.
  const config =
    'folder' in named.place
      ? named
      : await settleTracking(sql, named, named.place, options.realm !== undefined, warn);
  const { source, transpiler, producer } = await openModules(config, sql, threads);
  onClose(() => transpiler.close());
  const progress = options.json === true ? silent : process.stderr.isTTY ? createBar() : createLines();
  const began = performance.now();
  let last: WarmProgress | undefined;
  try {
    const { realm } = config;
    const result = await warmRealm({
      ...{ cache, realm, source, producer, concurrency, signal: stop },
      onProgress(state) {
        last = state;
        progress.update(state);
      },
    });
    progress.end();
    return finish(result, unstored, options, performance.now() - began);
  } catch (error) {
    progress.end();
    if (!stop.aborted) throw error;
    const done = last === undefined ? 'nothing' : `${doneOf(last)} of ${last.total} modules`;
    report('interrupted', { ...last }, `interrupted: ${done} done; the next run goes on there`);
    return INTERRUPTED;
  }
}

function finish(
  { failures, ...counts }: WarmResult,
  unstored: number,
  { json, strict }: WarmOptions,
  ms: number,
): number {
  const described = failures.map(({ path, body }) => {
    const { line, column, message } = JSON.parse(body) as CompileFailure;
    return { path, line, column, message };
  });
  if (json)
    print(JSON.stringify({ event: 'warmed', ...counts, unstored, failures: described, ms: Math.round(ms) }));
  else {
    const { total, produced, coalesced, present, gone } = counts;
    print(
      `${total} modules in ${(ms / 1000).toFixed(1)} s: ${produced} compiled, ${present} were there` +
        (unstored === 0 ? '' : `, ${unstored} of them not stored`) +
        `${coalesced === 0 ? '' : `, ${coalesced} compiled by others meanwhile`}${gone === 0 ? '' : `, ${gone} deleted meanwhile`}`,
    );
    for (const { path, line, column, message } of described.slice(0, SHOWN_FAILURES)) {
      print(
        printable(
          `  does not compile: ${[path, line, column].filter((part) => part !== null).join(':')}: ${message}`,
        ),
      );
    }
    if (described.length > SHOWN_FAILURES)
      print(`  and ${described.length - SHOWN_FAILURES} more do not compile`);
  }
  return unstored > 0 || (strict === true && failures.length > 0) ? 1 : 0;
}

interface ProgressView {
  update(progress: WarmProgress): void;
  end(): void;
}

const doneOf = ({ produced, coalesced, present, gone }: WarmProgress): number =>
  produced + coalesced + present + gone;

const silent: ProgressView = { update() {}, end() {} };

/** In a terminal; on standard error, so that what is printed can be piped. */
function createBar(): ProgressView {
  const bar = new SingleBar(
    {
      format: '{bar} {percentage}% | {value} of {total} modules | {produced} compiled | {eta_formatted} left',
    },
    Presets.shades_classic,
  );
  return {
    update(progress) {
      if (!bar.isActive) bar.start(progress.total, 0, { produced: 0 });
      bar.update(doneOf(progress), { produced: progress.produced });
    },
    end: () => bar.stop(),
  };
}

/** In a log: a line now and then. */
function createLines(): ProgressView {
  let printedAt = performance.now();
  return {
    update(progress) {
      if (performance.now() - printedAt < LINE_EVERY_MS) return;
      printedAt = performance.now();
      process.stderr.write(
        `${doneOf(progress)} of ${progress.total} modules, ${progress.produced} compiled\n`,
      );
    },
    end() {},
  };
}
