import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { createLogins, type Logins } from '../support/logins.js';
import { until } from '../support/wait.js';
import { closePeers, gate, making, newRealm, openPeer, type Peer } from './support/peers.js';

/** Processes of members and of others (sql/075-private-realms.sql): memory stays coherent, whoever is told how much. */

let database: TestDatabase;
let logins: Logins;
let tenant: string;
let realm: string;
beforeAll(async () => {
  database = await createDatabase();
  logins = createLogins(database);
  tenant = await logins.create('tenant');
  await logins.create('member', ['module_cache_writer', tenant]);
  await logins.create('other', ['module_cache_writer']);
});
afterAll(async () => {
  await logins.drop();
  await database.drop();
});
beforeEach(async () => {
  realm = newRealm();
  await database.sql`select module_cache.close_realm(${realm}, ${tenant})`;
});
afterEach(closePeers);

const open = (name: string, listenAs = name): Promise<Peer> =>
  openPeer({ connection: logins.urlOf(name).url, listenConnection: logins.urlOf(listenAs).url });
const produce = ({ cache }: Peer, body = 'old') => cache.getOrProduce({ realm, path: 'a.ts' }, making(body));
const peek = ({ cache }: Peer): string | undefined => cache.peek({ realm, path: 'a.ts' })?.body;
const isForgotten = (peer: Peer) =>
  until(() => peek(peer) === undefined, { what: 'it has dropped what was invalidated' });

test('members share what they make, and hear of changes by name', async () => {
  const [one, two] = [await open('member'), await open('member')];
  await produce(one);
  expect((await produce(two)).source).toBe('l2');
  expect((await produce(two)).source).toBe('l1');
  await one.cache.invalidate(realm, ['a.ts']);
  await isForgotten(two);
  expect(two.of('invalidated').map(({ scope, paths }) => [scope, paths])).toContainEqual([
    'module',
    ['a.ts'],
  ]);
});

test('others are refused, and hear no names', async () => {
  const [member, other] = [await open('member'), await open('other')];
  await produce(member);
  await expect(produce(other)).rejects.toMatchObject({ code: 'MC006' });
  await expect(other.cache.getMany([{ realm, path: 'a.ts' }])).rejects.toMatchObject({ code: 'MC006' });
  expect(peek(other)).toBeUndefined();
  const { token, modules } = await member.cache.invalidate(realm, ['a.ts']);
  expect(modules).toEqual([{ realm, path: 'a.ts' }]);
  await until(() => other.of('invalidated').some(({ scope }) => scope === 'private'), {
    what: 'it was told that something was invalidated',
  });
  expect(JSON.stringify(other.told)).not.toContain(realm);
  expect((await other.cache.invalidate(realm, ['a.ts'])).modules).toEqual([]);
  expect(token).not.toMatch('private');
});

test('a process that reads as a member and listens as another drops what is private whenever something private changes', async () => {
  const [member, mixed] = [await open('member'), await open('member', 'other')];
  await produce(mixed);
  expect(peek(mixed)).toBe('old');
  await member.cache.invalidate(realm, ['a.ts']);
  await isForgotten(mixed);
  expect((await produce(mixed, 'new')).body).toBe('new');
  expect((await produce(mixed)).source).toBe('l1');
});

test.each(['member', 'former'])(
  'so does what it has read together with what is open, listening as %s',
  async (name) => {
    if (name === 'former') await logins.create(name, ['module_cache_writer', tenant]);
    const [member, mixed] = [await open('member'), await open(name, name === 'member' ? 'other' : name)];
    const [request, asked] = [
      { realm: newRealm(), path: 'open.ts' },
      { realm, path: 'a.ts' },
    ];
    await member.cache.getOrProduce(request, making('open'));
    await produce(member);
    const read = await mixed.cache.getMany([request, asked]);
    expect(read.map((module) => module?.body)).toEqual(['open', 'old']);
    if (name === 'former') await database.sql.unsafe(`revoke ${tenant} from ${logins.role(name)}`);
    await member.cache.invalidate(realm, ['a.ts']);
    await isForgotten(mixed);
    expect(mixed.cache.peek(request)?.body).toBe('open');
  },
);

