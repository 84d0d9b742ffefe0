import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { closePeers, gate, making, newRealm, openPeer, type Peer } from './support/peers.js';
import { startProxy, type TcpProxy } from './support/proxy.js';
import { invalidateSilently } from './support/realm.js';

/** Reads that must not be outdated at all (DESIGN.md section 3, invariant 3). The peer hears nothing by itself. */

let database: TestDatabase;
let proxy: TcpProxy;
let peer: Peer;
let realm: string;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  realm = newRealm();
  proxy = await startProxy(database.url);
  peer = await openPeer({ connection: proxy.url, heartbeatMs: 60_000, maxStalenessMs: 120_000 });
  await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('old'));
});
afterEach(async () => {
  proxy.release();
  await closePeers();
  await proxy.close();
});

/** As other sessions do it while notifications are off. Resolves to the token of the transaction. */
const change = async (...paths: string[]): Promise<string> =>
  database.sql.begin(async (tx) => {
    await tx`set local module_cache.notify = off`;
    await tx`select module_cache.invalidate(${realm}, ${paths})`;
    const [row] = await tx`select module_cache.coherence_token() as token`;
    return row?.token as string;
  });

describe('a strong read', () => {
  const strong = { consistency: 'strong' } as const;

  test('never gets what a committed invalidation covers, although nobody has told of it', async () => {
    await change('a.ts');
    expect(peer.cache.peek({ realm, path: 'a.ts' })?.body).toBe('old');
    expect(await peer.cache.get({ realm, path: 'a.ts' }, strong)).toBeUndefined();
    const answer = await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'), strong);
    expect(answer.body).toBe('new');
  });

  test('gets what memory holds, without moving the body, if the database says that it is current', async () => {
    const body = `export const text = '${'x'.repeat(5_000)}';`;
    const other = await openPeer({ connection: database.url });
    await other.cache.getOrProduce({ realm, path: 'big.ts' }, making(body));
    expect(await peer.cache.get({ realm, path: 'big.ts' }, strong)).toMatchObject({ source: 'l2', body });
    proxy.hold();
    const answer = peer.cache.get({ realm, path: 'big.ts' }, strong);
    await until(() => proxy.held.length > 0, { what: 'it has answered' });
    expect(proxy.held.length).toBeLessThan(1_000);
    proxy.release();
    expect(await answer).toMatchObject({ source: 'l1', body });
  });

  test('gets what replaced the entry in memory, although both are good', async () => {
    const other = await openPeer({ connection: database.url });
    await other.cache.getOrProduce({ realm, path: 'b.ts' }, () => ({
      body: 'first',
      expiresInMs: 3_600_000,
    }));
    await peer.cache.get({ realm, path: 'b.ts' });
    await database.sql`
      select module_cache.put(${realm}, 'b.ts', 'transpile', '', 'second', '{}', '{}', g.token)
      from module_cache.get(${realm}, 'b.ts') g`;
    expect((await peer.cache.get({ realm, path: 'b.ts' }, strong))?.body).toBe('second');
  });

  test('trap: joins older work', async () => {
    const { produce, begun, finish } = gate();
    const before = peer.cache.getOrProduce({ realm, path: 'b.ts' }, produce);
    await begun();
    await change('b.ts');
    const answer = peer.cache.getOrProduce({ realm, path: 'b.ts' }, making('new'), strong);
    await until(() => peer.of('miss').length === 3, { what: 'it has looked for itself' });
    finish({ body: 'old' });
    expect((await before).body).toBe('old');
    expect((await answer).body).toBe('new');
  });

  test('a crowd of them on a missing module still makes it once', async () => {
    const { produce, begun, finish } = gate();
    const answers = Array.from({ length: 20 }, () =>
      peer.cache.getOrProduce({ realm, path: 'b.ts' }, produce, strong),
    );
    await begun();
    finish({ body: 'once' });
    expect((await Promise.all(answers)).map(({ body }) => body)).toEqual(Array(20).fill('once'));
    expect(peer.of('produced')).toHaveLength(2);
  });
});

