import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { type ModuleCache, openModuleCache } from '../../src/cache.js';
import { createPageDatabase } from '../../src/page/database.js';
import type { PageOptions } from '../../src/page/index.js';
import { createPoller } from '../../src/page/poller.js';
import { startProxy } from '../client/support/proxy.js';
import { connect, createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { type PageServer, servePage } from './support/page-server.js';
import { type Event, type Stream, watch } from './support/stream.js';

/** What the page tells of a real fleet, and what it leaves behind: nothing. */

let database: TestDatabase;
let numbers = 0;
const closing: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  database = await createDatabase();
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});
afterAll(() => database.drop());

async function serve(options: Partial<PageOptions> = {}): Promise<PageServer> {
  const server = await servePage({ connection: database.url, loopback: true, ...options } as PageOptions);
  closing.push(server.close);
  return server;
}

async function openStream(server: PageServer): Promise<Stream> {
  const stream = await watch(server.url);
  closing.push(stream.close);
  return stream;
}

async function openPeer(name: string): Promise<ModuleCache> {
  const cache = await openModuleCache({ connection: database.url, name });
  closing.push(() => cache.close());
  return cache;
}

function newRealm(): string {
  numbers += 1;
  return `https://page-${numbers}.example/`;
}

const produce = (cache: ModuleCache, realm: string, path: string, dependencyKeys: string[] = []) =>
  cache.getOrProduce({ realm, path }, async () => ({ body: 'export {}', dependencyKeys }));

const getJson = async (server: PageServer, name: string, query: Record<string, string>): Promise<Event> => {
  const response = await fetch(new URL(`${name}?${new URLSearchParams(query)}`, server.url));
  expect(response.status).toBe(200);
  return response.json();
};

test('tells of every peer, what it does, and of an invalidation as soon as it commits', async () => {
  const realm = newRealm();
  const peers = [await openPeer('first peer'), await openPeer('second peer')] as const;
  await produce(peers[0], realm, 'a.ts');
  await produce(peers[0], realm, 'b.ts', ['a']);
  const stream = await openStream(await serve());
  const { fleet } = await stream.find('both peers are told', ({ type, fleet }) => {
    return type === 'fleet' && fleet.peers.filter(({ name }: Event) => / peer$/.test(name)).length === 2;
  });
  expect(fleet.peers.find(({ name }: Event) => name === 'first peer')).toMatchObject({
    status: 'listening',
    behind: expect.any(Number),
    lagMs: expect.any(Number),
    version: expect.stringMatching(/^\d/),
    processId: process.pid,
  });

  await database.sql.begin(async (tx) => {
    await tx`set local application_name = 'psql'`;
    await tx`select module_cache.invalidate(${realm}, array['a.ts'])`;
    expect(stream.events.filter(({ type }) => type === 'invalidations')).toEqual([]);
  });
  const told = await stream.find('it is told', ({ type }) => type === 'invalidations');
  expect(told.invalidations).toEqual([
    expect.objectContaining({
      ...{ realm, scope: 'module', named: ['a.ts'], namedCount: 1, modules: 2, applicationName: 'psql' },
      reached: expect.arrayContaining(['a.ts', 'b.ts']),
      address: '127.0.0.1',
    }),
  ]);
  // Each once, also for who comes later.
  const other = await openStream(await serve());
  const ids = () =>
    [stream, other].map(({ events }) =>
      events.flatMap(({ type, invalidations }) =>
        type === 'invalidations' || type === 'snapshot'
          ? (invalidations ?? []).map(({ id }: Event) => id)
          : [],
      ),
    );
  await until(() => ids()[1]?.includes(told.invalidations[0].id), { what: 'the second one knows it' });
  await database.sql`select module_cache.clear_realm(${realm})`;
  await other.find('the clear is told', ({ type, invalidations }) => {
    return type === 'invalidations' && invalidations[0].scope === 'realm';
  });
  expect(ids()[0]?.filter((id: string) => id === told.invalidations[0].id)).toHaveLength(1);
});

test('an invalidation between the cursor and the log is told once', async () => {
  const realm = newRealm();
  const pageDatabase = createPageDatabase(database.url);
  closing.push(() => pageDatabase.close());
  let isFirst = true;
  const told: string[] = [];
  const poller = createPoller({
    database: {
      ...pageDatabase,
      async invalidations(xids, limit) {
        if (isFirst) await database.sql`select module_cache.invalidate(${realm}, array['between.ts'])`;
        isFirst = false;
        return pageDatabase.invalidations(xids, limit);
      },
    },
    send(message) {
      if (typeof message === 'string') return;
      if (message.type === 'snapshot' || message.type === 'invalidations')
        told.push(...(message.invalidations ?? []).flatMap(({ named }) => named));
    },
    onError: () => {},
  });
  closing.push(poller.stop);
  poller.start();
  await until(() => told.includes('between.ts'), { what: 'it is told' });
  await database.sql`select module_cache.invalidate(${realm}, array['later.ts'])`;
  await until(() => told.includes('later.ts'), { what: 'the next one is told' });
  expect(told.filter((path) => path === 'between.ts')).toHaveLength(1);
});

