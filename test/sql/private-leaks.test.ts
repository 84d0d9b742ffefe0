import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import type { Guard } from '../support/install-script.js';
import { createLogins } from '../support/logins.js';
import { createUnguardedDatabase } from './support/guard.js';
import { type Observer, observe, REALM, type Session, session } from './support/session.js';

/**
 * What a private realm holds reaches nobody else, whatever they call: each function, view and notification is asked by an
 * operator who is no member of its role, while a member does all there is to do. Nothing that comes back, rows and
 * errors, may hold one of the words below.
 */

const HOST = 'https://host.example/';
const PRIVATE = `${HOST}secret-realm/`;
const LIBRARY = 'https://library.example/';
const WORDS = /secret|hidden/;

interface House {
  readonly admin: Session;
  readonly member: Session;
  readonly other: Session;
  /** Each function that an operator may call, called by the other one. */
  readonly functions: Record<string, () => Promise<unknown>>;
  readonly invalidated: Observer;
  readonly populated: Observer;
  /** Another session of one of them: a function that was called before may be planned already, with other rights. */
  connect(name: 'member' | 'other'): Session;
  /** What the other one gets to know: rows, or an error with all its fields. */
  learns(answer: Promise<unknown>): Promise<string>;
  leave(): Promise<void>;
}

async function openHouse(db: TestDatabase): Promise<House> {
  const admin = session(db);
  const logins = createLogins(db);
  const tenant = await logins.create('tenant');
  await logins.create('member', ['module_cache_operator', tenant]);
  await logins.create('other', ['module_cache_operator']);
  const member = session(logins.urlOf('member'));
  const other = session(logins.urlOf('other'));
  const invalidated = await observe(logins.urlOf('other'));
  const populated = await observe(logins.urlOf('other'), 'module_cache_populated');
  // From before it was private: what importers in an open realm declared, dead since, and a way through it.
  await member.publish('importer.ts', 'x', { realm: LIBRARY, dependencies: [`${PRIVATE}hidden`] });
  await member.publish('cleared.ts', 'x', { realm: LIBRARY, dependencies: [`${PRIVATE}hidden-plain`] });
  await member.publish('hidden.ts', 'x', { realm: PRIVATE, dependencies: [`${LIBRARY}base`] });
  await admin.run(`select module_cache.close_realm('${PRIVATE}', '${tenant}')`);
  const { cursor } = await other.changesSince(null);
  await fill(member);
  await admin.run('create table sources (path text)');
  await admin.run(`select module_cache.track_table('sources', '${PRIVATE}', 'path')`);
  await admin.run(`insert into sources values ('hidden-row.ts')`);
  await member.invalidate(['base.ts'], LIBRARY);
  return {
    admin,
    member,
    other,
    connect: (name) => session(logins.urlOf(name)),
    functions: functionsOf(other, String(cursor)),
    invalidated,
    populated,
    async learns(answer) {
      return JSON.stringify(await answer.catch((error: Error) => ({ ...error, message: error.message })));
    },
    leave: () => logins.drop(),
  };
}
async function fill(member: Session): Promise<void> {
  const { token } = await member.get('hidden.ts', { realm: PRIVATE });
  const inside = { realm: PRIVATE, token };
  const dependencies = [`${LIBRARY}base`, `${LIBRARY}shared`, 'hidden-too'];
  await member.put('hidden.ts', 'secret body', { ...inside, dependencies });
  await member.put('gone.ts', 'secret body', inside);
  await member.put('failing.ts', 'secret error', { ...inside, isError: true, kind: 'hidden-kind' });
  await member.invalidate(['gone.ts', 'hidden-never-stored.ts'], PRIVATE);
  await member.invalidate(['secret-realm/hidden-by-its-host.ts'], HOST);
  await member.clearRealm(`${PRIVATE}hidden-folder/`);
  await member.publish('shared.ts', 'x', { realm: LIBRARY });
  await member.claim('hidden.ts', { realm: PRIVATE });
  await member.claim('hidden-released.ts', { realm: PRIVATE });
  await member.release('hidden-released.ts', { realm: PRIVATE });
  const activity = [{ realm: PRIVATE, kind: 'hidden-kind', counts: { l1_hits: 5 } }];
  await report(member, activity);
}

const report = async (cache: Session, activity: unknown): Promise<unknown> => {
  const needs = (await cache.token()).replace(/\/(\d+):.*$/, '@$1');
  return cache.run(
    `select module_cache._report_peer('${needs}', '{"name":"worker"}', '${JSON.stringify(activity)}')`,
  );
};

