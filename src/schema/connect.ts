import postgres, { type Sql } from 'postgres';
import { openDedicated } from '../connection.js';
import { ModuleCacheError } from '../errors.js';
import { keepsSession } from '../pooler.js';

const MINIMUM_SERVER = 15;

/**
 * One connection, so that a lock and what it protects belong to one session. graphile-migrate knows one host only, so
 * of several the first that answers and is no standby is taken.
 *
 * @throws ModuleCacheError MC004 if the server is too old, MC005 if it is a standby
 */
export async function connectForMigration(databaseUrl: string | undefined): Promise<Sql> {
  const open = (extra: object): Sql => {
    const options = {
      max: 1,
      max_lifetime: null,
      fetch_types: false,
      // Asked once each, and a pooler would look for them in another session.
      prepare: false,
      onnotice: () => {},
      connection: { application_name: 'module-cache migrate' },
      ...extra,
    };
    return databaseUrl === undefined ? postgres(options) : postgres(databaseUrl, options);
  };
  let sql = open({});
  const { host, port } = sql.options;
  for (let index = 0; host.length > 1 && index < host.length; index++) {
    sql = open({ host: [host[index]], port: [port[index]] });
    const last = index === host.length - 1;
    if (last || (await isPrimary(sql))) break;
    await sql.end({ timeout: 1 });
  }
  try {
    await requireServer(sql);
    return sql;
  } catch (error) {
    await sql.end({ timeout: 1 });
    throw error;
  }
}

const isPrimary = (sql: Sql): Promise<boolean> =>
  describe(sql).then(
    ({ standby }) => !standby,
    () => false,
  );

async function describe(sql: Sql): Promise<{ version: string; standby: boolean }> {
  const [row] = await sql<{ version: string; standby: boolean }[]>`
    select current_setting('server_version') as version, pg_is_in_recovery() as standby`;
  return row ?? { version: 'unknown', standby: false };
}

async function requireServer(sql: Sql): Promise<void> {
  const { version, standby } = await describe(sql);
  if (Number.parseInt(version, 10) < MINIMUM_SERVER) {
    throw new ModuleCacheError('MC004', 'this version of Postgres is not supported', {
      detail: `the server is PostgreSQL ${version}`,
      hint: `Use PostgreSQL ${MINIMUM_SERVER} or later.`,
    });
  }
  if (standby) {
    throw new ModuleCacheError('MC005', 'this server is a standby', {
      hint: 'Give the URL of the primary: the schema is installed there.',
    });
  }
}

/**
 * The lock that keeps installs apart, and the one that graphile-migrate takes for itself, belong to a session: where
 * sessions are shared they are left behind in one of them, and nothing can be installed until the pooler closes it.
 *
 * @throws ModuleCacheError MC107
 */
export async function requireOwnSession(sql: Sql): Promise<void> {
  const own = await keepsSession(sql, () =>
    openDedicated(sql, { max: 1, prepare: false, fetch_types: false }),
  );
  if (own) return;
  throw new ModuleCacheError('MC107', 'the schema is not installed through a pooler in transaction mode', {
    detail: 'its locks would be left behind in sessions that others use',
    hint: 'Give the URL of Postgres itself: "module-cache migrate --database-url <url>", "module-cache serve --listen-url <url>".',
  });
}
