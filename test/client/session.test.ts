import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { closePeers, openPeer } from './support/peers.js';
import { startProxy } from './support/proxy.js';

/** A dedicated connection that is there, and of no use, is replaced. */

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());
afterEach(closePeers);

test('a dedicated connection that has fallen silent is replaced', async () => {
  const proxy = await startProxy(database.url);
  try {
    const peer = await openPeer({
      connection: database.url,
      listenConnection: proxy.url,
      heartbeatMs: 100,
      maxStalenessMs: 200,
    });
    const before = proxy.accepted;
    proxy.silence();
    await until(() => peer.of('disconnected').length === 1, { what: 'it has been given up' });
    await until(() => proxy.accepted > before, { what: 'another one is tried' });
  } finally {
    await proxy.close();
  }
});

test('a dedicated connection whose server has become a standby is replaced', async () => {
  const peer = await openPeer({ connection: database.url, heartbeatMs: 100 });
  await database.sql`alter function module_cache.changes_since(text) rename to on_the_primary`;
  await database.sql`
    create function module_cache.changes_since(inout cursor text, out complete boolean, out changes jsonb)
      language plpgsql as $$ begin raise 'the server is a standby' using errcode = 'MC005'; end $$`;
  try {
    await until(() => peer.of('disconnected').length > 0, { what: 'it has been given up' });
  } finally {
    await database.sql`drop function module_cache.changes_since(text)`;
    await database.sql`alter function module_cache.on_the_primary(text) rename to changes_since`;
  }
  await until(() => peer.cache.stats().fresh && peer.of('caught-up').length > 0, { what: 'it is back' });
  expect(peer.cache.stats().connected).toBe(true);
});
