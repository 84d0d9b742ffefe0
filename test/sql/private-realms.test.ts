import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { createLogins, type Logins } from '../support/logins.js';
import { type Session, session } from './support/session.js';

/** A realm that is closed to all roles but one (sql/075-private-realms.sql): who reads what, and what stays coherent. */

const HOST = 'https://tenants.example/';
const PRIVATE = `${HOST}acme/`;
const refused = { code: 'MC006' };

let db: TestDatabase;
let admin: Session;
let logins: Logins;
let member: Session;
let stranger: Session;
let tenant: string;
beforeAll(async () => {
  db = await createDatabase();
  admin = session(db);
  logins = createLogins(db);
  tenant = await logins.create('tenant');
  await logins.create('member', ['module_cache_operator', tenant]);
  await logins.create('stranger', ['module_cache_operator']);
  member = session(logins.urlOf('member'));
  stranger = session(logins.urlOf('stranger'));
});
afterAll(async () => {
  await logins.drop();
  await db.drop();
});

const close = (realm: string, role: string) =>
  admin.run(`select module_cache.close_realm('${realm}', '${role}')`);
const open = (realm: string) => admin.run(`select module_cache.open_realm('${realm}')`);
beforeEach(async () => {
  for (const { realm_url } of await admin.run('select realm_url from module_cache.private_realms')) {
    await open(String(realm_url));
  }
  await admin.clearAll();
  await close(PRIVATE, tenant);
});

/** What a call comes to: a status, or the code that it was refused with. */
const outcome = (call: Promise<{ status: string }>): Promise<string> =>
  call.then(
    ({ status }) => status,
    ({ code }) => String(code),
  );
const readBy = (cache: Session, path: string, realm = PRIVATE) => outcome(cache.get(path, { realm }));
const tokenOf = async (cache: Session, path: string, realm = PRIVATE): Promise<string> =>
  String((await cache.get(path, { realm })).token);
const publish = (path: string, realm = PRIVATE, dependencies: string[] = [], cache = member) =>
  cache.publish(path, path, { realm, dependencies });

