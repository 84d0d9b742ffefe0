import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { createDefinitionLookup } from '../../src/definition/index.js';
import { logModuleCache } from '../../src/observe/index.js';
import { closePeers, making, newRealm, openPeer } from '../client/support/peers.js';
import { startProxy } from '../client/support/proxy.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterEach(closePeers);
afterAll(() => database.drop());

interface Line {
  level: string;
  msg: string;
  [field: string]: unknown;
}

function capture(level = 'debug') {
  const lines: Line[] = [];
  const write = (line: string): void => void lines.push(JSON.parse(line));
  const formatters = { level: (label: string) => ({ level: label }) };
  return { lines, logger: pino({ level, base: null, timestamp: false, formatters }, { write }) };
}

test('what is produced, fails and is invalidated: the level says how much it matters', async () => {
  const { lines, logger } = capture();
  const { cache } = await openPeer({ connection: database.url });
  const log = logModuleCache(cache, logger);
  const realm = newRealm();
  await cache.getOrProduce({ realm, path: 'a.ts' }, making('a body'));
  await cache.get({ realm, path: 'a.ts' });
  await cache
    .getOrProduce({ realm, path: 'b.ts' }, () => {
      throw new Error('the producer says no');
    })
    .catch(() => {});
  await cache.invalidate(realm, ['a.ts']);
  expect(lines).toMatchObject([
    {
      level: 'debug',
      msg: 'a module was produced',
      realm,
      path: 'a.ts',
      reason: 'stored',
      ms: expect.any(Number),
    },
    { level: 'info', msg: 'a production failed', path: 'b.ts', err: { message: 'the producer says no' } },
    { level: 'debug', msg: 'an invalidation was applied', scope: 'module', paths: ['a.ts'], dropped: 1 },
  ]);
  expect(JSON.stringify(lines)).not.toContain('a body');
  log.close();
  await cache.invalidate(realm, ['a.ts']);
  expect(lines).toHaveLength(3);
});

test('a module that does not exist is no failure', async () => {
  const { lines, logger } = capture();
  const { cache } = await openPeer({ connection: database.url });
  logModuleCache(cache, logger);
  const realm = newRealm();
  const lookup = createDefinitionLookup({ cache, realm, produce: () => null });
  expect(await lookup.lookup('a.ts')).toMatchObject({ status: 'missing' });
  expect(lines).toMatchObject([
    { level: 'debug', msg: 'there is no such module', realm, path: 'a.ts', ms: expect.any(Number) },
  ]);
});

test('a database that goes away is a warning with its error, its return is information, and no password is told', async () => {
  const { lines, logger } = capture('info');
  const proxy = await startProxy(database.url);
  try {
    const { cache } = await openPeer({ connection: proxy.url, heartbeatMs: 200 });
    logModuleCache(cache, logger);
    const has = (msg: string) => () => lines.find((line) => line.msg === msg);
    proxy.door = 'close';
    proxy.cut();
    await until(has('the dedicated connection is lost'), { what: 'the loss is logged' });
    await cache.get({ realm: newRealm(), path: 'a.ts' }).catch(() => {});
    await until(has('the database is away'), { what: 'the absence is logged' });
    proxy.door = 'accept';
    await until(has('the database is back'), { timeoutMs: 30_000, what: 'the return is logged' });
    await until(has('the cache has caught up'), { timeoutMs: 30_000, what: 'the catch-up is logged' });
    const levels = Object.fromEntries(lines.map(({ msg, level }) => [msg, level]));
    expect(levels).toMatchObject({
      'the dedicated connection is lost': 'warn',
      'the database is away': 'warn',
      'the database is back': 'info',
      'the cache has caught up': 'info',
    });
    expect(lines.find(({ level }) => level === 'warn')).toMatchObject({
      err: { message: expect.any(String) },
    });
    expect(JSON.stringify(lines)).not.toContain(`:${new URL(database.url).password}@`);
  } finally {
    await closePeers();
    await proxy.close();
  }
});

test('an answer that broke the bound is a warning; one within it is nothing', async () => {
  const { lines, logger } = capture();
  const { cache } = await openPeer({ connection: database.url });
  logModuleCache(cache, logger);
  const id = { realm: newRealm(), path: 'a.ts', kind: 'transpile', variant: '' };
  cache.events.emit('rechecked', { id, withinMs: 1_000, isBound: false, outcome: 'inconsistent' });
  cache.events.emit('rechecked', { id, withinMs: 5_000, isBound: true, outcome: 'consistent' });
  expect(lines).toEqual([]);
  cache.events.emit('rechecked', { id, withinMs: 5_000, isBound: true, outcome: 'inconsistent' });
  expect(lines).toMatchObject([{ level: 'warn', path: 'a.ts', withinMs: 5_000 }]);
});
