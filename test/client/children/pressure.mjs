/* Caches under load in a process of their own, told by its parent when the database leaves and comes back. */
import { getEventListeners } from 'node:events';

const { openModuleCache } = await import(`${process.env.TEST_DIST ?? '../../../dist'}/index.js`);

const caches = [];
const tell = (type, details = {}) => process.send({ type, ...details });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const code = (error) => error.code ?? error.name;

let stopping = false;
let produced = 0;
let caughtUp = 0;
const loads = [];

/** Asks for one module after the other, as clients do that come again when they are refused. */
async function load(cache, realm, modules) {
  for (let n = 0; !stopping; n += 1) {
    const request = { realm, path: `${n % modules}.ts` };
    const produce = () => {
      produced += 1;
      return { body: 'x' };
    };
    await cache.getOrProduce(request, produce, { consistency: 'strong' }).catch(() => {});
    await pause(5);
  }
}

const sockets = () => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;

const commands = {
  async open({ count, options }) {
    for (let n = 0; n < count; n += 1) caches.push(await openModuleCache(options));
    for (const { events } of caches) {
      events.on('away', () => tell('away'));
      events.on('back', () => tell('back'));
      events.on('caught-up', () => {
        caughtUp += 1;
      });
    }
    tell('opened');
  },
  load({ realm, modules, callers }) {
    for (const cache of caches) for (let n = 0; n < callers; n += 1) loads.push(load(cache, realm, modules));
  },
  /** Once each of them answers again, from the database. */
  async answer({ request }) {
    for (const cache of caches) {
      const ask = () =>
        cache.getOrProduce(request, () => {
          // Without its dedicated connection it can hold no claim, and makes what it is asked for.
          tell(cache.stats().connected ? 'producing' : 'producing alone');
          return { body: 'once' };
        });
      for (;;) {
        const outcome = await ask().catch(() => undefined);
        if (outcome?.cached && cache.stats().connected && cache.stats().fresh) break;
        await pause(20);
      }
    }
    tell('answered');
  },
  async unload() {
    stopping = true;
    await Promise.all(loads);
    tell('unloaded', { produced, caughtUp });
  },
  sockets: () => tell('sockets', { count: sockets() }),
  heap: ({ operations, realm }) => heap(caches[0], operations, realm),
  /** In the middle of whatever goes on. */
  async close() {
    stopping = true;
    await Promise.all([...caches.map((cache) => cache.close()), ...loads]);
    await pause(50);
    // Of the channel to the parent nothing but its pipe is left.
    const left = process.getActiveResourcesInfo().filter((name) => /^(TCP|Timeout|Immediate)/.test(name));
    tell('closed', { left, listeners: getEventListeners(signal, 'abort').length });
    process.disconnect();
  },
};

/** Of a server that lives as long as this process: every call gets it. */
const { signal } = new AbortController();
const CHECKS = 20;

/** Everything that a busy process does, so many times; every fifth part of it while the database is away. */
async function heap(cache, operations, realm) {
  const body = 'x'.repeat(2_000);
  const produce = () => ({ body, dependencyKeys: ['shared.ts'] });
  const outcomes = {};
  const settle = (work) =>
    work.then(
      () => (outcomes.answered = (outcomes.answered ?? 0) + 1),
      (error) => (outcomes[code(error)] = (outcomes[code(error)] ?? 0) + 1),
    );
  const measured = [];
  let most = 0;
  let done = 0;
  // At most 2,000 rounds that ask the database; the rest comes out of memory, as in a busy process.
  const perRound = Math.max(1_000, Math.ceil(operations / 2_000));
  const rounds = Math.ceil(operations / perRound);
  const absences = Math.min(Math.max(4, Math.floor(operations / 250_000)), 40);
  for (let round = 0; round < rounds; round += 1) {
    const isAway = Math.floor((round * absences * 5) / rounds) % 5 === 4;
    if (isAway !== globalThis.wasAway) {
      globalThis.wasAway = isAway;
      tell(isAway ? 'leave' : 'return');
      await new Promise((resolve) => process.once('message', resolve));
      await until(() => cache.stats().fresh !== isAway);
    }
    const name = (n) => ({ realm, path: `${round % 500}/${n}.ts` });
    const asked = [];
    for (let n = 0; n < 10; n += 1) asked.push(settle(cache.getOrProduce(name(n), produce, { signal })));
    // Who gives up at once, and who would wait for very little.
    const impatient = new AbortController();
    asked.push(settle(cache.get({ realm, path: `${round}.none` }, { signal: impatient.signal })));
    impatient.abort();
    asked.push(settle(cache.getOrProduce(name(10), produce, { signal, deadlineMs: 1 })));
    asked.push(settle(cache.getMany([name(1), name(20), { realm, path: `${round}.none` }], { signal })));
    asked.push(settle(cache.invalidate(realm, [round % 50 === 0 ? 'shared.ts' : `${round}.ts`])));
    asked.push(
      settle(
        cache.getOrProduce({ realm, path: `${round}.bad` }, () => Promise.reject(new Error('bad')), {
          signal,
        }),
      ),
    );
    done += asked.length;
    most = Math.max(most, sockets());
    await Promise.all(asked);
    for (; done < (round + 1) * perRound; done += 10) {
      for (let n = 0; n < 10; n += 1) {
        if (n < 9) cache.peek(name(n));
        else if (!isAway) await settle(cache.getOrProduce(name(0), produce, { signal }));
        else if (done % 100 === 0) await settle(cache.get(name(0), { signal }));
      }
    }
    if (Math.floor(((round + 1) * CHECKS) / rounds) > measured.length) {
      await pause(20);
      globalThis.gc();
      globalThis.gc();
      measured.push({ bytes: process.memoryUsage().heapUsed, sockets: most });
      most = 0;
    }
  }
  tell('measured', { measured, outcomes, done });
}

async function until(condition) {
  while (!condition()) await pause(5);
}

process.on('message', ({ command, ...rest }) => {
  if (command === undefined) return;
  Promise.resolve(commands[command](rest)).catch((error) => {
    process.send({ type: 'failed', message: `${command}: ${error.stack}` });
  });
});
tell('ready');