describe('who reads', () => {
  test('members of the role read and write it as any realm, others are refused', async () => {
    await publish('a.ts');
    expect(await readBy(member, 'a.ts')).toBe('hit');
    expect(await readBy(stranger, 'a.ts')).toBe('MC006');
    expect(await readBy(stranger, 'never-stored.ts')).toBe('MC006');
    const token = await stranger.token();
    await expect(stranger.put('b.ts', 'x', { realm: PRIVATE, token })).rejects.toMatchObject(refused);
    await expect(stranger.isCurrent('a.ts', token, { realm: PRIVATE })).rejects.toMatchObject(refused);
    await expect(stranger.claim('a.ts', { realm: PRIVATE })).rejects.toMatchObject(refused);
    await expect(
      stranger.run(`select * from module_cache.explain('${PRIVATE}', 'a.ts')`),
    ).rejects.toMatchObject(refused);
    expect(await member.isCurrent('a.ts', await tokenOf(member, 'a.ts'), { realm: PRIVATE })).toBe(true);
  });

  test('however the URL of a module is split into realm and path', async () => {
    expect(await readBy(stranger, 'acme/a.ts', HOST)).toBe('MC006');
    expect(await readBy(stranger, 'a.ts', `${PRIVATE}inside/`)).toBe('MC006');
    expect(await readBy(stranger, 'a.ts', PRIVATE.replace('https://tenants', 'HTTPS://Tenants'))).toBe(
      'MC006',
    );
    expect(await readBy(stranger, 'acme.ts', HOST)).toBe('miss');
    expect(await readBy(stranger, 'acmeX/a.ts', HOST)).toBe('miss');
    const token = await stranger.token();
    await expect(stranger.put('acme/a.ts', 'x', { realm: HOST, token })).rejects.toMatchObject(refused);
  });

  test('of two that lie in each other the inner one counts', async () => {
    const other = await logins.create('inner');
    await close(`${PRIVATE}shared/`, other);
    await logins.create('guest', ['module_cache_reader', other]);
    const guest = session(logins.urlOf('guest'));
    expect(await readBy(guest, 'a.ts')).toBe('MC006');
    expect(await readBy(guest, 'a.ts', `${PRIVATE}shared/`)).toBe('miss');
    expect(await readBy(guest, 'shared/a.ts')).toBe('miss');
    expect(await readBy(member, 'shared/a.ts')).toBe('MC006');
  });

  test('the role that a session has taken counts, and not the one that it has logged in as', async () => {
    await admin.run(`grant module_cache_writer to ${tenant}`);
    await member.begin();
    await member.run(`set local role ${tenant}`);
    expect(await readBy(member, 'a.ts')).toBe('miss');
    await member.rollback();
    await logins.create('app', ['module_cache_writer', logins.role('stranger')]);
    await admin.run(`alter role ${logins.role('app')} noinherit`);
    await admin.run(`grant ${tenant} to ${logins.role('app')}`);
    const app = session(logins.urlOf('app'));
    await app.begin();
    await app.run(`set local role ${tenant}`);
    expect(await readBy(app, 'a.ts')).toBe('miss');
    await app.run(`set local role ${logins.role('stranger')}`);
    expect(await readBy(app, 'a.ts')).toBe('MC006');
    await app.rollback();
  });

  test('a function of a member does not lend its rights', async () => {
    await admin.run(`create schema lent authorization ${logins.role('member')}`);
    await member.run(`
      create function lent.read() returns text language sql security definer
      as $$ select status from module_cache.get('${PRIVATE}', 'a.ts') $$`);
    await member.run(`grant usage on schema lent to public`);
    await expect(stranger.run('select lent.read()')).rejects.toMatchObject(refused);
    expect(await member.run('select lent.read()')).toEqual([{ read: 'miss' }]);
  });

  test('nor does whoever refreshes, or analyses, what a stranger wrote', async () => {
    await publish('a.ts');
    await admin.run(`create schema bait authorization ${logins.role('stranger')}`);
    await stranger.run(`
      create table bait.loot (line text);
      create function bait.look() returns void language plpgsql as $$
      begin
        insert into bait.loot select body from module_cache.artifacts;
        insert into bait.loot select 'views: all';
        insert into bait.loot select body from module_cache.get('${PRIVATE}', 'a.ts');
      exception when others then
        insert into bait.loot values (sqlerrm);
      end $$;
      create function bait.key(x integer) returns integer language plpgsql immutable as $$
      begin
        if session_user <> '${logins.role('stranger')}' then perform bait.look(); end if;
        return x;
      end $$;
      create table bait.rows as select 1 as x;
      create index on bait.rows (bait.key(x));
      create materialized view bait.copy as select body from module_cache.artifacts`);
    await admin.run('refresh materialized view bait.copy');
    expect(await stranger.run('select * from bait.copy')).toEqual([]);
    for (const command of ['analyze bait.rows', 'reindex table bait.rows']) {
      await admin.run(command);
      expect(await stranger.run('select distinct * from bait.loot')).toEqual([
        { line: 'the realm is private' },
      ]);
    }
  });

  test('the owner of the schema reads it, who could read the tables anyway', async () => {
    expect(await readBy(admin, 'a.ts')).toBe('miss');
  });

  test('a role that has lost a member, and a role that is gone, close it to them at once', async () => {
    const former = await logins.create('former', ['module_cache_reader', tenant]);
    const cache = session(logins.urlOf('former'));
    expect(await readBy(cache, 'a.ts')).toBe('miss');
    await admin.run(`revoke ${tenant} from ${former}`);
    expect(await readBy(cache, 'a.ts')).toBe('MC006');

    await admin.run('create role passing nologin');
    await admin.run(`grant passing to ${former}`);
    await close(PRIVATE, 'passing');
    expect(await readBy(cache, 'a.ts')).toBe('miss');
    await admin.run('drop role passing');
    expect(await readBy(cache, 'a.ts')).toBe('MC006');
    expect(await admin.run('select * from module_cache.private_realms')).toEqual([
      { realm_url: PRIVATE, role_name: 'passing', has_role: false },
    ]);
  });
});