describe('a read after a token', () => {
  test('sees that invalidation, although nobody has told of it', async () => {
    const after = await change('a.ts');
    expect(await peer.cache.get({ realm, path: 'a.ts' }, { after })).toBeUndefined();
  });

  test('sees the invalidations of the client: of a module, a realm and everything', async () => {
    const other = await openPeer({ connection: database.url, broadcast: 'log' });
    for (const clear of [
      () => other.cache.invalidate(realm, ['a.ts']),
      () => other.cache.clearRealm(realm),
      () => other.cache.clearAll(),
      () => database.sql.begin((tx) => other.cache.invalidate(realm, ['a.ts'], { tx })),
    ]) {
      await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('old'));
      const { token } = await clear();
      expect(peer.cache.peek({ realm, path: 'a.ts' })?.body).toBe('old');
      expect(await peer.cache.get({ realm, path: 'a.ts' }, { after: token })).toBeUndefined();
    }
  });

  test('that is known costs no question, and memory answers', async () => {
    const after = await change('else.ts');
    await peer.cache.get({ realm, path: 'a.ts' }, { after });
    const asked = proxy.sent(realm);
    expect(await peer.cache.get({ realm, path: 'a.ts' }, { after })).toMatchObject({ source: 'l1' });
    expect(proxy.sent(realm)).toBe(asked);
  });

  test('does not join a production from before it', async () => {
    const { produce, begun, finish } = gate();
    const before = peer.cache.getOrProduce({ realm, path: 'b.ts' }, produce);
    await begun();
    const after = await change('dep.ts');
    const answer = peer.cache.getOrProduce({ realm, path: 'b.ts' }, produce, { after });
    await until(() => peer.of('invalidated').length === 1, { what: 'the log has told' });
    finish({ body: 'old', dependencyKeys: ['dep'] });
    await begun(2);
    finish({ body: 'new', dependencyKeys: ['dep'] });
    expect(await before).toMatchObject({ body: 'old' });
    expect(await answer).toMatchObject({ body: 'new' });
  });

  test.each([
    ['of another life', (token: string) => token.replace(/^[0-9a-f]{8}/, '00000000')],
    ['of a life without an epoch', (token: string) => token.replace(/^[^@]*/, `${'0'.repeat(32)}-0`)],
    ['from the future', (token: string) => token.replace(/@\d+$/, '@999999999999')],
  ])('%s is a strong read', async (_, other) => {
    const token = await change('else.ts');
    await peer.cache.get({ realm, path: 'a.ts' }, { after: token });
    await change('a.ts');
    // Nobody tells: only the database knows. But asking the log on the way would tell, too.
    const after = other(token);
    expect(await peer.cache.get({ realm, path: 'a.ts' }, { after })).toBeUndefined();
    // Read with a token of another database: what is good is still served.
    await peer.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'));
    const asked = proxy.sent(realm);
    expect(await peer.cache.get({ realm, path: 'a.ts' }, { after })).toMatchObject({ body: 'new' });
    expect(proxy.sent(realm)).toBeGreaterThan(asked);
  });

  test('is strong while the log cannot be asked', async () => {
    const direct = await startProxy(database.url);
    const cut = await openPeer({
      connection: database.url,
      listenConnection: direct.url,
      heartbeatMs: 60_000,
      maxStalenessMs: 120_000,
    });
    await cut.cache.get({ realm, path: 'a.ts' });
    direct.door = 'close';
    direct.cut();
    await until(() => cut.of('disconnected').length === 1, { what: 'the connection is lost' });
    const after = await change('a.ts');
    expect(cut.cache.peek({ realm, path: 'a.ts' })?.body).toBe('old');
    expect(await cut.cache.get({ realm, path: 'a.ts' }, { after })).toBeUndefined();
    await direct.close();
  });

  test('of a transaction that was rolled back serves what is there', async () => {
    let after = '';
    await database.sql
      .begin(async (tx) => {
        after = (await peer.cache.invalidate(realm, ['a.ts'], { tx })).token;
        throw new Error('rolled back');
      })
      .catch(() => {});
    expect(await peer.cache.get({ realm, path: 'a.ts' }, { after })).toMatchObject({ body: 'old' });
  });
});

test('a bounded read joins the work of a strong one', async () => {
  await invalidateSilently(database.sql, realm, 'a.ts');
  const { produce, begun, finish } = gate();
  const strong = peer.cache.getOrProduce({ realm, path: 'b.ts' }, produce, { consistency: 'strong' });
  await begun();
  const bounded = peer.cache.getOrProduce({ realm, path: 'b.ts' }, produce);
  finish({ body: 'made' });
  expect((await Promise.all([strong, bounded])).map(({ source }) => source)).toEqual([
    'produced',
    'coalesced',
  ]);
});
