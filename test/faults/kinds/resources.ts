import { promises as fs, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import postgres from 'postgres';
import { isAlive } from '../../../src/cli/embedded-postgres/processes.js';
import type { Conductor } from '../support/conductor.js';
import type { Fault } from '../support/fault.js';

/** What the server runs out of. */
export const resources: readonly Fault[] = [
  {
    kind: 'notification queue nearly full',
    weight: 2,
    scope: 'server',
    needs: 'small queue',
    async strike({ server, urlOn }, random) {
      // From where the cache leaves it to the log up to the last two pages, which are for others.
      const full = random.pick([0.6, 0.8, 0.96]);
      const connect = () => postgres(urlOn(server), { max: 1, onnotice: () => {}, connect_timeout: 5 });
      const [listener, notifier] = [connect(), connect()];
      let over = (): void => {};
      const ended = new Promise<void>((resolve) => {
        over = resolve;
      });
      try {
        await listener.unsafe('listen of_others');
        let begun = (): void => {};
        const open = new Promise<void>((resolve) => {
          begun = resolve;
        });
        // As long as it stays in its transaction the queue is not trimmed.
        const idle = listener.begin(async (tx) => {
          await tx`select pg_current_xact_id()`;
          begun();
          await ended;
        });
        idle.catch(() => begun());
        await open;
        for (;;) {
          const [row] = await notifier`select pg_notification_queue_usage() as usage`;
          if ((row?.usage as number) >= full) break;
          await notifier`select pg_notify('of_others', repeat('x', 7000) || clock_timestamp())`;
        }
        await sleep(random.integer(500, 4_000));
        over();
        await idle;
      } finally {
        over();
        await Promise.all([listener.end({ timeout: 1 }), notifier.end({ timeout: 1 })]);
      }
    },
  },
  {
    kind: 'disk full: statements fail',
    weight: 1,
    scope: 'server',
    needs: 'small disk',
    async strike(conductor, random) {
      await fillDisk(conductor, () => sleep(random.integer(300, 2_500)));
    },
  },
  {
    kind: 'disk full: no room for the log, and crash recovery',
    weight: 1,
    scope: 'server',
    needs: 'small disk',
    async strike(conductor, random) {
      await fillDisk(conductor, async () => {
        // Until the segments that are there already are used up, and the server gives up.
        const deadline = conductor.clock.now() + 10_000;
        for (let crashed = false; !crashed; ) {
          crashed = await conductor
            .admin(
              (sql) =>
                sql`select pg_switch_wal() from (select pg_logical_emit_message(false, 'fault', 'x')) _`,
            )
            .then(
              () => false,
              ({ code }) => code !== '53100',
            );
          if (conductor.clock.now() > deadline) throw new Error('the log still finds room');
        }
        await sleep(random.integer(0, 1_000));
      });
    },
  },
];

/** Fills the rest of the server's disk while `work` is done; afterwards the server answers. */
async function fillDisk(conductor: Conductor, work: () => Promise<void>): Promise<void> {
  const { server } = conductor;
  const balloon = join(server.dataDirectory, 'balloon');
  try {
    await inflate(balloon);
    await work();
  } finally {
    rmSync(balloon, { force: true });
    await answers(conductor);
  }
}

async function inflate(file: string): Promise<void> {
  const balloon = await fs.open(file, 'w');
  try {
    for (let bytes = 2 ** 23; bytes >= 2 ** 12; ) {
      try {
        const { bytesWritten } = await balloon.write(Buffer.alloc(bytes, 1));
        if (bytesWritten < bytes) bytes >>= 1;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
        bytes >>= 1;
      }
    }
  } finally {
    await balloon.close();
  }
}

/** After a crash the server recovers by itself, unless it lacked the room for that, too. */
async function answers({ server, admin, clock }: Conductor): Promise<void> {
  for (const deadline = clock.now() + 30_000; ; ) {
    if (!isAlive({ pid: server.pid, start: '' })) {
      await server.down('immediate');
      await server.up();
    }
    const done = await admin((sql) => sql`select 1`).then(
      () => true,
      () => false,
    );
    if (done) return;
    if (clock.now() > deadline) throw new Error('the server does not come back');
    await sleep(50);
  }
}