function functionsOf(other: Session, cursor: string): House['functions'] {
  const ask = (text: string) => other.run(`select * from module_cache.${text}`);
  const open = `'${REALM}', 'a.ts', 'transpile', ''`;
  return {
    get: () => ask(`get(${open})`),
    is_current: async () => other.isCurrent('a.ts', await other.token()),
    changes_since: () => ask(`changes_since('${cursor}')`),
    coherence_token: () => ask('coherence_token()'),
    schema_version: () => ask('schema_version()'),
    oldest_client: () => ask('oldest_client()'),
    _report_peer: () => report(other, []),
    put: async () => other.put('a.ts', 'x', { token: await other.token() }),
    invalidate: () => other.invalidate(['shared', 'never.ts'], LIBRARY),
    clear_realm: () => other.clearRealm('https://elsewhere.example/'),
    claim: () => other.claim('a.ts'),
    release: () => other.release('a.ts'),
    _claim_key: () => ask(`_claim_key(${open})`),
    track_table: async () => {
      await other.run('create temporary table if not exists own (path text)');
      return ask(`track_table('own', 'https://own.example/', 'path')`);
    },
    _tracked_change: () => other.run(`insert into own values ('shared.ts') returning *`),
    untrack_table: () => ask(`untrack_table('sources')`),
    _clear_sources: () => ask(`_clear_sources('https://elsewhere.example/')`),
    _tracking_statements: () =>
      ask(`_tracking_statements('own', 'https://own.example/', 'path', null, current_user)`),
    _untracking_statements: () => ask(`_untracking_statements('sources', current_user)`),
    _show_waiting: () => ask('_show_waiting(1, true)'),
    _elect_collector: () => ask(`_elect_collector('1 hour')`),
    _resign_collector: () => ask('_resign_collector()'),
    _collect_for_fleet: () => ask(`_collect_for_fleet('1 hour', '1 day', 10)`),
    collect_garbage: () => ask(`collect_garbage('1 hour')`),
    _status: () => ask(`_status('${PRIVATE}', 'gone.ts', 'transpile', '')`),
    _tracked_tables: () => ask('_tracked_tables()'),
    _peer_reports: () => ask('_peer_reports()'),
    _named_claims: () => ask('_named_claims()'),
    _counted: () => ask('_counted()'),
    explain: async () => [
      await ask(`explain('${LIBRARY}', 'shared.ts')`),
      await ask(`explain('${LIBRARY}', 'importer.ts')`),
      await ask(`explain('${LIBRARY}', 'cleared.ts')`),
    ],
    _is_closed: () => ask(`_is_closed('${PRIVATE}', 'guess.ts')`),
    _visible_paths: () => ask(`_visible_paths('${PRIVATE}', '{guess.ts}')`),
    _visible_keys: () => ask(`_visible_keys('${PRIVATE}', '{guess}', null)`),
    _is_member: () => ask(`_is_member('guess')`),
    clear_all: () => other.clearAll(),
  };
}

const viewsOf = async (cache: Session): Promise<string[]> => {
  const rows = await cache.run(`
    select c.relname as name from pg_class c
    where c.relnamespace = 'module_cache'::regnamespace and has_table_privilege(c.oid, 'select')
    order by 1`);
  return rows.map(({ name }) => String(name));
};

const messagesOf = (settled: PromiseSettledResult<unknown>[]): string[] =>
  settled.map((one) => (one.status === 'rejected' ? String(one.reason) : ''));

/** The names of all that tells a word of it. */
async function leaksOf({ other, functions, invalidated, learns }: House): Promise<string[]> {
  const leaks: string[] = [];
  const check = async (name: string, answer: Promise<unknown>): Promise<void> => {
    if (WORDS.test(await learns(answer))) leaks.push(name);
  };
  await other.run(`
    create or replace function pg_temp.tell(line text) returns boolean language plpgsql cost 0.00000001
    as $$ begin if line ~ 'secret|hidden' then raise '%', line; end if; return true; end $$`);
  for (const view of await viewsOf(other)) {
    await check(view, other.run(`select * from module_cache.${view}`));
    const columns = await other.run(
      `select attname as name from pg_attribute where attrelid = 'module_cache.${view}'::regclass and attnum > 0`,
    );
    const told = columns.map(({ name }) =>
      other.run(`select from module_cache.${view} where pg_temp.tell(${name}::text)`),
    );
    await check(`${view}, to a function`, Promise.allSettled(told).then(messagesOf));
  }
  for (const [name, call] of Object.entries(functions)) await check(`${name}()`, call());
  await check('notifications', invalidated.heard());
  return leaks;
}

