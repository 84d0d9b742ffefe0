import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { OTHER_REALM, pair, REALM, type Session, session } from './support/session.js';

/** Why `get` answers as it does (DESIGN.md section 5, `explain`). */

interface Explained {
  kind: string | null;
  variant: string | null;
  status: string;
  reason: string;
  through: string[] | null;
  xid: string | null;
  role_name: string | null;
  application_name: string | null;
  backend_pid: number | null;
  dependencies: string[] | null;
  dependents: string[];
}

let db: TestDatabase;
let cache: Session;
let psql: Session;
beforeAll(async () => {
  db = await createDatabase();
  cache = session(db);
  psql = session(db, { application_name: 'psql' });
});
afterAll(() => db.drop());
beforeEach(() => cache.run(`delete from module_cache._artifacts; delete from module_cache._claims`));

async function explain(path: string, realm = REALM): Promise<Explained[]> {
  return (await cache.sql`select * from module_cache.explain(${realm}, ${path})`) as unknown as Explained[];
}
async function reasonOf(path: string): Promise<string> {
  const rows = await explain(path);
  expect(rows).toHaveLength(1);
  // How long ago it was differs from run to run, as ids do.
  return (rows[0] as Explained).reason
    .replace(/[\d.]+ s ago/g, 'N s ago')
    .replace(/transaction \d+/g, 'transaction X');
}
const role = async (): Promise<string> => (await cache.run('select session_user as name'))[0]?.name as string;

describe('a module that is stored', () => {
  test('is a hit, or an error, with who stored it', async () => {
    await cache.publish('fine.ts', 'x', { dependencies: ['base.ts', `${OTHER_REALM}lib.ts`] });
    await cache.publish('broken.ts', 'x', { isError: true });
    expect(await reasonOf('fine.ts')).toBe('hit: stored N s ago by transaction X');
    expect(await reasonOf('broken.ts')).toBe('error: stored N s ago by transaction X');
    expect(await explain('fine.ts')).toMatchObject([
      {
        kind: 'transpile',
        variant: '',
        status: 'hit',
        dependencies: ['base', `${OTHER_REALM}lib`],
        through: null,
      },
    ]);
  });

  test('shows the last invalidation that it has seen', async () => {
    await psql.invalidate(['again.ts']);
    await cache.publish('again.ts', 'x');
    expect(await reasonOf('again.ts')).toBe(
      `hit: stored N s ago by transaction X, after it was invalidated N s ago by transaction X of role ${await role()} from psql at 127.0.0.1`,
    );
  });

  test('has a row for each kind and variant, and is found by any of its names', async () => {
    await cache.publish('many/index.ts', 'x');
    await cache.publish('many/index.ts', 'x', { variant: 'b' });
    await cache.publish('many/index.ts', 'x', { kind: 'definition' });
    for (const name of ['many/index.ts', 'many', 'many/index.js']) {
      expect((await explain(name)).map(({ kind, variant }) => [kind, variant])).toEqual([
        ['definition', ''],
        ['transpile', ''],
        ['transpile', 'b'],
      ]);
    }
  });

  test('says which one it speaks of where several have the name', async () => {
    await cache.publish('both.ts', 'x');
    await cache.publish('both.gts', 'x');
    expect((await explain('both.ts')).map(({ reason }) => reason.split('; ')[1])).toEqual([
      'stored as both.gts',
      undefined,
    ]);
  });

  test('names those that declared it, in other realms by their URL', async () => {
    await cache.publish('leaf.ts', 'x');
    await cache.publish('user.ts', 'x', { dependencies: ['leaf'] });
    await cache.publish('far.ts', 'x', { realm: OTHER_REALM, dependencies: [`${REALM}leaf.ts`] });
    expect((await explain('leaf.ts'))[0]?.dependents).toEqual([`${OTHER_REALM}far.ts`, 'user.ts']);
  });
});

