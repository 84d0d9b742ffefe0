import { setTimeout as sleep } from 'node:timers/promises';
import type { Conductor } from './conductor.js';
import type { Fault } from './fault.js';
import type { Peer } from './fleet.js';
import type { Random } from './random.js';

/** Strikes again and again, several at a time if they do not get in each other's way, until it is stopped. */
export function createStorm(
  conductor: Conductor,
  faults: readonly Fault[],
  perMinute: number,
  random: Random,
) {
  const active = new Map<Promise<void>, Fault>();
  const struck = new Set<number>();
  let count = 0;
  let stopped = false;
  let paused = false;
  // Each kind gets its turn before any has a second one, whatever their weights.
  const due = new Set(faults);

  async function strike(fault: Fault): Promise<void> {
    const began = conductor.clock.now();
    const peer = fault.scope === 'peer' ? takePeer() : undefined;
    if (fault.scope === 'peer' && peer === undefined) return;
    let failed: string | undefined;
    try {
      await fault.strike(conductor, random.fork(), peer as Peer);
    } catch (error) {
      failed = String((error as Error)?.stack ?? error).slice(0, 500);
    }
    const ended = conductor.clock.now();
    const recoveredMs = failed === undefined ? await recover(peer?.lane) : null;
    if (peer !== undefined) struck.delete(peer.lane);
    conductor.recorder.write({
      type: 'fault',
      kind: fault.kind,
      began,
      ended,
      recoveredMs,
      ...(failed === undefined ? {} : { failed }),
    });
    if (failed === undefined) count += 1;
    else conductor.log(`fault ${fault.kind} could not be caused: ${failed}`);
  }

  function takePeer(): Peer | undefined {
    const free = conductor.fleet.peers.filter(({ lane }) => !struck.has(lane));
    if (free.length === 0) return undefined;
    const peer = random.pick(free);
    struck.add(peer.lane);
    return peer;
  }

  /** How long until those that were struck answer again. */
  async function recover(lane: number | undefined): Promise<number | null> {
    const began = conductor.clock.now();
    const concerned = (): Peer[] =>
      conductor.fleet.peers.filter((peer) =>
        lane === undefined ? !struck.has(peer.lane) : peer.lane === lane,
      );
    for (;;) {
      const answers = await Promise.all(concerned().map((peer) => peer.ask('recover', 60_000)));
      const ms = conductor.clock.now() - began;
      if (answers.every(Boolean)) return ms;
      if (ms >= 60_000) {
        conductor.recorder.write({
          type: 'wrong',
          at: conductor.clock.now(),
          what: `no recovery within a minute: ${concerned().map(({ number }) => number)}`,
        });
        return null;
      }
      await sleep(100);
    }
  }

  async function run(): Promise<void> {
    while (!stopped) {
      await sleep(random.integer(0, 2 * Math.round(60_000 / perMinute)));
      if (stopped || paused || active.size >= 4) continue;
      const server = [...active.values()].some(({ scope }) => scope === 'server');
      const possible = faults.filter(({ scope }) => scope === 'peer' || !server);
      const fresh = possible.filter((fault) => due.has(fault));
      const fault = choose(fresh.length > 0 ? fresh : possible, random);
      if (fault === undefined) continue;
      due.delete(fault);
      const work = strike(fault).finally(() => active.delete(work));
      active.set(work, fault);
    }
    await Promise.all(active.keys());
  }
  const running = faults.length === 0 ? Promise.resolve() : run();
  return {
    get count() {
      return count;
    },
    get active() {
      return [...active.values()].map(({ kind }) => kind);
    },
    /** Resolves when nothing is broken any more. */
    async pause() {
      paused = true;
      await Promise.all(active.keys());
    },
    resume() {
      paused = false;
    },
    async stop() {
      stopped = true;
      await running;
    },
  };
}

function choose(faults: readonly Fault[], random: Random): Fault | undefined {
  let rest = random.fraction() * faults.reduce((sum, { weight }) => sum + weight, 0);
  for (const fault of faults) {
    rest -= fault.weight;
    if (rest <= 0) return fault;
  }
  return faults.at(-1);
}

/** No more writes; then every peer has to have the newest of everything, without asking for more than its bound. */
export async function quiet(conductor: Conductor): Promise<void> {
  const { fleet, settings, recorder, clock } = conductor;
  const wrong = (what: string): void => recorder.write({ type: 'wrong', at: clock.now(), what });
  await Promise.all(fleet.peers.map(({ ready }) => ready));
  for (const peer of fleet.peers) {
    if (!(await peer.writes(false, 30_000))) wrong(`the writes of peer ${peer.number} do not end`);
  }
  await sleep(settings.boundMs + settings.heartbeatMs);
  for (const peer of await fleet.all('quiet', 120_000)) wrong(`peer ${peer.number} is not quiet`);
  await Promise.all(fleet.peers.map((peer) => peer.writes(true, 30_000)));
}
