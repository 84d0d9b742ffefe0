import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { migrate } from '../../src/schema/migrate.js';
import { VERSION } from '../../src/versions.js';
import { closePeers, openPeer } from '../client/support/peers.js';
import { session } from '../sql/support/session.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/wait.js';
import { createLogin, type Login, run } from './support/run.js';

const REALM = 'https://status.example/';

describe('the fleet in module-cache status', () => {
  let database: TestDatabase;
  let operator: Login;
  let reader: Login;
  let nobody: Login;
  beforeAll(async () => {
    database = await createDatabase({ template: false });
    // By migrations, whose history an operator may not read.
    await migrate({ databaseUrl: database.url });
    operator = await createLogin(database, 'operator');
    reader = await createLogin(database, 'reader');
    nobody = await createLogin(database);
  });
  afterEach(closePeers);
  afterAll(async () => {
    for (const login of [operator, reader, nobody]) await login.drop();
    await database.drop();
  });

  test('an operator sees who is there, how much is stored, and what has been produced for long', async () => {
    await openPeer({ connection: database.url, name: 'renderer 1' });
    const cache = session(database, { application_name: 'a hanging producer' });
    await cache.publish('a.ts', 'twelve bytes', { realm: REALM });
    await cache.claim('slow.ts', { realm: REALM });
    await cache.run(`update module_cache._claims set claimed_at = claimed_at - interval '1 minute'`);
    await until(async () => (await database.sql`select from module_cache.peers`).length > 0, {
      what: 'the peer has reported',
    });
    const people = await run(['status', '--database-url', operator.url]);
    expect(people.code).toBe(0);
    expect(people.stdout).toContain('installed by the migrations');
    expect(people.stdout).toContain('stored   1 artifact, 12 B\npeers    1 listening\n');
    expect(people.stdout).toMatch(/\nrenderer 1 +listening +0 +0 /);
    expect(people.stdout).toMatch(
      new RegExp(
        `produced for more than 10 s:\n *age .*\n *[67]\\d s +${REALM}slow.ts +transpile +a hanging producer`,
      ),
    );
    const { stdout } = await run(['status', '--json', '--database-url', operator.url]);
    expect(JSON.parse(stdout)).toMatchObject({
      version: VERSION,
      compatible: true,
      peers: [{ name: 'renderer 1', status: 'listening', processId: process.pid }],
      artifacts: { count: 1, bytes: 12 },
      oldClaims: [{ path: 'slow.ts', producer: 'a hanging producer' }],
    });
  });

  test('a role that may not see it is told so, and the rest is as ever', async () => {
    const people = await run(['status', '--database-url', reader.url]);
    expect([people.code, people.stdout]).toEqual([
      0,
      expect.stringContaining('fleet    not shown: this role may not'),
    ]);
    expect(people.stdout).toContain(`schema   ${VERSION}`);
    const { stdout } = await run(['status', '--json', '--database-url', reader.url]);
    expect(JSON.parse(stdout)).toMatchObject({
      version: VERSION,
      peers: null,
      artifacts: null,
      oldClaims: null,
    });
  });

  test('without any right on the schema it is one clear line', async () => {
    const { code, stderr } = await run(['status', '--database-url', nobody.url]);
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/^module-cache: permission denied.*grant .*\n$/),
    ]);
  });
});
