import { workerData } from 'node:worker_threads';
import { ModuleCacheError } from '../errors.js';
import { type Compiler, createCompiler } from './compile.js';
import type { Setup } from './options.js';
import type { Outcome, Task, TranspileResult } from './protocol.js';
import { ask, Cancelled } from './resolver.js';

/** What the threads of the transpiler run: Babel is loaded with the first task, and stays. */
let compiler: Promise<Compiler> | undefined;

export function prepare(): Promise<Outcome<string>> {
  return outcome(async () => (await warmCompiler()).variant);
}

export function compile({ resolver, ...task }: Task): Promise<Outcome<TranspileResult>> {
  return outcome(async () => {
    const compiler = await compilerFor(task);
    return compiler.compile(task, resolver && ((specifiers) => ask(resolver, specifiers)));
  });
}

export function define(task: Task): Promise<Outcome<TranspileResult>> {
  return outcome(async () => (await compilerFor(task)).define(task));
}

async function compilerFor(task: Task): Promise<Compiler> {
  const compiler = await warmCompiler();
  if (task.cancelled?.[0] === 1) throw new Cancelled();
  if (compiler.variant === task.variant) return compiler;
  throw new ModuleCacheError('MC107', 'the compiler changed after the transpiler was created', {
    detail: `variant ${task.variant}, now ${compiler.variant}`,
    hint: 'Create a new transpiler, or restart the process: Babel, a plugin or a configuration file is no longer the same.',
  });
}

function warmCompiler(): Promise<Compiler> {
  compiler ??= createCompiler(workerData as Setup).catch((error: unknown) => {
    compiler = undefined;
    throw error;
  });
  return compiler;
}

async function outcome<T>(run: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { value: await run() };
  } catch (error) {
    if (!(error instanceof ModuleCacheError)) throw error;
    const { message, detail, hint } = error;
    return { misuse: { message, ...(detail && { detail }), ...(hint && { hint }) } };
  }
}
