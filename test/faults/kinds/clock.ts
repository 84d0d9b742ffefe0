import { setTimeout as sleep } from 'node:timers/promises';
import type { Fault } from '../support/fault.js';

const HOUR = 3_600;
/** Until all processes of the server have noticed. */
const NOTICED_MS = 1_100;

export const clock: readonly Fault[] = [
  {
    kind: "the server's time of day jumps",
    weight: 2,
    scope: 'server',
    needs: 'clock',
    async strike({ serverClock, admin }, random) {
      try {
        for (let jumps = random.integer(1, 3); jumps > 0; jumps -= 1) {
          serverClock?.set(random.pick([-24 * HOUR, -HOUR, -5, 5, HOUR, 24 * HOUR]));
          await sleep(NOTICED_MS);
          if (random.chance(0.5)) {
            await admin((sql) => sql`select from module_cache.collect_garbage('10 seconds', 10000)`);
          }
          await sleep(random.integer(0, 1_500));
        }
      } finally {
        serverClock?.set(0);
      }
      await sleep(NOTICED_MS);
    },
  },
];