describe('closing and opening', () => {
  test('only the owner of the schema closes and opens, and whom she grants it', async () => {
    for (const call of [
      `close_realm('${PRIVATE}', '${logins.role('stranger')}')`,
      `open_realm('${PRIVATE}')`,
    ]) {
      for (const cache of [member, stranger]) {
        await expect(cache.run(`select module_cache.${call}`)).rejects.toMatchObject({ code: '42501' });
      }
    }
  });

  test('misuse raises, and changes nothing', async () => {
    await admin.begin('serializable');
    await expect(open(PRIVATE)).rejects.toMatchObject({ code: 'MC003' });
    await admin.rollback();
    await expect(close(PRIVATE, 'no such role')).rejects.toMatchObject({ code: 'MC003' });
    await expect(admin.run(`select module_cache.close_realm('${PRIVATE}', null)`)).rejects.toMatchObject({
      code: 'MC003',
    });
    await expect(close('acme', tenant)).rejects.toMatchObject({ code: 'MC001' });
    await expect(open('acme')).rejects.toMatchObject({ code: 'MC001' });
    await open('https://never-closed.example/');
    expect(await readBy(stranger, 'a.ts')).toBe('MC006');
  });

  test('what was stored before is forgotten, also by processes that know nothing of roles', async () => {
    await open(PRIVATE);
    await publish('before.ts', PRIVATE, [], stranger);
    const { cursor } = await stranger.changesSince(null);
    await close(PRIVATE, tenant);
    expect(await readBy(member, 'before.ts')).toBe('miss');
    const { changes, complete } = await stranger.changesSince(cursor);
    expect([changes, complete]).toEqual([[{ k: 'global', x: expect.any(String) }], true]);
    expect((await member.changesSince(cursor)).changes).toEqual(changes);
  });

  test('what is stored stays when it is opened, and is there for all', async () => {
    await publish('a.ts');
    await open(PRIVATE);
    expect(await readBy(stranger, 'a.ts')).toBe('hit');
  });

  test('a rollback leaves no trace of it', async () => {
    await open(PRIVATE);
    await publish('a.ts', PRIVATE, [], stranger);
    await admin.begin();
    await close(PRIVATE, tenant);
    await admin.rollback();
    expect(await readBy(stranger, 'a.ts')).toBe('hit');
  });

  test('a put that began before it stores nothing that can be read', async () => {
    await open(PRIVATE);
    const token = await tokenOf(stranger, 'a.ts');
    await stranger.begin('repeatable read');
    await stranger.run('select 1');
    await close(PRIVATE, tenant);
    expect(await stranger.put('a.ts', 'x', { realm: PRIVATE, token })).toMatchObject({ stored: true });
    await stranger.commit();
    expect(await readBy(member, 'a.ts')).toBe('miss');
  });

  test('also what is stored for a realm around it, or inside', async () => {
    await open(PRIVATE);
    const inside = `${PRIVATE}inside/`;
    await stranger.publish('acme/a.ts', 'planted', { realm: HOST });
    await stranger.publish('acme.ts', 'not in it', { realm: HOST });
    await stranger.publish('a.ts', 'planted', { realm: inside });
    await close(PRIVATE, tenant);
    expect(await readBy(member, 'acme/a.ts', HOST)).toBe('miss');
    expect(await readBy(member, 'a.ts', inside)).toBe('miss');
  });

  test('a claim ends, also of who may not read it any more', async () => {
    await open(PRIVATE);
    expect(await stranger.claim('c.ts', { realm: PRIVATE })).toBe(true);
    await close(PRIVATE, tenant);
    expect(await stranger.release('c.ts', { realm: PRIVATE })).toBe(true);
    await expect(stranger.release('c.ts', { realm: PRIVATE })).rejects.toMatchObject(refused);
    await open(PRIVATE);
    expect(await member.claim('c.ts', { realm: PRIVATE })).toBe(true);
    await member.release('c.ts', { realm: PRIVATE });
    await close(PRIVATE, tenant);

    const leaving = await logins.create('leaving', ['module_cache_writer', tenant]);
    const cache = session(logins.urlOf('leaving'));
    expect(await cache.claim('d.ts', { realm: PRIVATE })).toBe(true);
    await admin.run(`revoke ${tenant} from ${leaving}`);
    expect(await cache.release('d.ts', { realm: PRIVATE })).toBe(true);
    expect(await member.claim('d.ts', { realm: PRIVATE })).toBe(true);
    await member.release('d.ts', { realm: PRIVATE });
  });

  test('a claim from before it ends after it, and one from after it after it is opened', async () => {
    await open(PRIVATE);
    expect(await member.claim('a.ts', { realm: PRIVATE })).toBe(true);
    await close(PRIVATE, tenant);
    expect(await member.release('a.ts', { realm: PRIVATE })).toBe(true);
    expect(await member.claim('b.ts', { realm: PRIVATE })).toBe(true);
    await open(PRIVATE);
    expect(await member.release('b.ts', { realm: PRIVATE })).toBe(true);
    for (const path of ['a.ts', 'b.ts']) {
      expect(await stranger.claim(path, { realm: PRIVATE })).toBe(true);
      await stranger.release(path, { realm: PRIVATE });
    }
  });
});

