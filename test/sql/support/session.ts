import type { Sql } from 'postgres';
import { connect, type TestDatabase } from '../../support/database.js';
import { until } from '../../support/wait.js';

export const REALM = 'https://app.example/';
export const OTHER_REALM = 'https://lib.example/v1/';

export type Isolation = 'read committed' | 'repeatable read' | 'serializable';
export const ISOLATIONS: readonly Isolation[] = ['read committed', 'repeatable read', 'serializable'];

export interface ArtifactOptions {
  realm?: string;
  kind?: string;
  variant?: string;
}

export interface PutOptions extends ArtifactOptions {
  token: string | null;
  dependencies?: readonly string[] | null;
  headers?: object | null;
  expiresIn?: string | null;
  isError?: boolean;
}

export interface Read {
  status: 'hit' | 'error' | 'miss';
  body: string | null;
  headers: unknown;
  dependency_keys: string[] | null;
  generation: string | null;
  token: string | null;
  expires_in: string | null;
}

export interface Module {
  realm_url: string;
  canonical_path: string;
}

export interface Changes {
  cursor: string | null;
  complete: boolean;
  changes: { k: string; r?: string; m?: string[]; x: string }[];
}

export interface Collected {
  artifacts: string;
  renewed: string;
  generations: string;
  invalidations: string;
  complete: boolean;
}

/** One connection that calls the stored functions, as a psql session does: transactions stay open until they end. */
export interface Session {
  readonly sql: Sql;
  /** Runs text that takes no parameters. */
  run(text: string): Promise<readonly Record<string, unknown>[]>;
  begin(isolation?: Isolation): Promise<void>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
  get(path: string, options?: ArtifactOptions): Promise<Read>;
  /** The token of a get that finds nothing: what a producer holds. */
  token(): Promise<string>;
  put(path: string, body: string, options: PutOptions): Promise<{ stored: boolean; reason: string }>;
  /** A put with a fresh token. */
  publish(path: string, body: string, options?: Partial<PutOptions>): Promise<void>;
  invalidate(paths: readonly (string | null)[], realm?: string): Promise<Module[]>;
  clearRealm(realm?: string): Promise<void>;
  clearAll(): Promise<void>;
  isCurrent(path: string, token: string, options?: ArtifactOptions): Promise<boolean>;
  changesSince(cursor: string | null): Promise<Changes>;
  claim(path: string, options?: ArtifactOptions): Promise<boolean>;
  release(path: string, options?: ArtifactOptions): Promise<boolean>;
  collect(olderThan?: string, batch?: number): Promise<Collected>;
  /** Collects until only the newest row of the log and its generations are left. */
  collectAll(): Promise<void>;
  /** Resolves when every transaction that is running now, in whatever database of the server, has ended. */
  othersEnded(): Promise<void>;
  pid(): Promise<number>;
  close(): Promise<void>;
}