describe('a module that was invalidated', () => {
  test('by its name: who, when, which transaction, from where', async () => {
    await cache.publish('named.ts', 'x');
    await psql.invalidate(['named.ts']);
    const [row] = await explain('named.ts');
    const [log] = await cache.run('select * from module_cache.invalidations order by xid desc limit 1');
    expect(row).toMatchObject({
      status: 'tombstone',
      through: [],
      xid: log?.xid,
      role_name: await role(),
      application_name: 'psql',
      backend_pid: await psql.pid(),
    });
    expect(await reasonOf('named.ts')).toBe(
      `miss: invalidated N s ago by transaction X of role ${await role()} from psql at 127.0.0.1`,
    );
  });

  test('through others: the way, the nearest first and the named one last', async () => {
    await cache.publish('models/base.ts', 'x');
    await cache.publish('models/person.ts', 'x', { dependencies: ['models/base'] });
    await cache.publish('app.ts', 'x', { dependencies: ['models/person', 'models/other'] });
    await psql.invalidate(['models/unrelated.ts', 'models/base.ts']);
    expect((await explain('app.ts'))[0]?.through).toEqual(['models/person.ts', 'models/base.ts']);
    expect(await reasonOf('app.ts')).toMatch(
      /^miss: invalidated .* from psql .*, through models\/person\.ts, models\/base\.ts$/,
    );
  });

  test('through a cycle, and through other realms', async () => {
    await cache.publish('a.ts', 'x', { dependencies: ['b', 'c'] });
    await cache.publish('b.ts', 'x', { dependencies: ['a'] });
    await cache.publish('c.ts', 'x', { dependencies: ['b', `${OTHER_REALM}lib`] });
    await cache.publish('lib.ts', 'x', { realm: OTHER_REALM, dependencies: ['deep\nname'] });
    await psql.invalidate(['deep\nname.ts'], OTHER_REALM);
    expect((await explain('a.ts'))[0]?.through).toEqual([
      'c.ts',
      `${OTHER_REALM}lib.ts`,
      `${OTHER_REALM}deep\nname.ts`,
    ]);
    expect((await explain('lib.ts', OTHER_REALM))[0]?.through).toEqual(['deep\nname.ts']);
  });

  test('through a long chain beside a large fan-out, at a cost that does not grow with what was reached', async () => {
    // 30,000 modules that import the next one, as put would store them.
    await cache.run(`
      insert into module_cache._artifacts
      select
        '${REALM}', m.path, 'transpile', '', '', '{}', m.keys, false, null, e.epoch, pg_current_snapshot(),
        pg_current_xact_id(), module_cache._module_hash('${REALM}', m.path), module_cache._realm_hash('${REALM}'),
        module_cache._dependency_hashes('${REALM}', m.keys), clock_timestamp(), null
      from module_cache._epoch() e,
        (select i || '.ts' as path, array[(i + 1)::text] as keys from generate_series(1, 30000) i) m;
      analyze module_cache._artifacts`);
    const explained = async (path: string): Promise<{ through: unknown; ms: number }> => {
      let ms = Number.POSITIVE_INFINITY;
      let through: unknown;
      for (let round = 0; round < 5; round += 1) {
        const began = performance.now();
        const rows = await cache.run(`select through from module_cache.explain('${REALM}', '${path}')`);
        ms = Math.min(ms, performance.now() - began);
        through = rows[0]?.through;
      }
      return { through, ms };
    };
    await psql.invalidate(['3.ts']);
    const small = await explained('2.ts');
    expect(small.through).toEqual(['3.ts']);
    await psql.invalidate(['30000.ts']);
    const large = await explained('29999.ts');
    expect(large.through).toEqual(['30000.ts']);
    expect(large.ms).toBeLessThan(10 * small.ms);
    const middle = await explained('29950.ts');
    expect(middle.through).toHaveLength(50);
    expect(middle.through).toContain('30000.ts');
    // Beyond a hundred steps it gives up.
    expect(await explained('1.ts')).toMatchObject({ through: [] });
  }, 60_000);

  test('through a dependency that no edge told of when it was invalidated', async () => {
    const token = await cache.token();
    await psql.invalidate(['late.ts']);
    await cache.publish('consumer.ts', 'x');
    await cache.run(`
      update module_cache._artifacts a set snapshot = split_part('${token}', '/', 2)::pg_snapshot,
        dependency_keys = '{late}', depends_on = module_cache._dependency_hashes('${REALM}', '{late}')
      where a.canonical_path = 'consumer.ts'`);
    expect(await explain('consumer.ts')).toMatchObject([{ status: 'tombstone', through: ['late.ts'] }]);
  });

  test('with its realm, with one that it depends on, with everything', async () => {
    await cache.publish('own.ts', 'x');
    await psql.clearRealm(REALM);
    expect(await reasonOf('own.ts')).toMatch(
      /^miss: its realm was cleared N s ago by transaction X of role .* from psql/,
    );
    await cache.publish('own.ts', 'x', { dependencies: [`${OTHER_REALM}lib`] });
    await psql.clearRealm(OTHER_REALM);
    expect(await reasonOf('own.ts')).toMatch(
      /^miss: the realm https:\/\/lib\.example\/v1\/, which it depends on, was cleared N s ago/,
    );
    await psql.clearAll();
    expect(await reasonOf('own.ts')).toMatch(/^miss: everything was cleared N s ago/);
  });

  test('and is not stored', async () => {
    await psql.invalidate(['gone.ts']);
    expect(await explain('gone.ts')).toMatchObject([{ kind: null, status: 'tombstone', dependencies: null }]);
    expect(await reasonOf('gone.ts')).toMatch(/^miss: not stored since it was invalidated N s ago/);
  });
});