test.each([
  ['as many as it tells are told', 200, false],
  ['of more it tells the newest, and that there were others', 250, true],
])('of one transaction %s', async (_, many, missed) => {
  const realm = newRealm();
  const stream = await openStream(await serve());
  await stream.find('it has begun', ({ type }) => type === 'fleet');
  await database.sql`
    select module_cache.invalidate(${realm}, array[n || '.ts']) from generate_series(1, ${many}::integer) n`;
  const told = await stream.find('they are told', ({ type }) => type === 'invalidations');
  expect(told.missed).toBe(missed);
  expect(told.invalidations.map(({ named }: Event) => named[0])).toEqual(
    Array.from({ length: 200 }, (_, index) => `${many - 199 + index}.ts`),
  );
});

test('an invalidation that commits after later ones is told all the same', async () => {
  const realm = newRealm();
  const stream = await openStream(await serve());
  await stream.find('it has begun', ({ type }) => type === 'fleet');
  const paths = (): string[] =>
    stream.events.flatMap(({ type, invalidations }) =>
      type === 'invalidations' ? invalidations.flatMap(({ named }: Event) => named) : [],
    );
  const slow = connect(database.url, { max: 1 });
  await slow`begin`;
  await slow`select module_cache.invalidate(${realm}, array['slow.ts'])`;
  await database.sql`select module_cache.invalidate(${realm}, array['fast.ts'])`;
  await until(() => paths().includes('fast.ts'), { what: 'the fast one is told' });
  await slow`commit`;
  await until(() => paths().includes('slow.ts'), { what: 'the slow one is told' });
  expect(paths().sort()).toEqual(['fast.ts', 'slow.ts']);
});

test('tells what is being produced, and who waits for it', async () => {
  const realm = newRealm();
  const [producer, waiter] = [await openPeer('the producer'), await openPeer('the waiter')];
  let finish = (): void => {};
  const work = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const request = { realm, path: 'slow.ts' };
  const produced = producer.getOrProduce(request, async () => {
    await work;
    return { body: 'x' };
  });
  const stream = await openStream(await serve());
  const claimOf = ({ type, fleet }: Event): Event =>
    type === 'fleet' ? fleet.claims.find((claim: Event) => claim.realm === realm) : undefined;
  await stream.find('it is being produced', (event) => claimOf(event)?.producer === 'the producer');
  const waited = waiter.getOrProduce(request, async () => ({ body: 'y' }));
  const event = await stream.find('somebody waits', (event) => claimOf(event)?.waiting.length > 0);
  expect(claimOf(event)).toMatchObject({ path: 'slow.ts', kind: 'transpile', waiting: ['the waiter'] });
  finish();
  expect([(await produced).body, (await waited).body]).toEqual(['x', 'x']);
});

test('asks the database only while somebody watches, with one poller for all, and leaves no session', async () => {
  const proxy = await startProxy(database.url);
  closing.push(() => proxy.close());
  const server = await serve({ connection: proxy.url });
  const asked = (): number => proxy.sent(/[0-9a-f]{32}-[0-9a-f]+\//);
  expect(proxy.accepted).toBe(0);
  const began = performance.now();
  const streams = await Promise.all(Array.from({ length: 20 }, () => openStream(server)));
  await Promise.all(
    streams.map(async ({ find }) => {
      await find('counts are told', ({ type }) => type === 'stats');
      await find('somebody asked again', () => asked() > 4);
    }),
  );
  // Four times a second, and one more.
  expect(asked()).toBeLessThan((performance.now() - began) / 250 + 2);
  for (const stream of streams) await stream.close();
  let before = -1;
  await until(
    async () => {
      const isQuiet = asked() === before;
      before = asked();
      await sleep(1_000);
      return isQuiet;
    },
    { timeoutMs: 30_000, what: 'nothing is asked any more' },
  );
  const again = await openStream(server);
  await again.find('it is told again', ({ type }) => type === 'fleet');
  expect(proxy.connections).toBeGreaterThan(0);
  // The page itself ends them: a server waits for what is open.
  await server.page.close();
  await again.ended;
  await until(() => proxy.connections === 0, { what: 'its connections are gone' });
});

test('who does not read is cut off, and nobody else notices', async () => {
  const server = await serve();
  const reading = await openStream(server);
  await reading.find('it has begun', ({ type }) => type === 'fleet');
  const realm = newRealm();
  const slow = await server.page(new Request(new URL('events', server.url)));
  const reader = (slow.body as ReadableStream<Uint8Array>).getReader();
  const named = Array.from({ length: 20 }, (_, index) => `${'long/'.repeat(150)}${index}.ts`);
  // A megabyte, and then some.
  for (let turn = 0; turn < 80; turn += 1)
    await database.sql`select from module_cache.invalidate(${realm}, ${named})`;
  await reading.find('all of it is told', () => {
    const told = reading.events.filter(({ type }) => type === 'invalidations');
    return told.reduce((sum, { invalidations }) => sum + invalidations.length, 0) >= 80;
  });
  const fleets = (): number => reading.events.filter(({ type }) => type === 'fleet').length;
  const told = fleets();
  await reading.find('the other one is told on', () => fleets() > told + 1);
  let bytes = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) bytes += part.value.byteLength;
  expect(bytes).toBeGreaterThan(1_000_000);
  expect(bytes).toBeLessThan(10_000_000);
});

