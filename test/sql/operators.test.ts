import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { OTHER_REALM, pair, REALM, type Session, session } from './support/session.js';

/** The views `claims`, `peers` and `stats` (DESIGN.md section 5): what an operator sees of the fleet. */

let db: TestDatabase;
let cache: Session;
beforeAll(async () => {
  db = await createDatabase();
  cache = session(db);
});
afterAll(() => db.drop());

/** A session that is gone at the end of the test, with its locks. */
async function withSession<T>(work: (other: Session) => Promise<T>, settings = {}): Promise<T> {
  const other = session(db, settings);
  try {
    return await work(other);
  } finally {
    await other.close();
  }
}
const rowsOf = async (table: string): Promise<number> =>
  Number((await cache.run(`select count(*) as n from module_cache.${table}`))[0]?.n);

describe('claims', () => {
  beforeEach(() => cache.run('delete from module_cache._claims'));
  const claims = () =>
    cache.run(
      'select canonical_path, kind, variant, producer, waiting, waiting_peers, backend_pid from module_cache.claims',
    );

  test('what is claimed is shown with its names, and no longer once it is released', async () => {
    await withSession(
      async (other) => {
        await other.claim('a.ts', { kind: 'definition', variant: 'v' });
        expect(await claims()).toEqual([
          {
            canonical_path: 'a.ts',
            kind: 'definition',
            variant: 'v',
            producer: 'builder',
            waiting: 0,
            waiting_peers: [],
            backend_pid: await other.pid(),
          },
        ]);
        await other.release('a.ts', { kind: 'definition', variant: 'v' });
        expect(await claims()).toEqual([]);
        expect(await rowsOf('_claims')).toBe(0);
      },
      { application_name: 'builder' },
    );
  });

  test('what a killed session had claimed is gone with it, whatever its row says', async () => {
    await withSession(async (other) => {
      await other.claim('killed.ts');
      expect(await claims()).toHaveLength(1);
      await cache.run(`select pg_terminate_backend(${await other.pid()}, 10000)`);
      expect(await claims()).toEqual([]);
      expect(await rowsOf('_claims')).toBe(1);
    });
  });

  test('what is claimed again after that is shown once, with its own time', async () => {
    await cache.claim('twice.ts');
    await cache.run(`update module_cache._claims set claimed_at = claimed_at - interval '1 hour'`);
    await cache.run('select pg_advisory_unlock_all()');
    await cache.claim('twice.ts');
    expect(await cache.run(`select age < '1 minute' as is_young from module_cache.claims`)).toEqual([
      { is_young: true },
    ]);
    await cache.release('twice.ts');
  });

  test.each([
    ['in a transaction that is rolled back', 'begin', 'rollback'],
    ['in a transaction that only reads', 'begin read only', 'commit'],
    ['in a serializable transaction', 'begin isolation level serializable', 'commit'],
  ])('a claim %s is a claim without a name', async (_, begin, end) => {
    await withSession(async (other) => {
      await other.run(begin);
      expect(await other.claim('nameless.ts')).toBe(true);
      await other.run(end);
      expect(await cache.claim('nameless.ts')).toBe(false);
      expect(await claims()).toEqual([]);
      expect(await other.release('nameless.ts')).toBe(true);
      expect(await cache.claim('nameless.ts')).toBe(true);
      await cache.release('nameless.ts');
    });
  });

  test('trap: a claim that cannot be named is held by nobody, or raises', async () => {
    const [keeper] = pair(db);
    await keeper.begin();
    await keeper.run('lock table module_cache._claims in access exclusive mode');
    expect(await cache.claim('locked.ts')).toBe(true);
    expect(await cache.release('locked.ts')).toBe(true);
    await keeper.rollback();
    expect(await claims()).toEqual([]);
  });

  test('trap: nobody waits for a name, and a claim that was cancelled meanwhile is held by nobody', async () => {
    const [keeper] = pair(db);
    await keeper.begin();
    await keeper.run('lock table module_cache._claims in access exclusive mode');
    try {
      await withSession(async (other) => {
        await other.run(`set statement_timeout = '90ms'`);
        expect(await other.claim('brief.ts')).toBe(true);
        expect(await other.release('brief.ts')).toBe(true);
      });
    } finally {
      await keeper.rollback();
    }
    await cache.run(`
      create function public.slow() returns trigger language plpgsql as $$ begin perform pg_sleep(60); end; $$;
      create trigger slow before insert on module_cache._claims for each row execute function public.slow()`);
    try {
      await withSession(async (other) => {
        await other.run(`set statement_timeout = '90ms'`);
        await expect(other.claim('cancelled.ts')).rejects.toMatchObject({ code: '57014' });
        await cache.run('drop trigger slow on module_cache._claims');
        expect(await cache.claim('cancelled.ts')).toBe(true);
        await cache.release('cancelled.ts');
      });
    } finally {
      await cache.run('drop function public.slow cascade');
    }
  });

  test('ten times as many claims and waits do not take a hundred times as long', async () => {
    await withSession(async (other) => {
      const shown = async (claims: number): Promise<number> => {
        await other.run(`
          select
            module_cache.claim('${REALM}', 'm' || i, 'transpile', ''),
            module_cache._show_waiting(module_cache._claim_key('${REALM}', 'm' || i, 'transpile', ''), true)
          from generate_series(1, ${claims}) i`);
        const began = performance.now();
        const [row] = await cache.run('select count(*) as n, sum(waiting) as w from module_cache.claims');
        const ms = performance.now() - began;
        expect(Number(row?.n)).toBe(claims);
        await other.run('select pg_advisory_unlock_all()');
        await cache.run('delete from module_cache._claims');
        return ms;
      };
      await shown(10);
      const few = await shown(250);
      expect(await shown(2_500)).toBeLessThan(50 * few);
    });
  }, 60_000);

  test('a session is not called what the one was that had its number before', async () => {
    await withSession(
      async (other) => {
        await cache.run(`
          insert into module_cache._peers (backend_pid, epoch, needs, reported_at, role_name, application_name, name)
          select ${await other.pid()}, e.epoch, '1', now(), 'x', 'x', 'long gone' from module_cache._epoch() e`);
        await other.claim('a.ts');
        expect(await claims()).toMatchObject([{ producer: 'newcomer' }]);
        await report(other, { name: 'a peer' });
        expect(await claims()).toMatchObject([{ producer: 'a peer' }]);
      },
      { application_name: 'newcomer' },
    );
  });

  test('who waits is shown while its session is there', async () => {
    const key = `module_cache._claim_key('${REALM}', 'slow.ts', 'transpile', '')`;
    await cache.claim('slow.ts');
    await withSession(
      async (other) => {
        expect(await other.run(`select module_cache._show_waiting(${key}, true) as shown`)).toEqual([
          { shown: true },
        ]);
        expect(await claims()).toMatchObject([{ waiting: 1, waiting_peers: ['worker'] }]);
        await other.run(`select module_cache._show_waiting(${key}, false)`);
        expect(await claims()).toMatchObject([{ waiting: 0 }]);
        await other.run(`select module_cache._show_waiting(${key}, true)`);
      },
      { application_name: 'worker' },
    );
    await until(async () => (await claims())[0]?.waiting === 0, {
      what: 'the lock of the waiter goes with it',
    });
    await cache.release('slow.ts');
  });

  test('what sessions that are gone have left behind is swept, and nothing else', async () => {
    await withSession((other) => other.claim('left.ts'));
    await cache.claim('held.ts');
    await cache.run(`update module_cache._claims set claimed_at = claimed_at - interval '2 minutes'`);
    await withSession(async (other) => {
      await other.claim('young.ts');
      await cache.collect('1 hour');
      const rows = await cache.run('select canonical_path from module_cache._claims order by 1');
      expect(rows.map((row) => row.canonical_path)).toEqual(['held.ts', 'young.ts']);
    });
    await cache.release('held.ts');
  });
});