describe('coherence', () => {
  test('whoever may invalidate reaches private modules, without being told', async () => {
    await publish('a.ts', PRIVATE, ['https://lib.example/dep']);
    await publish('b.ts', PRIVATE, ['a.ts']);
    expect(await stranger.invalidate(['dep.ts'], 'https://lib.example/')).toEqual([
      { realm_url: 'https://lib.example/', canonical_path: 'dep.ts' },
    ]);
    expect(await readBy(member, 'a.ts')).toBe('miss');
    expect(await readBy(member, 'b.ts')).toBe('miss');

    await publish('a.ts');
    expect(await stranger.invalidate(['a.ts'], PRIVATE)).toEqual([]);
    expect(await readBy(member, 'a.ts')).toBe('miss');
    await publish('a.ts');
    expect(await stranger.invalidate(['acme/a.ts', 'open.ts'], HOST)).toEqual([
      { realm_url: HOST, canonical_path: 'open.ts' },
    ]);
    expect(await readBy(member, 'a.ts')).toBe('miss');
    await publish('a.ts');
    await stranger.clearRealm(PRIVATE);
    expect(await readBy(member, 'a.ts')).toBe('miss');
  });

  test('a member that listens can prepare a transaction that invalidates', async () => {
    const cache = session(logins.urlOf('member'));
    await cache.run('listen somewhere');
    await publish('prepared.ts');
    await cache.begin();
    await cache.run('set local module_cache.notify = off');
    expect(await cache.invalidate(['prepared.ts'], PRIVATE)).toHaveLength(1);
    await cache.run(`prepare transaction 'private ${process.pid}'`);
    await cache.run(`commit prepared 'private ${process.pid}'`);
    expect(await readBy(member, 'prepared.ts')).toBe('miss');
  });

  test('members are told what was invalidated, others only that something was', async () => {
    await publish('told.ts');
    const { cursor } = await member.changesSince(null);
    await member.invalidate(['told.ts'], PRIVATE);
    await member.invalidate(['acme/told-too.ts', 'open.ts'], HOST);
    await member.clearRealm(PRIVATE);
    const x = expect.any(String);
    expect((await member.changesSince(cursor)).changes).toEqual([
      { k: 'module', r: PRIVATE, m: ['told.ts'], x },
      { k: 'module', r: HOST, m: ['acme/told-too.ts', 'open.ts'], x },
      { k: 'realm', r: PRIVATE, x },
    ]);
    expect((await stranger.changesSince(cursor)).changes).toEqual([
      { k: 'private', x },
      { k: 'module', r: HOST, m: ['open.ts'], x },
      { k: 'private', x },
      { k: 'private', x },
    ]);
  });

  test('a token of something private says so, and is as good as any', async () => {
    const token = await tokenOf(member, 'a.ts');
    expect(token).toMatch(/\/private$/);
    expect(await member.put('a.ts', 'x', { realm: PRIVATE, token })).toMatchObject({ stored: true });
    const read = await member.get('a.ts', { realm: PRIVATE });
    expect(read.token).toMatch(/\/private$/);
    expect(await member.isCurrent('a.ts', String(read.token), { realm: PRIVATE })).toBe(true);
    expect((await member.changesSince(read.token)).complete).toBe(true);
    expect(await tokenOf(member, 'a.ts', HOST)).not.toMatch(/private/);
  });
});

