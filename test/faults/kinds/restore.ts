import { execFile } from 'node:child_process';
import { promises as fs, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import postgres, { type Sql } from 'postgres';
import { installScript } from '../../support/install-script.js';
import { startServer, type TestServer, temporaryFolder } from '../../support/server.js';
import type { Conductor } from '../support/conductor.js';
import { copyDataFolder, dataOf, giveTo, killWhole } from '../support/data-folder.js';
import { findDump } from '../support/dump.js';
import type { Fault } from '../support/fault.js';
import type { Random } from '../support/random.js';
import { createTables } from '../support/world.js';

/** What an operator puts back from an earlier day: what was committed since is lost. */
export const restore: readonly Fault[] = [
  {
    kind: 'volume set back to a copy that was taken while stopped',
    weight: 1,
    scope: 'server',
    async strike(conductor, random) {
      const { server } = conductor;
      const copy = await keep(async (to) => {
        // Stopped like this the unlogged tables are kept.
        await server.down('fast');
        try {
          await copyDataFolder(dataOf(server.dataDirectory), to, true);
        } finally {
          await server.up();
        }
      });
      try {
        await sleep(random.integer(300, 3_000));
        await setBack(conductor, random, copy);
      } finally {
        rmSync(copy, { recursive: true, force: true });
      }
    },
  },
  {
    kind: 'volume set back to a backup of the running server',
    weight: 1,
    scope: 'server',
    async strike(conductor, random) {
      const { server, admin } = conductor;
      const from = dataOf(server.dataDirectory);
      const copy = await keep((to) =>
        admin(async (sql) => {
          await sql`select pg_backup_start('copy', true)`;
          await copyDataFolder(from, to, false);
          const [row] = await sql`select labelfile from pg_backup_stop(false)`;
          giveTo(from, to, { backup_label: row?.labelfile as string });
          // What was written meanwhile: without it the copy is not consistent.
          await fs.rm(join(to, 'pg_wal'), { recursive: true });
          await copyDataFolder(join(from, 'pg_wal'), join(to, 'pg_wal'), true);
        }),
      );
      try {
        await sleep(random.integer(300, 3_000));
        await setBack(conductor, random, copy);
      } finally {
        rmSync(copy, { recursive: true, force: true });
      }
    },
  },
  {
    kind: 'database copied, and put into a new database',
    weight: 1,
    scope: 'server',
    async strike(conductor, random) {
      await copyInto(conductor, random, conductor.server);
    },
  },
  {
    kind: 'database copied, and put into another cluster',
    weight: 1,
    scope: 'server',
    async strike(conductor, random) {
      const old = conductor.server;
      const fresh = await startFresh(conductor);
      try {
        await copyInto(conductor, random, fresh);
      } finally {
        await (conductor.server === fresh ? old : fresh).remove();
      }
    },
  },
  {
    kind: 'database dumped with pg_dump, and restored',
    weight: 1,
    scope: 'server',
    lacks: ({ major }) =>
      findDump(major) === undefined ? `there is no pg_dump that knows PostgreSQL ${major}` : undefined,
    async strike(conductor, random) {
      const folder = temporaryFolder();
      const file = join(folder, 'dump');
      const { server, urlOn } = conductor;
      const bin = findDump(conductor.major) as string;
      const run = promisify(execFile);
      try {
        await run(join(bin, 'pg_dump'), ['--format=custom', `--file=${file}`, urlOn(server)]);
        await replaceDatabase(conductor, random, server, async () => {
          await run(join(bin, 'pg_restore'), ['--exit-on-error', `--dbname=${urlOn(server)}`, file]);
        });
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
  },
];

/** A folder with what `copy` puts there. */
async function keep(copy: (to: string) => Promise<void>): Promise<string> {
  const folder = temporaryFolder();
  try {
    await copy(join(folder, 'data'));
    return folder;
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

async function setBack(conductor: Conductor, random: Random, copy: string): Promise<void> {
  const { server, clock } = conductor;
  const data = dataOf(server.dataDirectory);
  const began = clock.now();
  conductor.lead(undefined);
  try {
    if (random.chance(0.5)) await server.down(random.pick(['fast', 'immediate']));
    else await killWhole(server);
    await fs.rm(data, { recursive: true });
    await copyDataFolder(join(copy, 'data'), data, true);
    await server.up();
    await conductor.loseLife(began);
    if (random.chance(0.5)) conductor.forgetTokens();
  } finally {
    conductor.lead(server);
  }
}

/**
 * Replaces the run's database by what `fill` puts into a new one on `target`, which was copied before. Clients go on
 * for a moment in between, and lose what they commit.
 */
async function replaceDatabase(
  conductor: Conductor,
  random: Random,
  target: TestServer,
  fill: () => Promise<void>,
): Promise<void> {
  await sleep(random.integer(300, 2_500));
  const began = conductor.clock.now();
  conductor.lead(undefined);
  conductor.garbage.pause();
  try {
    const putBack = await conductor.newDatabase(target);
    try {
      await fill();
    } catch (error) {
      await putBack();
      throw error;
    }
    conductor.server = target;
    await conductor.loseLife(began);
    if (random.chance(0.5)) conductor.forgetTokens();
  } finally {
    conductor.garbage.resume();
    conductor.lead(conductor.server);
  }
}

/** Row by row, as pg_dump does it: the tables of the application and those of the cache, in one snapshot. */
async function copyInto(conductor: Conductor, random: Random, target: TestServer): Promise<void> {
  const tables = await conductor.admin(copyOut);
  await replaceDatabase(conductor, random, target, () =>
    conductor.admin(async (sql) => {
      await sql.begin((tx) => tx.unsafe(installScript(conductor.settings.without)));
      await createTables(sql);
      await sql`set session_replication_role = replica`;
      for (const [table, rows] of tables) {
        await sql.unsafe(`truncate ${table}`);
        // Without what is computed, as a dump.
        const columns = await sql`
          select quote_ident(attname) as name from pg_attribute
          where attrelid = ${table}::text::regclass and attnum > 0 and not attisdropped and attgenerated = ''
          order by attnum`;
        const names = columns.map(({ name }) => name);
        await sql.unsafe(
          `insert into ${table} (${names.join(', ')}) overriding system value
           select ${names.map((name) => `(each).${name}`).join(', ')}
           from (select row::${table} as each from unnest($1::text[]) row offset 0) _`,
          [rows],
        );
      }
    }, target),
  );
}

async function copyOut(sql: Sql): Promise<Map<string, string[]>> {
  return sql.begin('isolation level repeatable read read only', async (tx) => {
    const names = await tx`
      select format('%I.%I', relnamespace::regnamespace, relname) as name from pg_class
      where relnamespace in ('app'::regnamespace, 'module_cache'::regnamespace) and relkind = 'r'`;
    const tables = new Map<string, string[]>();
    for (const { name } of names) {
      const rows = await tx.unsafe(`select each::text as row from ${name} each`);
      tables.set(
        name,
        rows.map(({ row }) => row as string),
      );
    }
    return tables;
  }) as Promise<Map<string, string[]>>;
}

/** A new cluster, which lets in whoever knows the password of the one of now. */
async function startFresh(conductor: Conductor): Promise<TestServer> {
  const password = decodeURIComponent(new URL(conductor.server.url).password);
  return conductor.startAnother(async (root) => {
    const first = await startServer({
      dataDirectory: root,
    });
    try {
      const sql = postgres(first.url, { max: 1 });
      await sql.unsafe(`alter role postgres password '${password}'`);
      await sql.end();
    } finally {
      await first.down();
    }
    writeFileSync(join(root, 'password'), password, { mode: 0o600 });
  });
}