/** A report as a peer makes it. */
async function report(peer: Session, about: object = {}, activity: object[] = []): Promise<boolean> {
  const token = await peer.token();
  const needs = token.replace(/\/(\d+):.*$/, '@$1');
  const cursor = token.replace(/^.*:(\d+):.*$/, '$1');
  const [row] = await peer.sql`
    select module_cache._report_peer(
      ${needs}, ${JSON.stringify({ cursor, ...about })}::text::jsonb, ${JSON.stringify(activity)}::text::jsonb) as taken`;
  return row?.taken as boolean;
}

describe('peers', () => {
  const peers = () => cache.run('select * from module_cache.peers');
  const about = {
    name: 'web 1',
    host: 'alpha',
    process_id: 42,
    version: '0.2.0',
    uptime_ms: 3_600_000,
    broadcast: 'notify',
    heartbeat_ms: 1_000,
    l1_entries: 12,
    l1_bytes: 3_456,
    minute_reads: 200,
    minute_hits: 199,
  };

  test('a peer is what it says, for as long as its session is there', async () => {
    await withSession(async (peer) => {
      expect(await report(peer, about)).toBe(true);
      expect(await peers()).toMatchObject([
        {
          name: 'web 1',
          status: 'listening',
          behind: '0',
          lag: '00:00:00',
          hit_rate: '99.5',
          reads: '200',
          entries: '12',
          bytes: '3456',
          version: '0.2.0',
          host: 'alpha',
          process_id: 42,
          backend_pid: await peer.pid(),
          client_address: '127.0.0.1',
        },
      ]);
      const [row] = await cache.run(
        `select now() - since between '59 min' and '61 min' as is_an_hour from module_cache.peers`,
      );
      expect(row).toEqual({ is_an_hour: true });
    });
    await until(async () => (await peers()).length === 0, { what: 'it is gone with its session' });
  });

  test('one that only asks the log is no listener, and one without reads has no hit rate', async () => {
    await withSession(async (peer) => {
      await report(peer, { ...about, broadcast: 'log', minute_reads: 0, minute_hits: 0 });
      expect(await peers()).toMatchObject([{ status: 'polling', hit_rate: null }]);
    });
  });

  test('how far behind it is counts transactions that it may not have applied', async () => {
    await withSession(async (peer) => {
      // So slow a heart that none of them can be known to be applied.
      await report(peer, { ...about, heartbeat_ms: 7_200_000 });
      await cache.run(`
        begin;
        select module_cache.invalidate('${REALM}', '{a.ts}'); select module_cache.clear_realm('${OTHER_REALM}');
        commit`);
      await cache.invalidate(['b.ts']);
      await cache.run(`
        update module_cache._invalidations set invalidated_at = invalidated_at - interval '1 hour' where named_paths = '{a.ts}'`);
      const [row] = await cache.run(
        `select behind, lag between '1 hour' and '2 hours' as is_late from module_cache.peers`,
      );
      expect(row).toEqual({ behind: '2', is_late: true });
      await report(peer, { ...about, heartbeat_ms: 7_200_000 });
      expect(await peers()).toMatchObject([{ behind: '0', lag: '00:00:00' }]);
    });
  });

  test('what was there before its last heartbeat but one it has applied, whenever it reports', async () => {
    await withSession(async (peer) => {
      await report(peer, { ...about, heartbeat_ms: 100 });
      await cache.invalidate(['a.ts']);
      expect(await peers()).toMatchObject([{ behind: '1' }]);
      await cache.run('select pg_sleep(0.2)');
      await peer.changesSince(null);
      expect(await peers()).toMatchObject([{ behind: '0', lag: '00:00:00' }]);
      await cache.invalidate(['b.ts']);
      expect(await peers()).toMatchObject([{ behind: '1' }]);
    });
  });

  test('one that is not heard any more is silent', async () => {
    await withSession(async (peer) => {
      await report(peer, { ...about, heartbeat_ms: 10 });
      expect(await peers()).toMatchObject([{ status: 'listening' }]);
      // Its heartbeat is seen in its session, which is how long ago that has last done anything.
      await until(async () => (await peers())[0]?.status === 'silent', {
        timeoutMs: 30_000,
        what: 'it is silent',
      });
      await peer.changesSince(null);
      expect(await peers()).toMatchObject([{ status: 'listening' }]);
    });
  });

  test('what is no report is refused, and the view stands', async () => {
    await withSession(async (peer) => {
      await report(peer, about);
      for (const wrong of [
        { cursor: 'x' },
        { process_id: 'x' },
        { name: 'x'.repeat(8_000) },
        { l1_entries: 1e30 },
      ]) {
        await expect(report(peer, wrong)).rejects.toThrow();
      }
      await expect(
        report(
          peer,
          about,
          Array.from({ length: 101 }, () => ({})),
        ),
      ).rejects.toMatchObject({ code: 'MC003' });
      expect(await peers()).toMatchObject([{ name: 'web 1' }]);
    });
  });

  test.each([
    { uptime_ms: 1e300 },
    { uptime_ms: -1e300, heartbeat_ms: -1e300 },
    { uptime_ms: 'Infinity', heartbeat_ms: 'Infinity' },
    { uptime_ms: 'NaN', heartbeat_ms: 'NaN' },
    { minute_reads: -1, minute_hits: '9223372036854775807' },
    { cursor: '18446744073709551615' },
    { cursor: '0', l1_entries: -1, l1_bytes: '-9223372036854775808' },
  ])('a peer that says %j does not keep operators from what others say', async (wrong) => {
    await withSession(async (liar) => {
      await withSession(async (peer) => {
        await report(peer, about);
        await report(liar, { name: 'liar', ...wrong });
        expect(await peers()).toMatchObject([{ name: 'liar' }, { name: 'web 1', hit_rate: '99.5' }]);
      });
    });
  });

  test('each peer has its own distance from the end of the log', async () => {
    const sessions = [session(db), session(db), session(db)];
    try {
      for (const [position, peer] of sessions.entries()) {
        await report(peer, { name: `peer ${position}` });
        await cache.invalidate(['a.ts']);
      }
      expect(await peers()).toMatchObject([{ behind: '3' }, { behind: '2' }, { behind: '1' }]);
    } finally {
      for (const peer of sessions) await peer.close();
    }
  });

  test('nobody can speak for another role or session', async () => {
    await withSession(async (peer) => {
      await report(peer, {
        ...about,
        role_name: 'postgres',
        backend_pid: 1,
        client_address: '10.0.0.1',
        epoch: null,
      });
      expect(await peers()).toMatchObject([{ backend_pid: await peer.pid(), client_address: '127.0.0.1' }]);
    });
  });
});

