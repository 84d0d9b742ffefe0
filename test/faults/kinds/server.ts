import { setTimeout as sleep } from 'node:timers/promises';
import type { Fault } from '../support/fault.js';

/** What happens to the server itself. */
export const server: readonly Fault[] = [
  ...(['fast', 'immediate'] as const).map(
    (mode): Fault => ({
      kind: `server restarted (${mode})`,
      weight: 1,
      scope: 'server',
      async strike(conductor, random) {
        await conductor.server.down(mode);
        await sleep(random.integer(0, 2_000));
        await conductor.server.up();
      },
    }),
  ),
  {
    kind: 'server killed (SIGKILL), and crash recovery',
    weight: 1,
    scope: 'server',
    async strike(conductor, random) {
      await conductor.server.kill();
      await sleep(random.integer(0, 1_000));
      await conductor.server.up();
    },
  },
  {
    kind: 'a backend killed (SIGKILL), and crash recovery',
    weight: 2,
    scope: 'server',
    async strike({ admin }) {
      const [row] = await admin(
        (sql) => sql`
        select pid from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() order by random() limit 1`,
      );
      if (row === undefined) throw new Error('nobody was connected');
      process.kill(row.pid as number, 'SIGKILL');
      // The server notices, ends all sessions, and starts over.
      await sleep(100);
      for (;;) {
        const answered = await admin((sql) => sql`select 1`).then(
          () => true,
          () => false,
        );
        if (answered) return;
        await sleep(50);
      }
    },
  },
  {
    kind: 'VACUUM FULL of all tables',
    weight: 2,
    scope: 'server',
    async strike({ admin }) {
      await admin(async (sql) => {
        const tables = await sql`
          select format('%I.%I', relnamespace::regnamespace, relname) as name from pg_class
          where relnamespace = 'module_cache'::regnamespace and relkind = 'r'`;
        for (const { name } of tables) await sql.unsafe(`vacuum full ${name}`);
      });
    },
  },
  {
    kind: 'everything collected as garbage at once',
    weight: 2,
    scope: 'server',
    async strike({ admin }) {
      await admin(async (sql) => {
        for (let i = 0; i < 5; i += 1) await sql`select from module_cache.collect_garbage('0', 100000)`;
      });
    },
  },
];