export function session(database: Pick<TestDatabase, 'url'>, settings: Record<string, string> = {}): Session {
  const sql = connect(database.url, { max: 1, connection: settings });
  const run = (text: string) => sql.unsafe(text) as Promise<readonly Record<string, unknown>[]>;
  const first = async <Row>(rows: Promise<readonly unknown[]>): Promise<Row> => (await rows)[0] as Row;

  const self: Session = {
    sql,
    run,
    begin: async (isolation = 'read committed') => {
      await run(`begin isolation level ${isolation}`);
    },
    commit: async () => {
      await run('commit');
    },
    rollback: async () => {
      await run('rollback');
    },
    get: (path, { realm = REALM, kind = 'transpile', variant = '' } = {}) =>
      first(sql`select * from module_cache.get(${realm}, ${path}, ${kind}, ${variant})`),
    token: async () => {
      const { token } = await self.get('no/such/module.ts');
      if (token === null) throw new Error('get gave no token');
      return token;
    },
    put: (path, body, { realm = REALM, kind = 'transpile', variant = '', token, ...rest }) =>
      first(sql`
        select * from module_cache.put(
          ${realm}, ${path}, ${kind}, ${variant}, ${body}, ${JSON.stringify(rest.headers ?? {})}::text::jsonb,
          ${(rest.dependencies ?? []) as string[]}, ${token}, ${rest.expiresIn ?? null}::text::interval,
          ${rest.isError ?? false})`),
    publish: async (path, body, options = {}) => {
      const token = options.token ?? (await self.token());
      const { stored, reason } = await self.put(path, body, { ...options, token });
      if (!stored) throw new Error(`${path} was not stored: ${reason}`);
    },
    invalidate: async (paths, realm = REALM) => {
      const rows = await sql<Module[]>`select * from module_cache.invalidate(${realm}, ${paths as string[]})`;
      return [...rows];
    },
    clearRealm: async (realm = REALM) => {
      await sql`select module_cache.clear_realm(${realm})`;
    },
    clearAll: async () => {
      await sql`select module_cache.clear_all()`;
    },
    isCurrent: async (path, token, { realm = REALM, kind = 'transpile', variant = '' } = {}) => {
      const row = await first<{ current: boolean }>(
        sql`select module_cache.is_current(${realm}, ${path}, ${kind}, ${variant}, ${token}) as current`,
      );
      return row.current;
    },
    changesSince: (cursor) => first(sql`select * from module_cache.changes_since(${cursor})`),
    claim: async (path, { realm = REALM, kind = 'transpile', variant = '' } = {}) => {
      const row = await first<{ claimed: boolean }>(
        sql`select module_cache.claim(${realm}, ${path}, ${kind}, ${variant}) as claimed`,
      );
      return row.claimed;
    },
    release: async (path, { realm = REALM, kind = 'transpile', variant = '' } = {}) => {
      const row = await first<{ released: boolean }>(
        sql`select module_cache.release(${realm}, ${path}, ${kind}, ${variant}) as released`,
      );
      return row.released;
    },
    collect: (olderThan = '0 s', batch = 10_000) =>
      first(sql`select * from module_cache.collect_garbage(${olderThan}::text::interval, ${batch})`),
    collectAll: async () => {
      const [newest] = await run(
        'select coalesce(max(xid), $$0$$)::text as xid from module_cache._invalidations',
      );
      // Transactions of other databases count as running, too: those of other tests end.
      await until(
        async () => {
          const { complete } = await self.collect();
          const [left] = await run(
            `select from module_cache._generations where xid < '${newest?.xid}' limit 1`,
          );
          return complete && left === undefined;
        },
        { timeoutMs: 30_000, what: 'all garbage was collected' },
      );
    },
    othersEnded: async () => {
      const [now] = await run('select pg_current_xact_id()::text as xid');
      await until(
        async () => {
          const [row] = await run(`select pg_snapshot_xmin(pg_current_snapshot()) > '${now?.xid}' as ended`);
          return row?.ended === true;
        },
        { timeoutMs: 30_000, what: 'the transactions that were running have ended' },
      );
    },
    pid: async () => {
      const row = await first<{ pid: number }>(sql`select pg_backend_pid() as pid`);
      return row.pid;
    },
    close: () => sql.end({ timeout: 1 }),
  };
  return self;
}

export const pair = (database: Pick<TestDatabase, 'url'>): [Session, Session] => [
  session(database),
  session(database),
];

export interface Observer {
  /** What was notified so far, the newest last. Asks the server, so that nothing that was committed before is missing. */
  heard(): Promise<string[]>;
}

/** An observer session that listens; what it hears is complete because notifications come in commit order. */
export async function observe(
  database: Pick<TestDatabase, 'url'>,
  channel = 'module_cache_invalidated',
): Promise<Observer> {
  const sql = connect(database.url, { max: 1 });
  const payloads: string[] = [];
  const echoes = new Map<string, () => void>();
  await sql.listen(channel, (payload) => {
    const echo = echoes.get(payload);
    if (echo === undefined) payloads.push(payload);
    else echo();
  });
  let count = 0;
  return {
    heard: async () => {
      count += 1;
      const name = `observer ${process.pid} ${count} ${Math.random()}`;
      const echoed = new Promise<void>((resolve) => echoes.set(name, resolve));
      await sql.notify(channel, name);
      await echoed;
      return [...payloads];
    },
  };
}

export interface DatabaseError {
  code: string;
  message: string;
  detail?: string;
  hint?: string;
}

/** What the call was refused with; fails if it was not refused. */
export async function refusal(call: Promise<unknown>): Promise<DatabaseError> {
  try {
    await call;
  } catch (error) {
    return error as DatabaseError;
  }
  throw new Error('the call was not refused');
}