describe('a module that is a miss without an invalidation', () => {
  test('was never there', async () => {
    const fresh = await createDatabase();
    try {
      const [other] = pair(fresh);
      const rows = await other.run(`select status, reason from module_cache.explain('${REALM}', 'never.ts')`);
      expect(rows).toMatchObject([{ status: 'miss', reason: 'miss: never stored, or collected since' }]);
    } finally {
      await fresh.drop();
    }
  });

  test('has expired', async () => {
    await cache.publish('short.ts', 'x', { expiresIn: '1 millisecond' });
    await cache.run('select pg_sleep(0.01)');
    expect(await reasonOf('short.ts')).toBe('miss: expired N s ago');
  });

  test('is of another life of the tables', async () => {
    await cache.publish('old.ts', 'x');
    await cache.run(`update module_cache._artifacts set epoch = gen_random_uuid()`);
    expect(await reasonOf('old.ts')).toMatch(/^miss: stored in another life of the database/);
  });
});

test('what is being produced says by whom, and who waits for it', async () => {
  const [waiter] = pair(db);
  await psql.claim('wanted.ts');
  await waiter.run(
    `select module_cache._show_waiting(module_cache._claim_key('${REALM}', 'wanted.ts', 'transpile', ''), true)`,
  );
  expect((await explain('wanted.ts'))[0]?.reason).toMatch(
    /; being produced by psql for [\d.]+ s, awaited by /,
  );
  await psql.release('wanted.ts');
  expect((await explain('wanted.ts'))[0]?.reason).not.toContain('produced by');
});

test('it says what get says, whatever the history', async () => {
  const names = ['p.ts', 'q.ts', 'r.ts', 's.ts'];
  for (let round = 0; round < 60; round += 1) {
    const name = names[round % 4] as string;
    if (round % 3 === 0) await cache.invalidate([names[(round * 7) % 4] as string]);
    else if (round % 11 === 0) await cache.clearRealm();
    else await cache.publish(name, 'x', { dependencies: [names[(round + 1) % 4] as string] });
    for (const path of names) {
      const { status } = await cache.get(path);
      const explained = (await explain(path)).map((row) => row.reason.split(':')[0]);
      expect(explained).toEqual([status]);
    }
  }
});

test('a malformed name is refused as get refuses it', async () => {
  await expect(explain('/x.ts')).rejects.toMatchObject({ code: 'MC001' });
  await expect(explain('x.ts', 'nowhere')).rejects.toMatchObject({ code: 'MC001' });
});