describe('dependencies', () => {
  const put = async (cache: Session, realm: string, dependencies: string[]) =>
    cache.put('importer.ts', 'x', { realm, dependencies, token: await cache.token() });

  test('of an open realm cannot lie in a private one, however they are spelled, whoever puts', async () => {
    for (const cache of [member, stranger, admin]) {
      for (const key of ['a', 'index', 'lib/a', ''].map((path) => PRIVATE + path)) {
        await expect(put(cache, 'https://open.example/', [key])).rejects.toMatchObject(refused);
      }
      await expect(put(cache, HOST, ['acme/a'])).rejects.toMatchObject(refused);
      await expect(put(cache, HOST, ['fine', 'acme/index'])).rejects.toMatchObject(refused);
    }
    expect(await put(stranger, HOST, ['acme.d', 'acmeX/a'])).toMatchObject({ stored: true });
  });

  test('of the inner of two cannot lie in the outer one that its readers may not read, relative ones as well', async () => {
    const inner = await logins.create('inner_only');
    await close(`${PRIVATE}inner/`, inner);
    await admin.run(`grant ${inner} to ${logins.role('member')}`);
    for (const [realm, path, key] of [
      [PRIVATE, 'inner/x.ts', 'b'],
      [`${PRIVATE}inner/`, 'x.ts', `${PRIVATE}b`],
      [HOST, 'acme/inner/x.ts', 'acme/b'],
    ] as const) {
      const token = await member.token();
      await expect(member.put(path, 'x', { realm, dependencies: [key], token })).rejects.toMatchObject(
        refused,
      );
    }
  });

  test('of a private realm lie where its readers may read', async () => {
    const group = await logins.create('group', [tenant]);
    await close('https://group.example/', group);
    await close('https://elsewhere.example/', await logins.create('elsewhere'));
    expect(await put(member, PRIVATE, ['own', `${PRIVATE}other`])).toMatchObject({ stored: true });
    await expect(put(admin, PRIVATE, ['https://elsewhere.example/a'])).rejects.toMatchObject(refused);
    await expect(put(admin, PRIVATE, ['https://group.example/a'])).rejects.toMatchObject(refused);
    expect(await put(admin, 'https://group.example/', [`${PRIVATE}a`])).toMatchObject({ stored: true });
  });

  test('that a role may no longer read hide what depends on them', async () => {
    const group = await logins.create('group_2', [tenant]);
    await logins.create('of_group', ['module_cache_writer', group]);
    const cache = session(logins.urlOf('of_group'));
    const realm = 'https://group-2.example/';
    await close(realm, group);
    await cache.publish('a.ts', 'made from what is private', { realm, dependencies: [`${PRIVATE}a`] });
    expect(await readBy(cache, 'a.ts', realm)).toBe('hit');
    const token = await tokenOf(cache, 'a.ts', realm);
    expect(await cache.isCurrent('a.ts', token, { realm })).toBe(true);
    await admin.run(`revoke ${tenant} from ${group}`);
    expect(await cache.get('a.ts', { realm })).toMatchObject({
      status: 'miss',
      body: null,
      dependency_keys: null,
    });
    expect(await cache.isCurrent('a.ts', token, { realm })).toBe(false);
    expect(await readBy(admin, 'a.ts', realm)).toBe('hit');
  });

  test('that a role may no longer read hide what depends on them by a relative key, too', async () => {
    const inner = await logins.create('inner_reader', ['module_cache_writer', tenant]);
    await close(`${PRIVATE}inner/`, inner);
    const cache = session(logins.urlOf('inner_reader'));
    await publish('inner/a.ts', PRIVATE, ['b'], cache);
    expect(await readBy(cache, 'inner/a.ts')).toBe('hit');
    await admin.run(`revoke ${tenant} from ${inner}`);
    expect(await readBy(cache, 'inner/a.ts')).toBe('miss');
  });

  test('that an old snapshot did not know to be private are not read by others', async () => {
    await open(PRIVATE);
    await stranger.begin('repeatable read');
    await stranger.run('select 1');
    await close(PRIVATE, tenant);
    const token = await admin.token();
    const stored = await stranger.put('late.ts', 'x', {
      realm: 'https://open.example/',
      dependencies: [`${PRIVATE}a`],
      token,
    });
    await stranger.commit();
    expect(stored).toMatchObject({ stored: true });
    expect(await readBy(stranger, 'late.ts', 'https://open.example/')).toBe('miss');
    expect(await readBy(member, 'late.ts', 'https://open.example/')).toBe('hit');
  });
});
