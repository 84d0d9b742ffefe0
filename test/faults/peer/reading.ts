import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import type { ReadOptions, ServedModule } from '../../../src/index.js';
import { idOf, parseBody } from '../support/body.js';
import type { Mode } from '../support/history.js';
import {
  cache,
  clock,
  messageOf,
  noteFailedRead,
  progress,
  random,
  recorder,
  settings,
  world,
  wrong,
} from './process.js';
import { produce, Sabotage } from './producing.js';

const { variant } = settings;
/** Tokens of writes of other processes, to read after. */
export const tokens: { write: number; thing: number; token: string }[] = [];
/** Artifacts whose text was looked at. */
const known = new Set<number>();
/** Looks into memory that found nothing, since they were last written down. */
let inVain = 0;

export function noteInVain(): void {
  progress.operations += inVain;
  if (inVain > 0) recorder.write({ type: 'looked in vain', count: inVain });
  inVain = 0;
}

function note(module: number, mode: Mode, after: number, began: number, answer: ServedModule): void {
  const ended = clock.now();
  progress.operations += 1;
  const artifact = idOf(answer.body);
  const { headers } = answer as { headers: { artifact?: number; variant?: string } };
  if (artifact !== headers.artifact || variant !== headers.variant) {
    wrong(
      `variant ${variant} was asked for: the body is of artifact ${artifact}, its headers ${JSON.stringify(headers)}`,
    );
  }
  if (!known.has(artifact)) {
    if (known.size > 20_000) known.clear();
    const body = parseBody(answer.body);
    if (body === undefined) wrong(`a torn body: ${answer.body.slice(0, 200)}`);
    else {
      if (body.module !== module) wrong(`module ${module} was answered with module ${body.module}`);
      known.add(artifact);
      recorder.write({ type: 'artifact', ...body });
    }
  }
  recorder.read({ began, ended, module, mode, artifact, after, cached: answer.cached });
}

export const requestOf = (module: number) => ({
  realm: world.realmOf(module),
  path: world.pathOf(module),
  variant,
});
/** A few are read most. */
const someModule = (): number => Math.floor(random.fraction() ** 2 * world.modules);

async function read(module: number, mode: Mode, options: ReadOptions, after = 0): Promise<boolean> {
  const began = clock.now();
  try {
    const answer =
      random.chance(0.9) || mode === 'quiet'
        ? await cache.getOrProduce(requestOf(module), ({ signal }) => produce(module, signal), options)
        : await cache.get(requestOf(module), options);
    if (answer === undefined || answer.status === 'error') progress.operations += 1;
    else note(module, mode, after, began, answer);
    return true;
  } catch (error) {
    progress.operations += 1;
    if (
      !(error instanceof Sabotage || /this producer fails|the sources do not answer/.test(messageOf(error)))
    ) {
      noteFailedRead(error);
    }
    return false;
  }
}

async function readMany(): Promise<void> {
  const modules = Array.from({ length: 8 }, someModule);
  const strong = random.chance(0.3);
  const began = clock.now();
  try {
    const answers = await cache.getMany(modules.map(requestOf), {
      consistency: strong ? 'strong' : 'bounded',
    });
    answers.forEach((answer, index) => {
      if (answer !== undefined && answer.status !== 'error') {
        note(modules[index] as number, strong ? 'strong' : 'bounded', 0, began, answer);
      }
    });
  } catch (error) {
    noteFailedRead(error);
  }
}

export async function readForEver(): Promise<void> {
  while (!progress.ending) {
    const die = random.fraction();
    const causal = tokens.length > 0 && die < 0.15 ? random.pick(tokens) : undefined;
    if (causal !== undefined) {
      const module = causal.thing < world.modules && random.chance(0.5) ? causal.thing : someModule();
      await read(module, 'causal', { after: causal.token }, causal.write);
    } else if (die < 0.25) await read(someModule(), 'strong', { consistency: 'strong' });
    else if (die < 0.28 && typeof cache.getMany === 'function') await readMany();
    else await read(someModule(), 'bounded', {});
    await sleep(random.chance(0.1) ? random.integer(5, 40) : random.integer(0, 4));
  }
}

/** What most reads are: hits in memory. */
export async function peekForEver(): Promise<void> {
  const perTurn = Math.max(1, Math.round(settings.peeksPerSecond / 100));
  while (!progress.ending) {
    for (let i = 0; i < perTurn; i += 1) {
      const module = someModule();
      const began = clock.now();
      const answer = cache.peek(requestOf(module));
      if (answer !== undefined && answer.status !== 'error') note(module, 'bounded', 0, began, answer);
      else inVain += 1;
    }
    await sleep(10);
    await setImmediate();
  }
}

/** Everything once, after writes have stopped. */
export async function quieten(): Promise<void> {
  const missing: number[] = [];
  for (let module = 0; module < world.modules; module += 1) {
    let read_ = false;
    for (let tries = 0; tries < 40 && !read_; tries += 1) {
      read_ = await read(module, 'quiet', {});
      if (!read_) await sleep(100);
    }
    if (!read_) missing.push(module);
  }
  if (missing.length > 0) wrong(`after quiet, modules could not be read: ${missing.join(', ')}`);
}

/** Resolves once this process is whole again. */
export async function recover(): Promise<void> {
  for (;;) {
    const module = someModule();
    const { connected, fresh } = cache.stats();
    if (connected && fresh && (await read(module, 'strong', { consistency: 'strong', deadlineMs: 2_000 })))
      return;
    await sleep(10);
  }
}