describe('who is no member', () => {
  let db: TestDatabase;
  let house: House;
  beforeAll(async () => {
    db = await createDatabase();
    house = await openHouse(db);
  });
  afterAll(async () => {
    await house.leave();
    await db.drop();
  });

  test('is asked for every function that an operator may call', async () => {
    const granted = await house.other.run(`
      select p.proname as name from pg_proc p
      where p.pronamespace = 'module_cache'::regnamespace and has_function_privilege(p.oid, 'execute')`);
    expect(granted.map(({ name }) => name).sort()).toEqual(Object.keys(house.functions).sort());
  });

  test('sees nothing that members see', async () => {
    const { member, connect, learns } = house;
    const shown = [];
    for (const view of await viewsOf(member)) {
      for (const name of ['member', 'other'] as const) {
        const rows = await connect(name).run(`select * from module_cache.${view}`);
        if (WORDS.test(await learns(Promise.resolve(rows)))) shown.push(view);
      }
    }
    const views = [
      'artifacts',
      'claims',
      'invalidations',
      'private_realms',
      'stats',
      'tombstones',
      'tracked_tables',
    ];
    expect(shown).toEqual(views);
    expect(await learns(member.run(`select * from module_cache.explain('${LIBRARY}', 'shared.ts')`))).toMatch(
      WORDS,
    );
    expect(await leaksOf(house)).toEqual([]);
  });

  test('deletes through the view nothing that it does not show', async () => {
    const { member, other } = house;
    await member.publish('hidden.ts', 'secret body', { realm: PRIVATE });
    await member.publish('open.ts', 'x');
    expect(await other.run('delete from module_cache.artifacts returning canonical_path')).not.toEqual([]);
    expect((await member.get('hidden.ts', { realm: PRIVATE })).status).toBe('hit');
  });

  test('sees in a plan no difference between a right guess and a wrong one', async () => {
    const { member, other } = house;
    await member.publish('plan.ts', 'body of a plan', { realm: PRIVATE });
    const planOf = async (view: string, condition: string): Promise<string> => {
      const ask = () =>
        other.run(`
          explain (analyze, buffers, costs off, timing off, summary off) select from module_cache.${view} where ${condition}`);
      // Buffers of the catalog are read once in a session.
      await ask();
      return JSON.stringify((await ask()).map((row) => String(row['QUERY PLAN']).replace(condition, '')));
    };
    const normal = (plan: string) => plan.replace(/\^@ '[^']*'/g, '^@');
    for (const [view, column, right, wrong] of [
      ['artifacts', 'body', 'body of a pl', 'body of a no'],
      ['private_realms', 'realm_url', PRIVATE, 'https://none.example/'],
    ] as const) {
      expect(normal(await planOf(view, `${column} ^@ '${right}'`))).toBe(
        normal(await planOf(view, `${column} ^@ '${wrong}'`)),
      );
    }
  });

  test('cannot ask about rows that it has put together: of those it would hear what was invalidated', async () => {
    await expect(house.other.run('select module_cache._is_live(null)')).rejects.toMatchObject({
      code: '42501',
    });
    const [row] = await house.other.run(
      `select module_cache._status('${PRIVATE}', 'hidden.ts', 'transpile', '')`,
    );
    expect(row).toEqual({ _status: null });
  });

  test('is refused whatever it guesses, and the right guess like any other', async () => {
    const calls = ['guess.ts', 'hidden.ts'].flatMap((path) => [
      `get('${PRIVATE}', '${path}')`,
      `_claim_key('${PRIVATE}', '${path}', 'transpile', '')`,
      `claim('${PRIVATE}', '${path}', 'transpile', '')`,
      `release('${PRIVATE}', '${path}', 'transpile', '')`,
      `explain('${PRIVATE}', '${path}')`,
    ]);
    const answers = [];
    for (const call of calls) {
      const answer = house.other.run(`select * from module_cache.${call}`);
      answers.push(
        JSON.stringify(await answer.catch(({ code, message, detail }) => [code, message, detail])),
      );
    }
    expect([...new Set(answers)]).toEqual([
      JSON.stringify(['MC006', 'the realm is private', `realm_url: '${PRIVATE}'`]),
    ]);
  });

  test('cannot compare what claims are called with the lock table and the notifications', async () => {
    const { admin, member, other, populated } = house;
    const name = 'hidden-claim.ts';
    const guess = async (more: string): Promise<unknown> => {
      const [row] = await admin.run(`
        select hashtextextended(
          concat_ws(' ', length('${name}'), length('transpile'), '${PRIVATE}', '${name}', 'transpile', ''${more}), 3)::text as key`);
      return row?.key;
    };
    await member.claim(name, { realm: PRIVATE });
    const locks = (
      await other.run(`
        select (classid::bigint << 32 | objid::bigint)::text as key from pg_locks where locktype = 'advisory'`)
    ).map(({ key }) => key);
    await member.release(name, { realm: PRIVATE });
    const keys = await populated.heard();
    for (const list of [locks, keys]) {
      expect(list).toContain(await guess(', (select salt from module_cache._private_realms)'));
      expect(list).not.toContain(await guess(''));
    }
  });
});

