import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { openQuestions } from '../../src/cli/database.js';
import { type Check, type Finding, type Patient, runCheck } from '../../src/cli/doctor/check.js';
import { judgeQueue } from '../../src/cli/doctor/connection.js';
import { judgePeers, longTransactions, oldClaims } from '../../src/cli/doctor/fleet.js';
import { judgeClock } from '../../src/cli/doctor/server.js';
import type { PeerRow } from '../../src/cli/fleet.js';
import { committedMigrations } from '../../src/schema/files.js';
import { startProxy } from '../client/support/proxy.js';
import { type Session, session } from '../sql/support/session.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { startBouncer } from '../support/pgbouncer.js';
import { describeWith } from '../support/with-programs.js';
import { createLogin, type Login, run } from './support/run.js';

const REALM = 'https://patient.example/';

describe('module-cache doctor', () => {
  let database: TestDatabase;
  let cache: Session;
  let operator: Login;
  let nobody: Login;
  beforeAll(async () => {
    database = await createDatabase();
    cache = session(database, { application_name: 'a hanging job' });
    [operator, nobody] = [await createLogin(database, 'operator'), await createLogin(database)];
    await cache.publish('a.ts', 'a', { realm: REALM });
  });
  afterAll(async () => {
    await operator.drop();
    await nobody.drop();
    await database.drop();
  });

  async function examine(url: string, ...args: string[]) {
    const { code, stdout } = await run(['doctor', '--json', '--database-url', url, ...args]);
    const { checks, ...counts } = JSON.parse(stdout) as { checks: Finding[]; failed: number; warned: number };
    const of = (name: string): Finding | undefined => checks.find((check) => check.name === name);
    return { code, checks, of, statuses: new Set(checks.map(({ status }) => status)), ...counts };
  }
  async function only(check: Check): Promise<Finding> {
    const questions = openQuestions(operator.url, 'test');
    try {
      const patient: Patient = { url: operator.url, listenUrl: undefined, questions, hasSchema: true };
      return await runCheck(check, patient);
    } finally {
      await questions.close();
    }
  }

  test('an operator sees all checks of a healthy database pass', async () => {
    const { code, checks, of } = await examine(operator.url);
    // How many connections are left is a matter of what other tests do meanwhile.
    expect(checks.filter(({ name, status }) => status !== 'pass' && name !== 'connections')).toEqual([]);
    expect(code).toBe(0);
    expect(of('role')?.figure).toBe(`${operator.name} may read, write, operate (as module_cache_operator)`);
    expect(of('tables')?.figure).toMatch(/about \d+ artifacts?, \d+ generations?, \d+ log rows?$/);
    expect(checks.map(({ name }) => name)).toEqual([
      ...[
        'connection',
        'server',
        'primary',
        'settings',
        'connections',
        'lock table',
        'clock',
        'pooler',
        'listening',
      ],
      ...[
        'notification queue',
        'schema',
        'role',
        'tracked tables',
        'private realms',
        'long transactions',
        'replication',
        'peers',
      ],
      ...['claims', 'garbage', 'tables'],
    ]);
  });

  test('for people: status, name, figure, advice; and nothing secret', async () => {
    const { code, stdout } = await run(['doctor', '--database-url', nobody.url]);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^pass {2}server +PostgreSQL /m);
    expect(stdout).toMatch(
      new RegExp(`^fail {2}role +${nobody.name} may do nothing\n +→ Grant it a role`, 'm'),
    );
    expect(stdout).toMatch(/^1 failed, \d+ with a warning, \d+ skipped, \d+ passed\n$/m);
    expect(stdout).not.toContain('secret');
  });

  test('a role without any right: what it may not see is skipped, with the reason', async () => {
    const { code, of, checks } = await examine(nobody.url);
    expect(code).toBe(1);
    expect(checks.filter(({ status }) => status === 'fail').map(({ name }) => name)).toEqual(['role']);
    for (const name of ['schema', 'tracked tables', 'peers', 'claims', 'garbage']) {
      expect(of(name)).toMatchObject({
        status: 'skip',
        figure: expect.stringContaining('permission denied'),
      });
    }
    expect(of('listening')?.status).toBe('pass');
  });

  test('a reader is told that reading is all it may do', async () => {
    const reader = await createLogin(database, 'reader');
    try {
      const { of } = await examine(reader.url);
      expect(of('role')).toMatchObject({
        status: 'warn',
        figure: expect.stringContaining('may read (as module_cache_reader)'),
      });
    } finally {
      await reader.drop();
    }
  });

  test('a server that is not there: one failure, and exit 1', async () => {
    const { code, checks } = await examine('postgres://user:secret@127.0.0.1:1/none');
    expect([code, checks]).toMatchObject([
      1,
      [{ name: 'connection', status: 'fail', advice: expect.any(String) }],
    ]);
    expect(JSON.stringify(checks)).not.toContain('secret');
  });

  test('no schema, and one that is older than the client', async () => {
    const fresh = await createDatabase({ template: false });
    try {
      const without = await examine(fresh.url);
      expect(without.code).toBe(1);
      expect(without.of('schema')).toMatchObject({
        status: 'fail',
        advice: expect.stringContaining('migrate'),
      });
      expect(without.of('peers')).toMatchObject({
        status: 'skip',
        figure: 'there is no schema module_cache',
      });
      await fresh.sql.begin((tx) => tx.unsafe(committedMigrations()[0]?.text ?? ''));
      const old = await examine(fresh.url);
      expect(old.of('schema')).toMatchObject({
        status: 'warn',
        figure: expect.stringContaining('schema 0.1.0'),
      });
      expect(old.of('peers')).toMatchObject({
        status: 'skip',
        figure: expect.stringContaining('upgrade it'),
      });
      expect(old.code).toBe(0);
    } finally {
      await fresh.drop();
    }
  });

  test('trap: a way that notifications do not get through fails, and passes with --listen-url', async () => {
    const proxy = await startProxy(database.url, { deaf: true });
    try {
      const deaf = await examine(proxy.url);
      expect([deaf.code, deaf.of('listening')]).toMatchObject([
        1,
        { status: 'fail', advice: expect.stringContaining('--listen-url') },
      ]);
      expect((await examine(proxy.url, '--listen-url', database.url)).of('listening')?.status).toBe('pass');
    } finally {
      await proxy.close();
    }
  });

  test('a server that falls silent is one failure, not a wait for each check', async () => {
    const proxy = await startProxy(operator.url);
    try {
      // The name of a column: from the second answer on nothing comes through.
      proxy.hold('current_setting');
      const { code, checks } = await examine(proxy.url);
      expect([code, checks]).toMatchObject([
        1,
        [
          { name: 'connection' },
          { name: 'server', status: 'fail', figure: expect.stringContaining('no answer') },
        ],
      ]);
      expect(checks).toHaveLength(2);
    } finally {
      await proxy.close();
    }
  });

  test('settings and roles that stand in the way are named', async () => {
    await database.sql.unsafe(`
      alter database ${database.name} set track_activities = off;
      alter role ${operator.name} in database ${database.name} set default_transaction_read_only = on`);
    try {
      const { of } = await examine(operator.url);
      expect(of('settings')).toMatchObject({ status: 'warn', figure: 'off: track_activities' });
      expect(of('primary')).toMatchObject({ status: 'warn', figure: expect.stringContaining('read-only') });
    } finally {
      await database.sql.unsafe(`
        alter database ${database.name} reset track_activities;
        alter role ${operator.name} in database ${database.name} reset default_transaction_read_only`);
    }
  });

  test('a transaction that holds back garbage is named with its session, role and application', async () => {
    await database.sql.unsafe(`grant pg_read_all_stats to ${operator.name}`);
    await cache.begin();
    try {
      await cache.run('select pg_current_xact_id()');
      expect(await only(longTransactions('0 s'))).toMatchObject({
        status: 'warn',
        figure: expect.stringMatching(
          new RegExp(
            `session ${await cache.pid()} of postgres, a hanging job in ${database.name}: .*holds back garbage collection and VACUUM`,
          ),
        ),
      });
      await cache.run(`prepare transaction 'forgotten ${database.name}'`);
      expect((await only(longTransactions('0 s'))).figure).toContain(
        `prepared transaction forgotten ${database.name} of`,
      );
      await cache.run(`rollback prepared 'forgotten ${database.name}'`);
    } finally {
      await cache.rollback();
      await database.sql.unsafe(`revoke pg_read_all_stats from ${operator.name}`);
    }
  });

  test('a claim that lasts too long is named with its producer', async () => {
    await cache.claim('slow.ts', { realm: REALM });
    expect(await only(oldClaims(-1))).toMatchObject({
      status: 'warn',
      figure: expect.stringContaining(
        `transpile of ${REALM}slow.ts by a hanging job (session ${await cache.pid()})`,
      ),
    });
    await cache.release('slow.ts', { realm: REALM });
  });

  test('a tracked table that needs a look, a log that nobody collects, and dead rows', async () => {
    await database.sql.unsafe(`
      create table files (path text not null, tenant integer not null) partition by list (tenant);
      create table files_1 partition of files for values in (1)`);
    await database.sql`select module_cache.track_table('files', ${REALM}, 'path')`;
    await database.sql.unsafe('create table files_2 partition of files for values in (2)');
    await database.sql.unsafe(`
      insert into module_cache._invalidations (xid, scope, realm_url, invalidated_at)
      select pg_current_xact_id(), 'realm', '${REALM}', now() - interval '1 day' from generate_series(1, 1001);
      alter table module_cache._generations set (autovacuum_enabled = off);
      insert into module_cache._generations (key, xid) select 1, pg_current_xact_id() from generate_series(1, 10001);
      delete from module_cache._generations where key = 1;
      select pg_stat_force_next_flush()`);
    await database.sql`insert into module_cache._private_realms values ('https://closed.example/', 'gone', gen_random_uuid())`;
    const { code, of } = await examine(operator.url);
    expect(of('private realms')).toMatchObject({
      status: 'pass',
      figure: '0 realms that this role may read',
    });
    expect((await examine(database.url)).of('private realms')).toMatchObject({
      status: 'warn',
      figure: 'https://closed.example/ belongs to the role gone, which does not exist',
    });
    await database.sql`delete from module_cache._private_realms`;
    expect(of('tracked tables')).toMatchObject({
      status: 'warn',
      figure: 'files: files_2 is tracked row by row',
    });
    expect(of('garbage')).toMatchObject({
      status: 'warn',
      figure: expect.stringMatching(/1,00\d rows in the log/),
    });
    expect(of('tables')).toMatchObject({
      status: 'warn',
      figure: expect.stringMatching(/generations has 10,\d+ dead rows/),
    });
    expect(code).toBe(0);
  });

  const peer = {
    name: 'web',
    status: 'listening',
    lagMs: 0,
    silentForMs: 0,
    version: '0.2.0',
    host: 'h',
    processId: 7,
  };
  test.each([
    ['a queue that fills', judgeQueue(0.3), 'warn'],
    ['a queue from which on nothing is notified', judgeQueue(0.5), 'fail'],
    ['a queue as usual', judgeQueue(0.24), 'pass'],
    ['a clock that is two seconds off', judgeClock(-2_000, 10), 'warn'],
    ['a clock that may only seem to be off', judgeClock(1_200, 500), 'pass'],
    ['a silent peer', judgePeers([peer, { ...peer, status: 'silent' }] as PeerRow[]), 'warn'],
    ['a peer that lags', judgePeers([{ ...peer, lagMs: 11_000 }] as PeerRow[]), 'warn'],
    ['peers as usual', judgePeers([peer, peer] as PeerRow[]), 'pass'],
  ] as const)('%s', (_, { status, advice }, expected) => {
    expect(status).toBe(expected);
    expect(advice !== '').toBe(expected !== 'pass');
  });

  describeWith('pgbouncer', 'through PgBouncer in transaction mode', () => {
    test('the pooler is found, it loses what is prepared, and listening needs --listen-url', async () => {
      const bouncer = await startBouncer(database.url, { poolSize: 2 });
      try {
        const through = await examine(bouncer.url(database.url), '--listen-url', database.url);
        expect(through.of('pooler')).toMatchObject({
          status: 'warn',
          figure: expect.stringContaining('transaction mode'),
        });
        expect([through.code, through.of('listening')?.status]).toEqual([0, 'pass']);
        expect((await examine(bouncer.url(database.url))).of('listening')?.status).toBe('fail');
      } finally {
        await bouncer.stop();
      }
      const sessions = await startBouncer(database.url, { poolMode: 'session' });
      try {
        expect((await examine(sessions.url(database.url))).of('pooler')).toMatchObject({
          status: 'pass',
          figure: expect.stringContaining('a session for each client'),
        });
      } finally {
        await sessions.stop();
      }
    });
  });
});
