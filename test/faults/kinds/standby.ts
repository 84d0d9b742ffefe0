import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestServer } from '../../support/server.js';
import { until } from '../../support/wait.js';
import type { Conductor } from '../support/conductor.js';
import { copyDataFolder, dataOf, giveTo, killWhole } from '../support/data-folder.js';
import type { Fault } from '../support/fault.js';
import { type Link, openLink } from '../support/link.js';

/** Failovers to a streaming standby, asynchronous: what it had not received yet is lost. */
export const standby: readonly Fault[] = [
  {
    kind: 'failover to a standby that lags: the last transactions are lost',
    weight: 1,
    scope: 'server',
    async strike(conductor, random) {
      await failOver(conductor, {
        lagMs: random.integer(100, 2_000),
        deadMs: random.integer(0, 1_000),
        tokensStay: random.chance(0.5),
      });
    },
  },
  {
    kind: 'failover to a standby that has everything',
    weight: 1,
    scope: 'server',
    async strike(conductor, random) {
      await failOver(conductor, {
        lagMs: 0,
        deadMs: random.integer(0, 1_000),
        tokensStay: random.chance(0.5),
      });
    },
  },
];

async function failOver(
  conductor: Conductor,
  { lagMs, deadMs, tokensStay }: { lagMs: number; deadMs: number; tokensStay: boolean },
): Promise<void> {
  const primary = conductor.server;
  const wire = await openLink(primary.port);
  let next: TestServer | undefined;
  try {
    const replica = await startStandby(conductor, wire);
    next = replica;
    await until(
      () =>
        conductor.admin(async (sql) => {
          const [row] = await sql`select from pg_stat_replication where state = 'streaming'`;
          return row !== undefined;
        }),
      { what: 'the standby streams', timeoutMs: 30_000 },
    );
    if (lagMs > 0) {
      wire.stalled = true;
      await sleep(lagMs);
    }
    const began = conductor.clock.now();
    await killWhole(primary);
    // The old primary never answers again, and whatever it had sent does not arrive.
    conductor.lead(undefined);
    wire.target = undefined;
    wire.cut();
    await sleep(deadMs);
    try {
      await conductor.admin((sql) => sql`select pg_promote(true, 60)`, replica);
    } catch (error) {
      // Then there is no failover, only a crash.
      await primary.up();
      conductor.lead(primary);
      throw error;
    }
    conductor.server = replica;
    next = undefined;
    await conductor.loseLife(began);
    if (!tokensStay) conductor.forgetTokens();
    conductor.lead(replica);
    await primary.remove();
  } finally {
    await next?.remove();
    await wire.close();
  }
}

/** As pg_basebackup does it, which not every installation has. */
async function startStandby(conductor: Conductor, wire: Link): Promise<TestServer> {
  const { server } = conductor;
  const { username, password } = new URL(server.url);
  const { port } = new URL(wire.url(server.url));
  return conductor.startAnother(
    (root) =>
      conductor.admin(async (sql) => {
        const from = dataOf(server.dataDirectory);
        const to = dataOf(root);
        await sql`select pg_backup_start('standby', true)`;
        await copyDataFolder(from, to, false);
        const [row] = await sql`select labelfile from pg_backup_stop(false)`;
        giveTo(from, to, { backup_label: row?.labelfile as string, 'standby.signal': '' });
        writeFileSync(join(root, 'password'), decodeURIComponent(password), { mode: 0o600 });
      }),
    {
      primary_conninfo: `host=127.0.0.1 port=${port} user=${username} password=${decodeURIComponent(password)}`,
    },
  );
}
