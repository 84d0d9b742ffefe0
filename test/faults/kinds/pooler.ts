import { setTimeout as sleep } from 'node:timers/promises';
import type { Conductor } from '../support/conductor.js';
import type { Fault } from '../support/fault.js';

const lacks = ({ bouncer }: Conductor): string | undefined =>
  bouncer === undefined ? 'there is no pgbouncer' : undefined;

/** What happens to PgBouncer, through which the pool of every second peer goes. */
export const pooler: readonly Fault[] = [
  {
    kind: 'PgBouncer restarted',
    weight: 2,
    scope: 'server',
    lacks,
    async strike({ bouncer }, random) {
      await bouncer?.restart(() => sleep(random.integer(0, 1_500)));
    },
  },
  {
    kind: 'PgBouncer stopped (SIGSTOP)',
    weight: 2,
    scope: 'server',
    lacks,
    async strike({ bouncer, settings }, random) {
      bouncer?.signal('SIGSTOP');
      try {
        await sleep(random.integer(100, 2 * settings.boundMs));
      } finally {
        bouncer?.signal('SIGCONT');
      }
    },
  },
  {
    kind: "PgBouncer's connections to the server cut",
    weight: 2,
    scope: 'server',
    lacks,
    async strike({ front }, random) {
      for (let times = random.integer(1, 5); times > 0; times -= 1) {
        front.cut();
        await sleep(random.integer(0, 200));
      }
    },
  },
  {
    kind: "PgBouncer's connections to the server stalled",
    weight: 1,
    scope: 'server',
    lacks,
    async strike({ front, settings }, random) {
      front.stalled = true;
      try {
        await sleep(random.integer(100, 2 * settings.boundMs));
      } finally {
        front.stalled = false;
      }
    },
  },
];