/** Lines of sql/, and what tells without them. */
const guards: [string, Guard, string[]][] = [
  [
    'the log',
    {
      file: '060',
      text: "when r.has_private or m.scope = 'closed' then",
      without: "when m.scope = 'closed' then",
    },
    ['changes_since()'],
  ],
  [
    'notifications',
    {
      file: '110',
      text: 'or exists (select from module_cache._private_realms) and module_cache._names_private(realm_url, canonical_paths)',
      without: '',
    },
    ['notifications'],
  ],
  [
    'invalidate',
    {
      file: '120',
      text: 'unnest(module_cache._visible_paths(t.realm_url, t.paths)) v (path)',
      without: 'unnest(t.paths) v (path)',
    },
    ['invalidate()'],
  ],
  [
    'tracked_tables',
    { file: '127', text: "and not module_cache._is_closed(t.arguments[1], '');", without: ';' },
    ['tracked_tables', 'tracked_tables, to a function', '_tracked_tables()'],
  ],
  [
    'artifacts',
    {
      file: '150',
      text: ' or not module_cache._is_closed(a.realm_url, a.canonical_path)\norder by',
      without: ' or true\norder by',
    },
    ['artifacts', 'artifacts, to a function'],
  ],
  [
    'the security barrier of artifacts',
    { file: '150', text: 'artifacts with (security_barrier) as', without: 'artifacts as' },
    ['artifacts, to a function'],
  ],
  [
    'the dependencies in artifacts',
    {
      file: '150',
      text: 'module_cache._visible_keys(a.realm_url, a.dependency_keys, a.depends_on) collate "default"',
      without: 'a.dependency_keys',
    },
    ['artifacts', 'artifacts, to a function'],
  ],
  [
    'tombstones',
    {
      file: '150',
      text: ' or not module_cache._is_closed(g.realm_url, g.canonical_path))',
      without: ' or true)',
    },
    ['tombstones', 'tombstones, to a function'],
  ],
  [
    'invalidations',
    { file: '150', text: "or not module_cache._is_closed(i.realm_url, ''))", without: 'or true)' },
    ['invalidations', 'invalidations, to a function'],
  ],
  [
    'claims',
    {
      file: '150',
      text: ' or not module_cache._is_closed(c.realm_url, c.canonical_path))',
      without: ' or true)',
    },
    ['claims', 'claims, to a function', '_named_claims()'],
  ],
  [
    'stats',
    { file: '150', text: " or not module_cache._is_closed(k.realm_url, '')", without: ' or true' },
    ['stats', 'stats, to a function', '_counted()'],
  ],
  [
    'private_realms',
    { file: '150', text: 'where module_cache._is_member(p.role_name)', without: '' },
    ['private_realms', 'private_realms, to a function'],
  ],
  [
    'the dependents in explain',
    {
      file: '155',
      text: 'and (not v_has_private or not module_cache._is_closed(d.realm_url, d.canonical_path))',
      without: '',
    },
    ['explain()'],
  ],
  [
    'the dependencies in explain',
    {
      file: '155',
      text: 'module_cache._visible_keys(v_artifact.realm_url, v_artifact.dependency_keys, v_artifact.depends_on)',
      without: 'v_artifact.dependency_keys',
    },
    ['explain()'],
  ],
  [
    'the modules in the reasons of explain',
    { file: '155', text: 'select module_cache._name_for_caller(home, w.name)', without: 'select w.name' },
    ['explain()'],
  ],
  [
    'the realms in the reasons of explain',
    {
      file: '155',
      text: "when module_cache._is_closed(generation.realm_url, '') then 'a private realm'",
      without: 'when false then null',
    },
    ['explain()'],
  ],
];

test.each(guards)('%s tells of it without its guard', async (_, guard, told) => {
  const db = await createUnguardedDatabase([guard]);
  const house = await openHouse(db);
  try {
    expect(await leaksOf(house)).toEqual(told);
  } finally {
    await house.leave();
    await db.drop();
  }
});