test('more than may watch are told to come back later', async () => {
  const server = await serve({ maxViewers: 1 });
  const stream = await openStream(server);
  await expect(watch(server.url)).rejects.toThrow(/^503 too many/);
  const head = (): Promise<number> =>
    fetch(new URL('events', server.url), { method: 'HEAD' }).then(({ status }) => status);
  expect(await head()).toBe(503);
  await stream.close();
  await until(
    () =>
      watch(server.url).then(
        (next) => closing.push(next.close),
        () => false,
      ),
    {
      what: 'there is room again',
    },
  );
  await closing.pop()?.();
  await until(async () => (await head()) === 200, { what: 'there is room for a head' });
  // Which takes no room.
  expect([await head(), await head()]).toEqual([200, 200]);
});

test('shows the graph of a realm, finds modules, and explains them in words', async () => {
  const realm = newRealm();
  const cache = await openPeer('producer');
  await produce(cache, realm, 'lib/root.ts');
  await produce(cache, realm, 'lib/user.ts', ['lib/root', 'https://other.example/x']);
  const server = await serve();
  expect(await getJson(server, 'graph', { realm })).toEqual({
    ...{ realm, paths: ['lib/root.ts', 'lib/user.ts'], statuses: ['live', 'live'], edges: [1, 0] },
    isTruncated: false,
  });
  expect(await getJson(server, 'search', { realm, text: 'USER' })).toEqual(['lib/user.ts']);
  expect(await getJson(server, 'search', { realm, text: '%' })).toEqual([]);

  await cache.invalidate(realm, ['lib/root.ts']);
  const [row] = await getJson(server, 'explain', { realm, path: 'lib/user.ts' });
  expect(row).toMatchObject({
    ...{ kind: 'transpile', status: 'tombstone', dependents: [], dependentCount: 0 },
    reason: expect.stringMatching(/^miss: invalidated .* through lib\/root/),
    dependencies: expect.arrayContaining(['lib/root', 'https://other.example/x']),
  });
  // By the key of a dependency as well, which is what links hold.
  const [root] = await getJson(server, 'explain', { realm, path: 'lib/root' });
  expect(root.dependents).toEqual(['lib/user.ts']);
  await until(async () => (await getJson(server, 'graph', { realm })).statuses.join() === 'dead,dead', {
    what: 'the graph shows it',
  });
});

test('who has heard of an invalidation gets no graph from before it', async () => {
  const realm = newRealm();
  const cache = await openPeer('producer');
  await produce(cache, realm, 'a.ts');
  const server = await serve();
  const stream = await openStream(server);
  await stream.find('counts are told', ({ type }) => type === 'stats');
  expect(await getJson(server, 'graph', { realm })).toMatchObject({ statuses: ['live'] });
  const kept = performance.now();
  await cache.invalidate(realm, ['a.ts']);
  await stream.find('it is told', ({ type }) => type === 'invalidations');
  // Or the graph would not have been given out again anyway.
  expect(performance.now() - kept).toBeLessThan(2_000);
  expect(await getJson(server, 'graph', { realm })).toMatchObject({ statuses: ['dead'] });
});

