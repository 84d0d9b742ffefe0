import { randomUUID } from 'node:crypto';
import postgres, { type Options, type Sql } from 'postgres';

/** A database of its own for one test file. */
export interface TestDatabase {
  readonly name: string;
  readonly url: string;
  readonly sql: Sql;
  /** Closes every client that `connect` opened on it, and removes it. */
  drop(): Promise<void>;
}

const open = new Map<string, Set<Sql>>();

/** A client that closes with its database. Notices are not printed. */
export function connect(url: string, options: Options<Record<string, never>> = {}): Sql {
  const sql: Sql = postgres(url, { max: 4, onnotice: () => {}, ...options });
  const clients = open.get(url) ?? new Set();
  open.set(url, clients.add(sql));
  return sql;
}

/** Closes what `connect` opened on this URL. */
export async function disconnect(url: string): Promise<void> {
  const clients = open.get(url) ?? new Set();
  open.delete(url);
  await Promise.all([...clients].map((sql) => sql.end({ timeout: 1 })));
}

/**
 * @param template with the schema of `sql/` (the default), or empty
 * @param serverUrl of another server than the one of the run, which has no template
 */
export async function createDatabase({
  template = true,
  serverUrl = '',
}: {
  template?: boolean;
  serverUrl?: string;
} = {}): Promise<TestDatabase> {
  const server = serverUrl || fromSetup('TEST_SERVER_URL');
  const source = template ? fromSetup('TEST_TEMPLATE') : 'template0';
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  await administer(server, (admin) => admin`create database ${admin(name)} template ${admin(source)}`);
  const url = Object.assign(new URL(server), { pathname: `/${name}` }).href;
  return {
    name,
    url,
    sql: connect(url),
    drop: async () => {
      await disconnect(url);
      await administer(server, (admin) => admin`drop database if exists ${admin(name)} with (force)`);
    },
  };
}

async function administer(serverUrl: string, work: (admin: Sql) => Promise<unknown>): Promise<void> {
  const admin = postgres(serverUrl, { max: 1, onnotice: () => {} });
  try {
    await work(admin);
  } finally {
    await admin.end({ timeout: 1 });
  }
}

function fromSetup(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: run the tests through Jest`);
  return value;
}
