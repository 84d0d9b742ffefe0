import { setTimeout as sleep } from 'node:timers/promises';
import { ModuleCacheError } from '../errors.js';
import { type DatabaseOptions, namedUrl, openQuestions, print, type Questions } from './database.js';
import { describe } from './failure.js';
import { hitRateOf, readSample, type Sample } from './fleet.js';
import { stopOnSignal } from './signals.js';
import { styleFor } from './style.js';
import { extentOf, renderPlain, renderScreen } from './top/frame.js';
import { press, startState, type TopState, type View } from './top/state.js';
import { openTerminal } from './top/terminal.js';

export interface TopOptions extends DatabaseOptions {
  /** Seconds. */
  interval: number;
  once?: boolean;
  view: View;
}

const ANSWER_MS = 5_000;

/**
 * Shows the fleet: live in a terminal, else once; with `--json` a line each time. A database that goes away is asked
 * again until it is back, unless it was never there.
 */
export async function topCommand(options: TopOptions): Promise<void> {
  const questions = openQuestions(namedUrl(options), 'module-cache top');
  const intervalMs = options.interval * 1000;
  try {
    const sample = await questions.ask(readSample, ANSWER_MS).catch(explainRefusal);
    if (options.json) await printLines(questions, sample, intervalMs, options.once === true);
    else if (options.once || !process.stdin.isTTY || !process.stdout.isTTY)
      for (const line of renderPlain({ sample, intervalMs }, startState(options.view))) print(line);
    else await showLive(questions, sample, intervalMs, options.view);
  } finally {
    await questions.close();
  }
}

function explainRefusal(error: unknown): never {
  if (!['3F000', '42P01', '42703', '42883'].includes((error as { code?: string }).code ?? '')) throw error;
  throw new ModuleCacheError(
    'MC004',
    'the database has no module_cache schema with the views of this version',
    {
      hint: 'Install or upgrade it with: module-cache migrate',
      cause: error,
    },
  );
}

async function printLines(
  questions: Questions,
  first: Sample,
  intervalMs: number,
  isOnce: boolean,
): Promise<void> {
  const line = (sample: Sample): void => {
    const { peers } = sample;
    print(JSON.stringify({ ...sample, hitRate: hitRateOf(peers) }));
  };
  line(first);
  if (isOnce) return;
  const stop = stopOnSignal();
  for (;;) {
    await sleep(intervalMs, undefined, { signal: stop }).catch(() => {});
    if (stop.aborted) return;
    try {
      line(await questions.ask(readSample, ANSWER_MS));
    } catch (error) {
      print(JSON.stringify({ at: new Date().toISOString(), error: describe(error) }));
    }
  }
}

/** Until it is told to quit, or nobody is there any more. */
function showLive(questions: Questions, first: Sample, intervalMs: number, view: View): Promise<void> {
  const style = styleFor(process.stdout);
  let state: TopState = startState(view);
  let sample = first;
  let trouble: { message: string; since: number } | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isOver = false;

  return new Promise((resolve) => {
    const terminal = openTerminal(process.stdin, process.stdout, {
      onKey(key) {
        const pressed = press(state, key, extentOf(sample, state, terminal));
        if (pressed === 'quit') return end();
        if (pressed === 'suspend') return terminal.suspend();
        const wasPaused = state.isPaused;
        state = pressed;
        draw();
        if (wasPaused && !state.isPaused) look();
      },
      onRedraw: draw,
      onGone: end,
    });
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
    for (const signal of signals) process.on(signal, end);

    function draw(): void {
      if (isOver) return;
      const told = trouble && { message: trouble.message, ms: performance.now() - trouble.since };
      terminal.draw(renderScreen({ sample, intervalMs, trouble: told }, state, terminal, style));
    }

    let isAsking = false;
    function look(): void {
      clearTimeout(timer);
      if (isOver || state.isPaused || isAsking) return;
      isAsking = true;
      const asked = performance.now();
      questions
        .ask(readSample, ANSWER_MS)
        .then(
          (answer) => {
            // What was asked before the pause would change what is being read.
            if (!state.isPaused) sample = answer;
            trouble = undefined;
          },
          (error: unknown) => {
            trouble = {
              message: describe(error).replace(/^module-cache: /, ''),
              since: trouble?.since ?? asked,
            };
          },
        )
        .finally(() => {
          isAsking = false;
          draw();
          if (!isOver) timer = setTimeout(look, intervalMs);
        });
    }

    function end(): void {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      for (const signal of signals) process.off(signal, end);
      terminal.close();
      resolve();
    }

    draw();
    timer = setTimeout(look, intervalMs);
  });
}