describe('stats', () => {
  const stats = async () =>
    (await cache.run('select * from module_cache.stats where kind is not null')) as unknown as Record<
      string,
      string | object
    >[];
  beforeEach(() => cache.run('delete from module_cache._activity; delete from module_cache._artifacts'));

  test('what is stored, and what all processes have done, by realm and kind', async () => {
    await cache.publish('a.ts', 'four');
    await cache.publish('b.ts', 'ö', { kind: 'definition' });
    const counts = {
      l1_hits: 10,
      l2_hits: 2,
      misses: 3,
      productions: 3,
      production_ms: 12.5,
      coalesced: 1,
      stale: 1,
    };
    await withSession(async (one) => {
      await withSession(async (other) => {
        await report(one, {}, [{ realm: REALM, kind: 'transpile', counts }]);
        await report(one, {}, [{ realm: REALM, kind: 'transpile', counts: { l1_hits: 1, older: 2 } }]);
        await report(other, {}, [
          { realm: 'HTTPS://App.Example/', kind: 'transpile', counts },
          { realm: null, kind: 'any', counts: { misses: 7 } },
        ]);
        expect(await stats()).toMatchObject([
          {
            realm_url: REALM,
            kind: 'transpile',
            artifacts: '1',
            bytes: '4',
            hits: '25',
            l1_hits: '21',
            l2_hits: '4',
            misses: '6',
            productions: '6',
            production_ms: 25,
            coalesced: '2',
            rejected: '4',
            rejected_by: { stale: 2, older: 2 },
            failures: '0',
          },
          { realm_url: REALM, kind: 'definition', artifacts: '1', bytes: '2', hits: '0', rejected_by: {} },
          { realm_url: null, kind: 'any', misses: '7' },
        ]);
      });
    });
  });

  test('what processes that are gone have reported stays, and is counted once', async () => {
    const entry = { realm: REALM, kind: 'transpile', counts: { l1_hits: 5, contended: 1 } };
    for (let life = 0; life < 3; life += 1) await withSession((peer) => report(peer, {}, [entry]));
    await cache.run(`update module_cache._activity set updated_at = updated_at - interval '2 minutes'`);
    for (let round = 0; round < 2; round += 1) {
      expect(await stats()).toMatchObject([{ hits: '15', rejected: '3' }]);
      await cache.collect('1 hour');
      expect(await rowsOf('_activity')).toBe(1);
    }
    await withSession((peer) => report(peer, {}, [entry]));
    expect(await stats()).toMatchObject([{ hits: '20', rejected: '4' }]);
  });

  test('no count is so high that garbage collection or the view fails', async () => {
    const most = '9223372036854775807';
    const counts = { l1_hits: most, l2_hits: most, stale: most, older: most, misses: -5, failures: null };
    const entry = { realm: REALM, kind: 'transpile', counts: { ...counts, production_ms: 1.7e308 } };
    for (let life = 0; life < 3; life += 1) {
      await withSession(async (peer) => {
        await report(peer, {}, [entry]);
        await report(peer, {}, [entry]);
        expect(await stats()).toMatchObject([{ misses: '0', failures: '0' }]);
      });
    }
    await cache.run(`update module_cache._activity set updated_at = updated_at - interval '2 minutes'`);
    await cache.collect('1 hour');
    expect(await rowsOf('_activity')).toBe(1);
    expect(await stats()).toMatchObject([{ l1_hits: '1000000000000000', misses: '0' }]);
  });

  test('who reports ever new realms fills no disk', async () => {
    for (let life = 0; life < 2; life += 1) {
      await withSession((peer) =>
        peer.run(`
          select module_cache._report_peer(
            (select e.life || '@' || pg_snapshot_xmin(pg_current_snapshot()) from module_cache._epoch() e),
            '{}',
            (
              select jsonb_agg(jsonb_build_object(
                'realm', format('https://%s.example/%s/%s/', ${life}, round, i), 'kind', 'x', 'counts', '{"misses": 1}'::jsonb))
              from generate_series(1, 100) i
            ))
          from generate_series(1, 21) round`),
      );
    }
    expect(await rowsOf('_activity')).toBe(2 * 2_001);
    await cache.run(`update module_cache._activity set updated_at = updated_at - interval '2 minutes'`);
    await cache.collect('1 hour');
    expect(await rowsOf('_activity')).toBe(2_000 + 1);
    const [row] = await cache.run('select sum(misses) as misses from module_cache.stats');
    expect(row).toEqual({ misses: '4200' });
  }, 60_000);

  test.each([[1], [{ realm: null, kind: null, counts: {} }], [{ realm: null, kind: 'x', counts: 7 }], [{}]])(
    'what nobody can have done is refused: %j',
    async (entry) => {
      await withSession((peer) =>
        expect(report(peer, {}, [entry as object])).rejects.toMatchObject({ code: 'MC003' }),
      );
      expect(await stats()).toEqual([]);
    },
  );

  test('sessions add to rows of their own, and never wait for each other', async () => {
    const entry = { realm: REALM, kind: 'transpile', counts: { misses: 1 } };
    const [one, other] = pair(db);
    await one.begin();
    await report(one, {}, [entry]);
    await report(other, {}, [entry]);
    await one.commit();
    expect(await stats()).toMatchObject([{ misses: '2' }]);
  });

  test('what was counted in another life is not shown, and swept', async () => {
    await withSession((peer) =>
      report(peer, {}, [{ realm: REALM, kind: 'transpile', counts: { misses: 1 } }]),
    );
    await cache.run(
      `update module_cache._activity set epoch = gen_random_uuid(), updated_at = updated_at - interval '2 minutes'`,
    );
    expect(await stats()).toEqual([]);
    await cache.collect('1 hour');
    expect(await rowsOf('_activity')).toBe(0);
  });

  test('invalidations are those of the realm, also where nothing is stored', async () => {
    const fresh = await createDatabase();
    try {
      const [one] = pair(fresh);
      await one.publish('a.ts', 'x');
      await one.invalidate(['a.ts']);
      await one.clearRealm();
      await one.clearRealm(OTHER_REALM);
      await one.clearAll();
      const rows = await one.run('select realm_url, kind, invalidations from module_cache.stats order by 1');
      expect(rows).toEqual([
        { realm_url: REALM, kind: 'transpile', invalidations: '2' },
        { realm_url: OTHER_REALM, kind: null, invalidations: '1' },
      ]);
    } finally {
      await fresh.drop();
    }
  });
});
