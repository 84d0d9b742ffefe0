import { setTimeout as sleep } from 'node:timers/promises';
import postgres, { type Sql } from 'postgres';
import type { Conductor } from '../support/conductor.js';
import type { Fault } from '../support/fault.js';
import type { Random } from '../support/random.js';

/** What an administrator, or a limit of the server, does to sessions. */
export const sessions: readonly Fault[] = [
  {
    kind: 'pg_terminate_backend of a listener',
    weight: 5,
    scope: 'peer',
    async strike({ admin }, _random, { number }) {
      await admin(
        (sql) => sql`
        select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = ${`peer ${number}`} and query ~* 'changes_since|listen|_report_peer'`,
      );
    },
  },
  {
    kind: 'pg_terminate_backend of holders of claims',
    weight: 5,
    scope: 'server',
    // Every peer holds a lock by which it is known to be there, and one of them that of the collector.
    strike: (conductor, random) =>
      terminate(
        conductor,
        random,
        `select pg_terminate_backend(pid) from pg_locks
         where locktype = 'advisory' and objsubid = 1 and mode = 'ExclusiveLock' and granted and pid <> pg_backend_pid()
           and (classid::bigint << 32 | objid::bigint)
             not in (module_cache._peer_key(pid), module_cache._collector_key())`,
      ),
  },
  {
    kind: 'pg_terminate_backend of a writer in its transaction',
    weight: 5,
    scope: 'server',
    strike: (conductor, random) =>
      terminate(
        conductor,
        random,
        `select pg_terminate_backend(pid) from pg_stat_activity
         where application_name like 'writer of peer%' and backend_xid is not null order by random() limit 1`,
      ),
  },
  {
    kind: 'pg_terminate_backend of everybody',
    weight: 1,
    scope: 'server',
    async strike({ admin }) {
      await admin(
        (sql) => sql`
        select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()`,
      );
    },
  },
  {
    kind: 'connection limit reached',
    weight: 2,
    scope: 'server',
    async strike({ server, fleet }, random) {
      const held: Sql[] = [];
      try {
        for (let full = false; !full; ) {
          const sql = postgres(server.url, { max: 1, onnotice: () => {} });
          held.push(sql);
          full = await sql`select 1`.then(
            () => false,
            () => true,
          );
        }
        for (const peer of fleet.peers) if (random.chance(0.4)) peer.link.cut();
        await sleep(random.integer(300, 2_000));
      } finally {
        await Promise.all(held.map((sql) => sql.end({ timeout: 0 })));
      }
    },
  },
  {
    kind: 'statement_timeout of a few ms',
    weight: 2,
    scope: 'server',
    async strike({ admin }, random) {
      await setting(admin, 'statement_timeout', `${random.integer(2, 40)}ms`, random.integer(500, 2_000));
    },
  },
  {
    kind: 'idle_in_transaction_session_timeout of a few ms',
    weight: 2,
    scope: 'server',
    async strike({ admin }, random) {
      const name = 'idle_in_transaction_session_timeout';
      await setting(admin, name, `${random.integer(2, 40)}ms`, random.integer(500, 2_000));
    },
  },
];

/** Looks again and again until there is such a session. */
async function terminate({ admin }: Conductor, random: Random, query: string): Promise<void> {
  for (let tries = 0; tries < 100; tries += 1) {
    if ((await admin((sql) => sql.unsafe(query))).count > 0) return;
    await sleep(random.integer(1, 20));
  }
  throw new Error('there was no such session');
}

/** For all sessions, also those that are there already, for a while. */
async function setting(
  admin: Parameters<Fault['strike']>[0]['admin'],
  name: string,
  value: string,
  ms: number,
): Promise<void> {
  await admin(async (sql) => {
    await sql.unsafe(`alter system set ${name} = '${value}'`);
    await sql`select pg_reload_conf()`;
  });
  await sleep(ms);
  await admin(async (sql) => {
    await sql.unsafe(`alter system reset ${name}`);
    await sql`select pg_reload_conf()`;
  });
}
