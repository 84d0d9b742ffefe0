import { setTimeout as sleep } from 'node:timers/promises';
import type { Fault } from '../support/fault.js';

/** What happens between one peer and the server. */
export const network: readonly Fault[] = [
  {
    kind: 'connections cut',
    weight: 6,
    scope: 'peer',
    async strike(_conductor, random, { link }) {
      link.cut();
      await sleep(random.integer(0, 100));
    },
  },
  {
    kind: 'cut off: connections cut and refused',
    weight: 4,
    scope: 'peer',
    async strike({ settings }, random, { link }) {
      link.refusing = true;
      link.cut();
      await sleep(random.integer(200, 2 * settings.boundMs));
      link.refusing = false;
    },
  },
  {
    kind: 'connections stalled, then all of it arrives',
    weight: 4,
    scope: 'peer',
    async strike({ settings }, random, { link }) {
      link.stalled = true;
      await sleep(random.integer(200, 2 * settings.boundMs));
      link.stalled = false;
    },
  },
  {
    kind: 'connections delayed',
    weight: 4,
    scope: 'peer',
    async strike(_conductor, random, { link }) {
      link.delayMs = random.integer(20, 400);
      await sleep(random.integer(500, 2_500));
      link.delayMs = 0;
    },
  },
  {
    kind: 'connections half open',
    weight: 4,
    scope: 'peer',
    async strike(_conductor, random, { link }) {
      link.halfOpen();
      await sleep(random.integer(0, 500));
    },
  },
];