test('of processes, claims and counts one more is told than is shown, so that it can be said', async () => {
  const realm = newRealm();
  const many = await createDatabase();
  closing.push(() => many.drop());
  await many.sql`
    select module_cache.put(
      ${realm} || n || '/', 'a.ts', 'transpile', '', 'x', '{}', '{}',
      (select g.token from module_cache.get(${realm}, 'none.ts') g))
    from generate_series(1, 510) n`;
  const stream = await openStream(await serve({ connection: many.url }));
  const { stats } = await stream.find('counts are told', ({ type }) => type === 'stats');
  expect(stats).toHaveLength(501);
});

test('who asks for the same explanation at the same time shares one question', async () => {
  const proxy = await startProxy(database.url);
  closing.push(() => proxy.close());
  const { page, url } = await serve({ connection: proxy.url });
  const query = new URLSearchParams({ realm: newRealm(), path: 'shared.ts' });
  const question = new URL(`explain?${query}`, url);
  const answers = await Promise.all(Array.from({ length: 10 }, () => page(new Request(question))));
  expect(answers.map(({ status }) => status)).toEqual(Array(10).fill(200));
  expect(proxy.sent(/shared\.ts/)).toBe(1);
});

test.each([
  ['graph', {}],
  ['graph', { realm: 'no realm' }],
  ['explain', { realm: 'https://a.example/', path: '../x' }],
  ['explain', { realm: 'https://a.example/', path: 'a\0b' }],
  ['search', { realm: 'https://a.example/', text: 'x'.repeat(5_000) }],
])('a question that means no module is no error of the server: %s %j', async (name, query) => {
  const server = await serve();
  const response = await fetch(new URL(`${name}?${new URLSearchParams(query)}`, server.url));
  expect(response.status).toBe(400);
  expect(server.errors).toEqual([]);
});

test('the rights of module_cache_operator are all that it needs, and less is told', async () => {
  const role = `page_${process.pid}`;
  await database.sql.unsafe(
    `create role ${role} login password 'of the page'; grant module_cache_operator to ${role}`,
  );
  const url = Object.assign(new URL(database.url), { username: role, password: 'of the page' }).href;
  try {
    const realm = newRealm();
    await produce(await openPeer('producer'), realm, 'a.ts');
    const server = await serve({ connection: url });
    const stream = await openStream(server);
    await stream.find('counts are told', ({ type, stats }) => {
      return type === 'stats' && stats.some((row: Event) => row.realm === realm && row.artifacts === 1);
    });
    await getJson(server, 'graph', { realm });
    await getJson(server, 'explain', { realm, path: 'a.ts' });
    await database.sql`select module_cache.invalidate(${realm}, array['a.ts'])`;
    await stream.find('an invalidation is told', ({ type }) => type === 'invalidations');
    expect(server.errors).toEqual([]);

    await database.sql`select module_cache.close_realm(${realm}, current_user)`;
    const explain = await fetch(
      new URL(`explain?${new URLSearchParams({ realm, path: 'a.ts' })}`, server.url),
    );
    expect([explain.status, await explain.text()]).toEqual([403, expect.stringMatching(/realm is private/)]);

    await database.sql.unsafe(
      `revoke module_cache_operator from ${role}; grant module_cache_reader to ${role}`,
    );
    const { trouble } = await stream.find('the rights are missed', ({ type }) => type === 'trouble');
    expect(trouble).toContain('grant it module_cache_operator');
    await database.sql.unsafe(`grant module_cache_operator to ${role}`);
    const from = stream.events.length;
    await until(() => stream.events.slice(from).some(({ type }) => type === 'fleet'), { what: 'it goes on' });
  } finally {
    for (const close of closing.splice(0).reverse()) await close();
    await database.sql.unsafe(`drop owned by ${role}; drop role ${role}`);
  }
});

test('an instance that was given stays open', async () => {
  const sql = connect(database.url, { max: 2 });
  const server = await serve({ connection: sql });
  await (await openStream(server)).find('it is told', ({ type }) => type === 'fleet');
  await server.close();
  expect(await sql`select 1 as one`).toEqual([{ one: 1 }]);
});

test('while the database is away who watches is told so, without where it is, and then sees it again', async () => {
  const proxy = await startProxy(database.url);
  closing.push(() => proxy.close());
  const server = await serve({ connection: proxy.url });
  const stream = await openStream(server);
  await stream.find('it is told', ({ type }) => type === 'fleet');
  proxy.door = 'close';
  proxy.cut();
  const { trouble } = await stream.find('it is away', ({ type }) => type === 'trouble');
  expect(trouble).toBe('The database cannot be reached.');
  proxy.door = 'accept';
  const from = stream.events.length;
  await until(() => stream.events.slice(from).some(({ type }) => type === 'fleet'), {
    timeoutMs: 20_000,
    what: 'it is back',
  });
  expect(JSON.stringify(stream.events)).not.toContain(new URL(proxy.url).port);
});
