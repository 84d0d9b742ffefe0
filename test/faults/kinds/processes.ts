import { setTimeout as sleep } from 'node:timers/promises';
import type { Fault } from '../support/fault.js';

/** What happens to the processes of the fleet. */
export const processes: readonly Fault[] = [
  {
    kind: 'peer killed (SIGKILL)',
    weight: 6,
    scope: 'peer',
    async strike({ fleet }, _random, { lane }) {
      await fleet.restart(lane);
    },
  },
  {
    kind: 'peer stopped (SIGSTOP), shorter than its bound',
    weight: 6,
    scope: 'peer',
    async strike({ settings }, random, peer) {
      peer.process.kill('SIGSTOP');
      await sleep(random.integer(50, settings.boundMs - 100));
      peer.process.kill('SIGCONT');
    },
  },
  {
    kind: 'peer stopped (SIGSTOP), longer than its bound',
    weight: 4,
    scope: 'peer',
    async strike({ settings }, random, peer) {
      peer.process.kill('SIGSTOP');
      await sleep(settings.boundMs + random.integer(200, 2_500));
      peer.process.kill('SIGCONT');
    },
  },
  {
    kind: "peer's time of day jumps",
    weight: 3,
    scope: 'peer',
    async strike(_conductor, random, peer) {
      const hour = 3_600_000;
      peer.tell({
        type: 'clock',
        offsetMs: random.pick([-24 * hour, -hour, -2_000, 2_000, hour, 24 * hour]),
      });
      await sleep(random.integer(200, 1_500));
      peer.tell({ type: 'clock', offsetMs: 0 });
    },
  },
  {
    kind: 'deployed: the other client version',
    weight: 3,
    scope: 'peer',
    async strike({ fleet, settings }, random, { lane }) {
      await fleet.restart(lane, { client: settings.oldClient, variant: random.pick(['first', 'second']) });
      await sleep(random.integer(500, 3_000));
      await fleet.restart(lane);
    },
  },
  {
    kind: 'deployed: the other variant',
    weight: 3,
    scope: 'peer',
    async strike({ fleet }, random, { lane }) {
      await fleet.restart(lane, { variant: 'second' });
      await sleep(random.integer(500, 3_000));
      await fleet.restart(lane);
    },
  },
];
