import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { connect, createDatabase, disconnect, type TestDatabase } from '../support/database.js';
import { installScript } from '../support/install-script.js';
import { pair, REALM, type Session, session } from './support/session.js';

/** Who may do what, and who may install. Roles belong to the server, so theirs have names of this run. */

const logins = {
  nobody: `nobody_${process.pid}`,
  reader: `reader_${process.pid}`,
  writer: `writer_${process.pid}`,
  operator: `operator_${process.pid}`,
  owner: `owner_${process.pid}`,
};
let db: TestDatabase;
let admin: Session;
beforeAll(async () => {
  db = await createDatabase();
  admin = session(db);
  for (const [role, login] of Object.entries(logins)) {
    await admin.run(`create role ${login} login password 'secret'`);
    if (['reader', 'writer', 'operator'].includes(role)) {
      await admin.run(`grant module_cache_${role} to ${login}`);
    }
  }
  await admin.publish('there.ts', 'x');
});
afterAll(async () => {
  for (const login of Object.values(logins)) await admin.run(`drop role if exists ${login}`);
  await db.drop();
});

const as = (login: string): { url: string } => {
  const url = new URL(db.url);
  url.username = login;
  url.password = 'secret';
  return { url: url.href };
};
async function withLogin(role: keyof typeof logins, work: (cache: Session) => Promise<void>): Promise<void> {
  const target = as(logins[role]);
  try {
    await work(session(target));
  } finally {
    await disconnect(target.url);
  }
}
const denied = { code: '42501' };

type Call = (cache: Session) => Promise<unknown>;
const reads: Record<string, Call> = {
  get: (cache) => cache.get('there.ts'),
  is_current: async (cache) => cache.isCurrent('there.ts', await admin.token()),
  changes_since: (cache) => cache.changesSince(null),
  coherence_token: (cache) => cache.run('select module_cache.coherence_token()'),
  schema_version: (cache) => cache.run('select module_cache.schema_version()'),
  oldest_client: (cache) => cache.run('select module_cache.oldest_client()'),
  _report_peer: async (cache) => {
    const needs = (await admin.token()).replace(/\/(\d+):.*$/, '@$1');
    return cache.run(`select module_cache._report_peer('${needs}', '{}')`);
  },
};
const writes: Record<string, Call> = {
  put: async (cache) => cache.put('written.ts', 'x', { token: await admin.token() }),
  invalidate: (cache) => cache.invalidate(['written.ts']),
  clear_realm: (cache) => cache.clearRealm('https://elsewhere.example/'),
  claim: (cache) => cache.claim('written.ts'),
  release: (cache) => cache.release('written.ts'),
  _show_waiting: (cache) => cache.run('select module_cache._show_waiting(1, true)'),
  _elect_collector: (cache) => cache.run(`select module_cache._elect_collector('1 hour')`),
  _resign_collector: (cache) => cache.run('select module_cache._resign_collector()'),
  _collect_for_fleet: (cache) => cache.run(`select module_cache._collect_for_fleet('1 hour', '1 day', 10)`),
  track_table: async (cache) => {
    await cache.run(`create temporary table if not exists sources (path text)`);
    await cache.run(`select module_cache.track_table('sources', '${REALM}', 'path')`);
  },
  untrack_table: (cache) => cache.run(`select module_cache.untrack_table('pg_class')`),
};
const operates: Record<string, Call> = {
  clear_all: (cache) => cache.clearAll(),
  collect_garbage: (cache) => cache.collect('1 hour'),
  'select artifacts': (cache) => cache.run('select * from module_cache.artifacts'),
  'select tombstones': (cache) => cache.run('select * from module_cache.tombstones'),
  'select invalidations': (cache) => cache.run('select * from module_cache.invalidations'),
  'select tracked_tables': (cache) => cache.run('select * from module_cache.tracked_tables'),
  'select peers': (cache) => cache.run('select * from module_cache.peers'),
  'select claims': (cache) => cache.run('select * from module_cache.claims'),
  'select stats': (cache) => cache.run('select * from module_cache.stats'),
  explain: (cache) => cache.run(`select * from module_cache.explain('${REALM}', 'there.ts')`),
  'delete from artifacts': (cache) => cache.run('delete from module_cache.artifacts'),
};

test.each([
  ['nobody', [], [reads, writes, operates]],
  ['reader', [reads], [writes, operates]],
  ['writer', [reads, writes], [operates]],
  ['operator', [reads, writes, operates], []],
] as const)('%s may do what the role says, and no more', async (role, may, mayNot) => {
  await withLogin(role, async (cache) => {
    for (const [name, call] of may.flatMap((calls) => Object.entries(calls))) {
      expect([
        name,
        await call(cache).then(
          () => 'allowed',
          (error) => error.message,
        ),
      ]).toEqual([name, 'allowed']);
    }
    for (const [name, call] of mayNot.flatMap((calls) => Object.entries(calls))) {
      expect([
        name,
        await call(cache).then(
          () => 'allowed',
          (error) => error.code,
        ),
      ]).toEqual([name, '42501']);
    }
  });
});

