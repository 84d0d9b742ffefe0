import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { sqlFiles } from '../../src/schema/files.js';
import { connect, createDatabase, type TestDatabase } from '../support/database.js';
import { startServer, type TestServer } from '../support/server.js';
import { until } from '../support/wait.js';
import { closePeers, gate, making, newRealm, notAsked, openPeer, type Peer } from './support/peers.js';

/** The server goes away and comes back: the cache is cold, never wrong (DESIGN.md section 3, invariant 5). */

let server: TestServer;
let database: TestDatabase;
beforeAll(async () => {
  server = await startServer();
  database = await createDatabase({ template: false, serverUrl: server.url });
  await database.sql.begin(async (tx) => {
    for (const { text } of sqlFiles()) await tx.unsafe(text);
    await tx`create table sources (path text primary key, version integer not null)`;
  });
});
afterAll(async () => {
  await database.drop();
  await server.remove();
});
afterEach(closePeers);

const paths = Array.from({ length: 12 }, (_, n) => `m${n}.ts`);

test('the server is stopped at once with writers at work: nothing comes back', async () => {
  const realm = newRealm();
  await database.sql`insert into sources select p, 0 from unnest(${paths}::text[]) p`;
  const fleet = await Promise.all(
    [1, 2, 3].map(() => openPeer({ connection: database.url, heartbeatMs: 200, maxStalenessMs: 1_000 })),
  );
  const [first] = fleet as [Peer];
  const pathOf = (n: number): string => paths[n % paths.length] as string;
  // Statements, not transactions of postgres.js: version 3.4 ends the process if it loses a connection in one.
  const sql = connect(database.url, { connect_timeout: 2 });
  const produce = (path: string) => async () => {
    const [row] = await sql`select version from sources where path = ${path}`;
    return { body: String(row?.version) };
  };
  let stop = false;
  let written = 0;
  const reader = async ({ cache }: Peer, seed: number): Promise<void> => {
    for (let n = seed; !stop; n += 1) {
      await cache
        .getOrProduce({ realm, path: pathOf(n) }, produce(pathOf(n)), { deadlineMs: 5_000 })
        .catch(() => {});
    }
  };
  const writer = async (seed: number): Promise<void> => {
    for (let n = seed; !stop; n += 5) {
      await sql`
        with changed as (update sources set version = version + 1 where path = ${pathOf(n)} returning path)
        select module_cache.invalidate(${realm}, array[path]) from changed`.then(
        () => {
          written += 1;
        },
        // While the server is away an immediate answer is an error: there is no need to be fast.
        () => new Promise((resolve) => setTimeout(resolve, 20)),
      );
    }
  };
  const old = gate();
  const beforeCrash = first.cache.getOrProduce({ realm, path: 'old.ts' }, old.produce, {
    deadlineMs: 60_000,
  });
  await old.begun();
  await first.cache.getOrProduce({ realm, path: 'kept.ts' }, making('of the old life'));
  const work = fleet.flatMap((peer, seed) => [reader(peer, seed), reader(peer, seed + 7), writer(seed)]);
  await until(() => written > 30, { what: 'everybody is at work' });

  await server.restart('immediate');
  const afterCrash = written;
  await until(() => written > afterCrash + 30, { timeoutMs: 30_000, what: 'everybody is at work again' });
  // Not stats().fresh: for a second it may still be that of the old life.
  await until(() => fleet.every(({ of }) => of('dropped').length > 0), { what: 'all know of the new life' });
  stop = true;
  await Promise.all(work);

  // Work from before the crash is not let in, and memory from before it is gone.
  old.finish({ body: 'of the old life' });
  expect(await beforeCrash).toMatchObject({ cached: false });
  for (const { cache } of fleet) {
    for (const path of ['old.ts', 'kept.ts']) {
      expect(cache.peek({ realm, path })).toBeUndefined();
      expect(await cache.get({ realm, path })).toBeUndefined();
    }
  }
  // What memory and database hold is what the sources say.
  const last = await first.cache.invalidate(realm, ['marker.ts']);
  for (const { version, path } of await sql<{ version: number; path: string }[]>`select * from sources`) {
    for (const { cache } of fleet) {
      const held = await cache.get({ realm, path }, { after: last.token });
      if (held !== undefined) expect(`${path} ${held.body}`).toBe(`${path} ${version}`);
      expect(await cache.getOrProduce({ realm, path }, produce(path))).toMatchObject({
        body: String(version),
      });
    }
  }
});

test('the server is restarted in order: what it held is still there, and the cache goes on', async () => {
  const realm = newRealm();
  const peer = await openPeer({ connection: database.url, heartbeatMs: 200, maxStalenessMs: 1_000 });
  await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('a'));
  await server.restart('fast');
  await until(() => peer.cache.stats().fresh && peer.cache.stats().connected, { what: 'it has caught up' });
  const isThere = () =>
    peer.cache.get({ realm, path: 'none.ts' }).then(
      () => true,
      () => false,
    );
  await until(isThere, { what: 'the server is known to be back' });
  // Memory may be kept or not: what counts is that nothing has to be made again.
  expect(await peer.cache.getOrProduce({ realm, path: 'a.ts' }, notAsked)).toMatchObject({ body: 'a' });
  await peer.cache.invalidate(realm, ['a.ts']);
  expect(await peer.cache.get({ realm, path: 'a.ts' })).toBeUndefined();
});

test('while the server is away nobody waits for ever, and memory is served no longer than it may be', async () => {
  const realm = newRealm();
  const peer = await openPeer({ connection: database.url, heartbeatMs: 200, maxStalenessMs: 1_000 });
  await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('a'));
  await server.down('immediate');
  try {
    await until(() => peer.cache.peek({ realm, path: 'a.ts' }) === undefined, {
      what: 'memory is not trusted',
    });
    await expect(
      peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('a'), { deadlineMs: 3_000 }),
    ).rejects.toThrow();
  } finally {
    await server.up();
  }
  const again = await until(
    () => peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('again')).catch(() => undefined),
    { timeoutMs: 20_000, what: 'it works again' },
  );
  expect(again.body).toBe('again');
});