test('its productions end as well, and nobody joins them', async () => {
  const [member, mixed] = [await open('member'), await open('member', 'other')];
  const old = gate({ heedsSignal: true });
  const first = mixed.cache.getOrProduce({ realm, path: 'a.ts' }, old.produce);
  await old.begun();
  await member.cache.invalidate(realm, ['a.ts']);
  await until(() => old.signals[0]?.aborted === true, { what: 'the production was told to end' });
  await old.begun(2);
  old.finish({ body: 'new' });
  expect((await first).body).toBe('new');
});

test('what is open stays in its memory', async () => {
  const [member, mixed] = [await open('member'), await open('member', 'other')];
  const request = { realm: newRealm(), path: 'open.ts' };
  await mixed.cache.getOrProduce(request, making('open'));
  await produce(mixed);
  await member.cache.invalidate(realm, ['a.ts']);
  await isForgotten(mixed);
  expect(mixed.cache.peek(request)?.body).toBe('open');
});

test('who is no member any more is refused, and drops what it holds with the next change', async () => {
  await logins.create('leaving', ['module_cache_writer', tenant]);
  const [member, former] = [await open('member'), await open('leaving')];
  await produce(former);
  await database.sql.unsafe(`revoke ${tenant} from ${logins.role('leaving')}`);
  await expect(former.cache.get({ realm, path: 'a.ts' }, { consistency: 'strong' })).rejects.toMatchObject({
    code: 'MC006',
  });
  await member.cache.invalidate(realm, ['a.ts']);
  await isForgotten(former);
  await expect(produce(former)).rejects.toMatchObject({ code: 'MC006' });
});

test('closing a realm, again as well, makes every process forget what it holds', async () => {
  await logins.create('lost', ['module_cache_writer', tenant]);
  const [member, lost] = [await open('member'), await open('lost')];
  await produce(member);
  await produce(lost);
  await database.sql.unsafe(`revoke ${tenant} from ${logins.role('lost')}`);
  await database.sql`select module_cache.close_realm(${realm}, ${tenant})`;
  await Promise.all([isForgotten(member), isForgotten(lost)]);
  await expect(produce(lost)).rejects.toMatchObject({ code: 'MC006' });
  expect((await produce(member, 'new')).body).toBe('new');
});

test('who made a module of an open realm from a private one has it, and nobody else', async () => {
  const [member, other] = [await open('member'), await open('other')];
  const request = { realm: newRealm(), path: 'importer.ts' };
  const made = await member.cache.getOrProduce(request, making('secret', [`${realm}a`]));
  expect([made.body, made.cached]).toEqual(['secret', false]);
  expect(member.of('warning').map(({ error }) => (error as { code?: string }).code)).toContain('MC006');
  expect(member.cache.peek(request)).toBeUndefined();
  expect(await other.cache.get(request)).toBeUndefined();
});

test('and hands it to nobody who asks after what it was made from has changed, by whatever name it is told', async () => {
  const [member, mixed] = [await open('member'), await open('member', 'other')];
  const request = { realm: newRealm(), path: 'importer.ts' };
  const dependencyKeys = [`${realm}a`];
  const work = gate();
  const first = mixed.cache.getOrProduce(request, work.produce);
  await work.begun();
  const { token } = await member.cache.invalidate(realm, ['a.ts']);
  const second = mixed.cache.getOrProduce(request, work.produce, { after: token });
  await until(() => mixed.of('invalidated').some(({ scope }) => scope === 'private'), {
    what: 'it was told',
  });
  work.finish({ body: 'old', dependencyKeys });
  expect((await first).body).toBe('old');
  await work.begun(2);
  work.finish({ body: 'new', dependencyKeys });
  expect((await second).body).toBe('new');
});
