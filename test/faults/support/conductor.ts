import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import postgres, { type Sql } from 'postgres';
import { openCluster } from '../../../src/cli/embedded-postgres/open.js';
import { type Guard, installScript } from '../../support/install-script.js';
import { type Bouncer, startBouncer } from '../../support/pgbouncer.js';
import { findProgram } from '../../support/programs.js';
import { startServer, type TestServer, temporaryFolder } from '../../support/server.js';
import { until } from '../../support/wait.js';
import type { Need } from './fault.js';
import { createFleet, type Fleet } from './fleet.js';
import { type Clock, createClock, createRecorder, type Recorder } from './history.js';
import { type Link, openLink } from './link.js';
import { lacksDisk, makePlace } from './place.js';
import type { Random } from './random.js';
import { createServerClock, findFaketime, type ServerClock } from './server-clock.js';
import { createSources, createWorld, type World } from './world.js';

export interface RunSettings {
  seed: number;
  random: Random;
  folder: string;
  peers: number;
  modules: number;
  /** How many a module imports at most. */
  imports: number;
  /** The built client, as a file: URL. */
  client: string;
  /** An older client to deploy now and then. */
  oldClient: string;
  /** What the schema lacks. */
  without: readonly Guard[];
  boundMs: number;
  heartbeatMs: number;
  broadcast: 'notify' | 'log';
  peeksPerSecond: number;
  writesPerSecond: number;
  /** What the chosen faults ask for; what cannot be had is left out. */
  needs: ReadonlySet<Need>;
}

/** Runs a fleet, and does to it what the faults ask for. */
export interface Conductor {
  readonly settings: RunSettings;
  readonly world: World;
  readonly clock: Clock;
  readonly recorder: Recorder;
  readonly fleet: Fleet;
  /** The server that the fleet is on; a failover puts another one here. */
  server: TestServer;
  /** Major version of the servers. */
  readonly major: number;
  /** Why something that is needed cannot be had, if so. */
  lacks(need: Need): string | undefined;
  /** The clock of all servers, if it is needed. */
  readonly serverClock: ServerClock | undefined;
  /** PgBouncer, and its way to the server. */
  readonly bouncer: Bouncer | undefined;
  readonly front: Link;
  /** Another server like the first one, on a data folder that `prepare` may bring. */
  startAnother(
    prepare?: (root: string) => Promise<void>,
    settings?: Readonly<Record<string, string>>,
  ): Promise<TestServer>;
  /**
   * Makes the run's database on this server, without a table. One that is there makes way for it, and comes back with
   * what this resolves to.
   */
  newDatabase(server: TestServer): Promise<() => Promise<void>>;
  /** Superuser, on the database of the run, past all links. */
  admin<T>(work: (sql: Sql) => Promise<T>, on?: TestServer): Promise<T>;
  /** A URL of the run's database on this server. */
  urlOn(server: TestServer): string;
  /** Breaks all connections of the fleet; from now on it is led to this server, or nowhere. */
  lead(server: TestServer | undefined): void;
  /**
   * The server has lost what it committed last, or was set back: says what is true from now on. While the fleet is
   * led nowhere, so that what is committed belongs either to the life before or to the next.
   *
   * @param began when the life before ended
   */
  loseLife(began: number): Promise<void>;
  /** Versions that cannot be used here any more, as a token of a life that is lost. */
  forgetTokens(): void;
  /** Collects garbage at random intervals until stopped. */
  garbage: { pause(): void; resume(): void };
  log(line: string): void;
  close(): Promise<void>;
}

const DATABASE = 'faults';
/** Enough for hours; the fault fills it up. */
const DISK_MEGABYTES = 640;

// A session of postgres.js 3.4 whose server is killed may reject where nobody listens, too, and not say from where.
process.on('unhandledRejection', (error: { code?: string }) => {
  if (!/^(CONNECTION_|CONNECT_TIMEOUT|ECONNRE|EPIPE|57P0)/.test(error?.code ?? '')) throw error;
});

