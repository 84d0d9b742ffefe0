import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { closePeers, gate, making, newRealm, openPeer, type Peer } from './support/peers.js';

/** The token of an answer: whoever read it never reads anything older in another process, which hears nothing. */

const slow = { heartbeatMs: 60_000, maxStalenessMs: 120_000 };
let database: TestDatabase;
let writer: Peer;
let reader: Peer;
let realm: string;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  realm = newRealm();
  [writer, reader] = await Promise.all([
    openPeer({ connection: database.url, ...slow }),
    openPeer({ connection: database.url, ...slow, broadcast: 'log', claimPatienceMs: 50 }),
  ]);
  for (const { cache } of [writer, reader]) {
    await cache.getOrProduce({ realm, path: 'a.ts' }, making('old'));
  }
});
afterEach(() => closePeers());

/** Lets the reader ask the log, up to a new transaction. */
const moveCursor = async (): Promise<void> => {
  const [row] = await database.sql`select module_cache.coherence_token() as token`;
  await reader.cache.get({ realm, path: 'b.ts' }, { after: row?.token as string });
};

const passedOn = (after: string | undefined) => {
  expect(after).toMatch(/^[0-9a-f]{32}-[0-9a-f]{1,16}@\d+$/);
  return reader.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'), { after: after as string });
};

test('an answer of each kind has one, short and with one transaction in it', async () => {
  const read = (path: string) => writer.cache.getOrProduce({ realm, path }, making('x'));
  const [produced, joined] = await Promise.all([read('b.ts'), read('b.ts')]);
  const fromMemory = await read('b.ts');
  const peeked = writer.cache.peek({ realm, path: 'b.ts' });
  const stored = await reader.cache.get({ realm, path: 'b.ts' });
  await writer.cache.getOrProduce({ realm, path: 'c.ts' }, making('y'));
  const many = await reader.cache.getMany([
    { realm, path: 'b.ts' },
    { realm, path: 'c.ts' },
  ]);
  const answers = [produced, joined, fromMemory, peeked, stored, ...many];
  expect(answers.map((answer) => answer?.source)).toEqual([
    'produced',
    'coalesced',
    'l1',
    'l1',
    'l2',
    'l1',
    'l2',
  ]);
  for (const answer of answers) {
    expect(answer?.token).toMatch(/^[0-9a-f]{32}-[0-9a-f]{1,16}@\d+$/);
  }
});

test('trap: the invalidation that an answer has seen began before the last transaction, and committed after it', async () => {
  await database.sql.begin(async (early) => {
    await early`select module_cache.invalidate(${realm}, array['a.ts'])`;
    // The later transaction is committed for its cursor now, the earlier one in progress.
    await moveCursor();
  });
  // Without a claim, whose own transaction would be the last one then.
  const answer = await writer.cache.getOrProduce({ realm, path: 'a.ts' }, making('new'), {
    consistency: 'strong',
    claimPatienceMs: 0.001,
  });
  expect(answer.body).toBe('new');
  expect(reader.cache.peek({ realm, path: 'a.ts' })?.body).toBe('old');
  expect((await passedOn(answer.token)).body).toBe('new');
});

test('trap: an answer that was outdated when it was ready has sources in it which its own token has not seen', async () => {
  const work = gate();
  await database.sql`select module_cache.invalidate(${realm}, array['a.ts'])`;
  const answer = writer.cache.getOrProduce({ realm, path: 'a.ts' }, work.produce, { consistency: 'strong' });
  await work.begun();
  await reader.cache.getOrProduce({ realm, path: 'a.ts' }, making('old'), { consistency: 'strong' });
  await moveCursor();
  await database.sql.begin(async (tx) => {
    await tx`set local module_cache.notify = off`;
    await tx`select module_cache.invalidate(${realm}, array['a.ts'])`;
  });
  work.finish({ body: 'new' });
  const { cached, body, token } = await answer;
  expect([cached, body]).toEqual([false, 'new']);
  expect((await passedOn(token)).body).toBe('new');
});

test('a client that passes on what it got last never goes back', async () => {
  const tokens: string[] = [];
  for (let version = 1; version <= 5; version += 1) {
    await writer.cache.invalidate(realm, ['b.ts']);
    const after = tokens.at(-1);
    const read = after === undefined ? {} : { after };
    const { token } = await reader.cache.getOrProduce({ realm, path: 'a.ts' }, making('old'), read);
    tokens.push(String(token));
  }
  const ids = tokens.map((token) => Number(token.split('@')[1]));
  expect(ids).toEqual([...ids].sort((a, b) => a - b));
});
