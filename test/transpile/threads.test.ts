import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { transformAsync } from '@babel/core';
import { expect, test } from '@jest/globals';
import { codeOf, folder, inProcess, open, realm } from './support/fixtures.js';

/** A plugin that says which thread it runs in, keeps a log, and takes the time that a module asks for. */
const plugin = `
  const { threadId } = require('node:worker_threads');
  const { appendFileSync } = require('node:fs');
  module.exports = () => ({ visitor: { StringLiteral(path) {
    const { value } = path.node;
    if (value === 'thread') path.node.value = String(threadId);
    appendFileSync(__dirname + '/log', value + '\\n');
    if (value === 'forever') for (;;);
    if (value.startsWith('busy')) for (const end = Date.now() + 120; Date.now() < end; );
  } } });`;
const start = async (threads = 1) => {
  const cwd = folder({ 'plugin.cjs': plugin });
  const transpiler = await open({ threads, babel: { cwd, plugins: ['./plugin.cjs'] } });
  const run = (source: string, signal?: AbortSignal) =>
    transpiler.transpile({
      realm,
      path: 'a.js',
      source: `use(${JSON.stringify(source)})`,
      ...(signal && { signal }),
    });
  const thread = async () => codeOf(await run('thread'));
  const log = () => (existsSync(join(cwd, 'log')) ? readFileSync(join(cwd, 'log'), 'utf8').split('\n') : []);
  const started = async (value: string) => {
    while (!log().includes(value)) await sleep(5);
  };
  return { transpiler, run, thread, log, started };
};

test('while a large module compiles, the process answers', async () => {
  const source = Array.from({ length: 6000 }, (_, i) => `export const v${i} = { a: ${i}, b: [${i}] };`).join(
    '\n',
  );
  const transpiler = await open();
  const worstDelay = async (work: () => Promise<unknown>) => {
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    await sleep(20);
    await work();
    await sleep(20);
    delay.disable();
    return delay.max;
  };
  const inThread = await worstDelay(() =>
    transformAsync(source, {
      filename: 'a.ts',
      presets: ['@babel/preset-typescript'],
      sourceMaps: 'inline',
      configFile: false,
    }),
  );
  const outside = await worstDelay(() => transpiler.transpile({ realm, path: 'a.ts', source }));
  expect(outside).toBeLessThan(inThread / 2);
});

test('many modules compile at the same time in as many threads as allowed', async () => {
  const { run } = await start(2);
  const threads = await Promise.all(Array.from({ length: 12 }, () => run('thread')));
  expect(new Set(threads.map(codeOf)).size).toBeLessThanOrEqual(2);
});

test('who aborts hears the reason at once, and the stuck thread is replaced', async () => {
  const { run, started, thread } = await start();
  const before = await thread();
  const abort = new AbortController();
  const stuck = run('forever', abort.signal);
  await started('forever');
  const reason = new Error('outdated');
  abort.abort(reason);
  await expect(stuck).rejects.toBe(reason);
  expect(await thread()).not.toBe(before);
});

test('an abort does not cost the others a loaded compiler', async () => {
  const { run, started, thread } = await start();
  const before = await thread();
  const abort = new AbortController();
  const busy = run('busy', abort.signal);
  await started('busy');
  abort.abort();
  await expect(busy).rejects.toMatchObject({ name: 'AbortError' });
  expect(await thread()).toBe(before);
});

test('what was aborted while it waited is not compiled', async () => {
  const { run, started, log } = await start();
  const busy = run('busy');
  await started('busy');
  const abort = new AbortController();
  const waiting = run('waiting', abort.signal);
  abort.abort();
  await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
  await busy;
  await run('next');
  expect(log().filter(Boolean)).toEqual(['busy', 'next']);
});

test('what waits behind a stuck module is compiled once that is aborted', async () => {
  const { run, started } = await start();
  const abort = new AbortController();
  const stuck = run('forever', abort.signal);
  await started('forever');
  const waiting = Array.from({ length: 5 }, (_, index) => run(`next ${index}`));
  abort.abort();
  await expect(stuck).rejects.toMatchObject({ name: 'AbortError' });
  expect((await Promise.all(waiting)).map(codeOf)).toEqual(
    waiting.map((_, index) => `use("next ${index}");`),
  );
});

test('an abort before the call starts nothing', async () => {
  const { run, log } = await start();
  await expect(run('never', AbortSignal.abort())).rejects.toMatchObject({ name: 'AbortError' });
  await run('next');
  expect(log()).not.toContain('never');
});

test('closing ends threads in the middle of work, and says so to who waits', async () => {
  const { transpiler, run, started } = await start();
  const running = run('forever');
  await started('forever');
  const waiting = run('waiting', new AbortController().signal);
  const settled = Promise.allSettled([running, waiting]);
  await transpiler.close();
  for (const result of await settled) {
    expect(result).toMatchObject({ status: 'rejected', reason: { code: 'MC103' } });
  }
  await expect(run('late')).rejects.toMatchObject({ code: 'MC103' });
  await transpiler.close();
});

test('a process that forgets to close ends all the same', () => {
  const output = inProcess(
    `const transpiler = await createTranspiler(options);
    const request = { realm: '${realm}', path: 'a.ts', source: 'let a: 1' };
    await Promise.all([transpiler.transpile(request), transpiler.transpile(request), transpiler.transpile(request)]);
    console.log('done');`,
    { threads: 2 },
  );
  expect(output).toBe('done\n');
});