test('nobody but the owner reaches the tables, the private functions, or a write to the views', async () => {
  for (const role of ['nobody', 'reader', 'writer', 'operator'] as const) {
    await withLogin(role, async (cache) => {
      for (const statement of [
        'select * from module_cache._artifacts',
        'select * from module_cache._epochs',
        'select * from module_cache._peers',
        'select * from module_cache._claims',
        'select * from module_cache._activity',
        `select module_cache._name_claim(1, '', '', '', '')`,
        `select module_cache._collect_garbage('0', '0', 10, false)`,
        'delete from module_cache._generations',
        'insert into module_cache.artifacts (realm_url) values (null)',
        `update module_cache.artifacts set body = 'evil'`,
        'truncate module_cache._artifacts',
        'select module_cache._renew_epoch()',
        `select module_cache._clear('global', 0, null)`,
        'select module_cache.grant_roles()',
      ]) {
        await expect(cache.run(statement)).rejects.toMatchObject(denied);
      }
    });
  }
});

test('an application that may only invalidate does so in its transactions, and nothing else', async () => {
  await admin.run(`grant usage on schema module_cache to ${logins.nobody}`);
  await admin.run(`grant execute on function module_cache.invalidate(text, text[]) to ${logins.nobody}`);
  try {
    await admin.publish('its.ts', 'x');
    await withLogin('nobody', async (cache) => {
      await cache.begin();
      expect(await cache.invalidate(['its.ts'])).toEqual([{ realm_url: REALM, canonical_path: 'its.ts' }]);
      await cache.rollback();
      expect((await admin.get('its.ts')).status).toBe('hit');
      await cache.invalidate(['its.ts']);
      const others = Object.entries({ ...reads, ...writes, ...operates }).filter(
        ([name]) => name !== 'invalidate',
      );
      for (const [name, call] of others) {
        expect([name, await call(cache).then(String, (error) => error.code)]).toEqual([name, '42501']);
      }
    });
    expect((await admin.get('its.ts')).status).toBe('miss');
  } finally {
    await admin.run(`revoke all on schema module_cache from ${logins.nobody}`);
    await admin.run(`revoke all on all functions in schema module_cache from ${logins.nobody}`);
  }
});

test('nothing is granted to public', async () => {
  const granted = await admin.run(`
    select p.proname as name from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    where p.pronamespace = 'module_cache'::regnamespace and a.grantee = 0
    union all
    select c.relname from pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
    where c.relnamespace = 'module_cache'::regnamespace and c.relkind in ('r', 'v') and a.grantee = 0
    union all
    select n.nspname from pg_namespace n, aclexplode(n.nspacl) a where n.nspname = 'module_cache' and a.grantee = 0`);
  expect(granted).toEqual([]);
});

test('objects of a caller in its own schemas do not get in between', async () => {
  await admin.run(`create schema evil authorization ${logins.writer}`);
  await withLogin('writer', async (cache) => {
    await cache.run('set search_path to evil, pg_catalog, public');
    await cache.run(`create function evil.octet_length(text) returns integer language sql return 1 / 0`);
    await cache.run(`create function evil.pg_notify(text, text) returns void language sql as 'select 1 / 0'`);
    await cache.run(`create temporary table _artifacts (id integer)`);
    await cache.run(`create temporary table pg_class (id integer)`);
    await cache.publish('safe.ts', 'x', { token: await admin.token() });
    expect(await cache.invalidate(['safe.ts'])).toHaveLength(1);
    expect((await cache.get('safe.ts')).status).toBe('miss');
  });
  await admin.run('drop schema evil cascade');
});

describe('an installer without superuser rights', () => {
  test('installs a schema that works, roles or no roles', async () => {
    const own = await createDatabase({ template: false });
    const url = Object.assign(new URL(own.url), { username: logins.owner, password: 'secret' }).href;
    try {
      await admin.run(`alter database ${own.name} owner to ${logins.owner}`);
      const sql = connect(url, { max: 1 });
      await sql.begin((tx) => tx.unsafe(installScript()));
      const [one, other] = pair({ url });
      await one.publish('a.ts', 'x', { dependencies: ['b.ts'] });
      expect((await other.get('a.ts')).status).toBe('hit');
      await other.invalidate(['b.ts']);
      await one.publish('c.ts', 'x');
      await one.run(`delete from module_cache.artifacts where canonical_path = 'c.ts'`);
      await one.invalidate(['d.ts']);
      await one.collectAll();
      expect(await one.run('select canonical_path from module_cache.artifacts')).toEqual([]);
      expect(await one.claim('a.ts')).toBe(true);
    } finally {
      await disconnect(url);
      await own.drop();
    }
  });
});

test('roles that exist already are taken as they are', async () => {
  const own = await createDatabase({ template: false });
  try {
    await own.sql.begin((tx) => tx.unsafe(installScript()));
    const [row] = await session(own).run(`
      select has_function_privilege('module_cache_reader', 'module_cache.get(text, text, text, text)', 'execute') as may`);
    expect(row).toEqual({ may: true });
    await session(own).run('select module_cache.grant_roles()');
  } finally {
    await own.drop();
  }
});

test('the realm of a role stays what it was told', async () => {
  await withLogin('writer', async (cache) => {
    await cache.invalidate(['told.ts']);
  });
  const [row] = await admin.run(`
    select role_name, realm_url from module_cache.invalidations where named_paths = '{told.ts}'`);
  expect(row).toEqual({ role_name: logins.writer, realm_url: REALM });
});