export async function createConductor(
  settings: RunSettings,
  log: (line: string) => void,
): Promise<Conductor> {
  const { random } = settings;
  const world = createWorld(settings.modules);
  const recorder = createRecorder(settings.folder, 'conductor');
  const scratch = temporaryFolder();
  const { binaries } = await openCluster({
    dataDirectory: scratch,
    binaries: process.env.TEST_POSTGRES_BINARIES,
  });
  rmSync(scratch, { recursive: true, force: true });
  const major = Number(binaries.major);
  const library = findFaketime();
  const reasons: Record<Need, string | undefined> = {
    'small disk': settings.needs.has('small disk') ? lacksDisk() : undefined,
    clock: library === undefined ? 'libfaketime is not installed' : undefined,
    'small queue': major < 17 ? 'the size of the queue can be set from Postgres 17 on' : undefined,
  };
  const has = (need: Need): boolean => settings.needs.has(need) && reasons[need] === undefined;
  const serverClock =
    has('clock') && library !== undefined ? createServerClock(library, binaries) : undefined;
  const isSmall = has('small disk');
  const serverSettings = {
    max_connections: 120,
    wal_level: 'replica',
    max_wal_senders: 4,
    max_prepared_transactions: 10,
    wal_keep_size: '64MB',
    log_min_messages: 'panic',
    ...(isSmall ? { max_wal_size: '64MB' } : {}),
    ...(has('small queue') ? { max_notify_queue_pages: 64 } : {}),
  };
  async function startAnother(
    prepare?: (root: string) => Promise<void>,
    more?: Readonly<Record<string, string>>,
  ): Promise<TestServer> {
    const place = makePlace(isSmall ? DISK_MEGABYTES : undefined);
    try {
      await prepare?.(place.root);
      const started = await startServer({
        dataDirectory: place.root,
        settings: { ...serverSettings, ...more },
        ...(serverClock === undefined ? {} : { binaries: serverClock.binaries }),
      });
      return Object.assign(started, {
        remove: async () => {
          await started.down('immediate');
          place.remove();
        },
      });
    } catch (error) {
      place.remove();
      throw error;
    }
  }
  let server = await startAnother();
  const urlOn = (of: TestServer): string => Object.assign(new URL(of.url), { pathname: `/${DATABASE}` }).href;

  async function withSql<T>(url: string, work: (sql: Sql) => Promise<T>): Promise<T> {
    const sql = postgres(url, {
      max: 1,
      onnotice: () => {},
      connect_timeout: 5,
      connection: {
        application_name: 'conductor',
        statement_timeout: 60_000,
        idle_in_transaction_session_timeout: 0,
      },
    });
    try {
      return await work(sql);
    } finally {
      await sql.end({ timeout: 1 }).catch(() => {});
    }
  }
  const admin = <T>(work: (sql: Sql) => Promise<T>, on = server): Promise<T> => withSql(urlOn(on), work);
  async function newDatabase(on: TestServer): Promise<() => Promise<void>> {
    return withSql(on.url, async (sql) => {
      const old = `${DATABASE}_before`;
      await sql.unsafe(`drop database if exists ${old} with (force)`);
      const [found] = await sql`select from pg_database where datname = ${DATABASE}`;
      if (found !== undefined) {
        await sql.unsafe(`alter database ${DATABASE} with allow_connections false`);
        await until(
          async () => {
            await sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = ${DATABASE}`;
            return sql.unsafe(`alter database ${DATABASE} rename to ${old}`).then(
              () => true,
              () => false,
            );
          },
          { what: 'nobody is in the database' },
        );
      }
      await sql.unsafe(`create database ${DATABASE}`);
      return () =>
        withSql(on.url, async (again) => {
          await again.unsafe(`drop database ${DATABASE} with (force)`);
          if (found === undefined) return;
          await again.unsafe(`alter database ${old} rename to ${DATABASE}`);
          await again.unsafe(`alter database ${DATABASE} with allow_connections true`);
        });
    });
  }

  await newDatabase(server);
  const script = installScript(settings.without);
  await admin((sql) => sql.begin((tx) => tx.unsafe(script)));
  const all = Array.from({ length: world.modules }, (_, module) => module);
  await admin((sql) =>
    createSources(sql, world, (module) =>
      random.sample(
        all.filter((each) => each !== module),
        random.integer(0, settings.imports),
      ),
    ),
  );

  const front = await openLink(server.port);
  const clock = createClock(process.hrtime.bigint());
  const bouncer =
    findProgram('pgbouncer') === undefined
      ? undefined
      : await startBouncer(front.url(urlOn(server)), {
          poolSize: 6,
          onCrash(log) {
            const what = `PgBouncer has ended by itself: ${log.slice(-1000)}`;
            recorder.write({ type: 'wrong', at: clock.now(), what });
            void bouncer?.restart().catch(() => {});
          },
        });
  const fleet = await createFleet({
    seed: settings.seed,
    random: random.fork(),
    folder: settings.folder,
    lanes: settings.peers,
    origin: String(clock.origin),
    modules: settings.modules,
    imports: settings.imports,
    client: settings.client,
    variant: 'first',
    serverUrl: urlOn(server),
    bouncerUrl: bouncer?.url(urlOn(server)),
    boundMs: settings.boundMs,
    heartbeatMs: settings.heartbeatMs,
    broadcast: settings.broadcast,
    l1Bytes: 300_000,
    readers: 4,
    peeksPerSecond: settings.peeksPerSecond,
    writesPerSecond: settings.writesPerSecond,
  });

  let collecting = true;
  let closing = false;
  const collector = (async () => {
    const own = random.fork();
    while (!closing) {
      await sleep(own.integer(100, 900));
      if (!collecting) continue;
      const olderThan = own.pick(['0', '0', '200 milliseconds', '3 seconds']);
      const batch = own.pick([20, 1_000, 10_000]);
      await admin(
        (sql) => sql`select from module_cache.collect_garbage(${olderThan}::text::interval, ${batch})`,
      ).catch(() => {});
    }
  })();

  const conductor: Conductor = {
    settings,
    world,
    clock,
    recorder,
    fleet,
    get server() {
      return server;
    },
    set server(next) {
      server = next;
    },
    major,
    lacks: (need) => reasons[need],
    serverClock,
    bouncer,
    front,
    startAnother,
    newDatabase,
    admin,
    urlOn,
    lead(to) {
      for (const link of [...fleet.links, front]) {
        link.target = to?.port;
        link.cut();
      }
    },
    async loseLife(began) {
      const rows = await admin((sql) => sql`select thing, seq, version::float8, imports from app.history`);
      recorder.write({ type: 'life', began, ended: clock.now(), survivors: JSON.stringify(rows) });
    },
    forgetTokens() {
      for (const peer of fleet.peers) peer.tell({ type: 'forget tokens' });
    },
    garbage: {
      pause: () => {
        collecting = false;
      },
      resume: () => {
        collecting = true;
      },
    },
    log,
    async close() {
      closing = true;
      await collector;
      await fleet.close();
      await bouncer?.stop();
      await front.close();
      await server.remove();
      serverClock?.remove();
      recorder.close();
    },
  };
  return conductor;
}
