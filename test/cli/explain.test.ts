import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { describeModule, type Explanation } from '../../src/cli/explain.js';
import { type Session, session } from '../sql/support/session.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { createLogin, type Login, run } from './support/run.js';

const REALM = 'https://explained.example/';

describe('module-cache explain', () => {
  let database: TestDatabase;
  let cache: Session;
  let operator: Login;
  let nobody: Login;
  beforeAll(async () => {
    database = await createDatabase();
    cache = session(database, { application_name: 'an editor' });
    [operator, nobody] = [await createLogin(database, 'operator'), await createLogin(database)];
    await cache.publish('app.ts', 'app', { realm: REALM, dependencies: ['models/person', 'colour'] });
    await cache.publish('models/person.ts', 'person', { realm: REALM, dependencies: ['base'] });
    await cache.invalidate(['base.ts'], REALM);
    await cache.publish('app.ts', 'other', { realm: REALM, variant: 'babel-8' });
  });
  afterAll(async () => {
    await operator.drop();
    await nobody.drop();
    await database.drop();
  });

  const explain = (path: string, ...args: string[]) =>
    run(['explain', REALM, path, '--database-url', operator.url, ...args]);

  test('an operator reads, for each variant, why first and then who, through what, and what hangs together', async () => {
    const { code, stdout } = await explain('app.ts');
    expect(code).toBe(0);
    const [head, stale, fresh] = stdout.split('\n\n');
    expect(head).toBe(`${REALM}app.ts`);
    expect(stale?.split('\n').slice(0, 2)).toEqual([
      'transpile',
      expect.stringMatching(
        /^ {2}miss: invalidated .* from an editor .*through models\/person\.ts, base\.ts$/,
      ),
    ]);
    expect(stale).toMatch(
      /invalidated .*, transaction \d+, role postgres, application an editor, from .*, session \d+/,
    );
    expect(stale).toMatch(/through +models\/person\.ts, base\.ts\n/);
    expect(stale).toMatch(/dependencies +2 keys: models\/person, colour\n/);
    expect(fresh).toMatch(/^transpile babel-8\n {2}hit: /);
    expect((await explain('models/person.ts')).stdout).toMatch(/dependents +1 module: app\.ts\n/);
  });

  test('--json is one document with everything', async () => {
    const { stdout } = await explain('app.ts', '--json');
    expect(JSON.parse(stdout)).toMatchObject({
      realm: REALM,
      path: 'app.ts',
      artifacts: [
        {
          kind: 'transpile',
          variant: '',
          status: 'tombstone',
          through: ['models/person.ts', 'base.ts'],
          application: 'an editor',
          xid: expect.stringMatching(/^\d+$/),
          dependencies: ['models/person', 'colour'],
          bytes: 3,
        },
        { variant: 'babel-8', status: 'hit', dependents: [] },
      ],
    });
  });

  test('a module that was never stored is an answer, not an error', async () => {
    const { code, stdout } = await explain('no/such.ts');
    expect([code, stdout]).toEqual([0, expect.stringContaining('miss: never stored')]);
    const document = JSON.parse((await explain('no/such.ts', '--json')).stdout);
    expect(document.artifacts).toMatchObject([{ kind: null, through: [], dependencies: [], dependents: [] }]);
  });

  test.each([
    ['a path that is none', ['../up.ts'], 'not a canonical path'],
    ['a role without rights', ['app.ts', '--database-url', 'NOBODY'], 'grant module_cache_operator'],
  ])('%s: one clear line, and exit 1', async (_, args, message) => {
    const settled = args.map((arg) => (arg === 'NOBODY' ? nobody.url : arg));
    const { code, stderr } = await run(['explain', REALM, ...settled], { DATABASE_URL: operator.url });
    expect([code, stderr]).toEqual([1, expect.stringContaining(message)]);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stderr).not.toContain('secret');
  });

  const miss: Explanation = {
    ...{
      kind: 'transpile',
      variant: '',
      status: 'miss',
      reason: 'miss',
      through: [],
      invalidatedAt: null,
      xid: null,
    },
    ...{
      role: null,
      application: null,
      clientAddress: null,
      backendPid: null,
      createdAt: null,
      expiresAt: null,
    },
    ...{ bytes: null, dependencies: [], dependents: [] },
  };

  test('a long list is cut, and says by how much', () => {
    const dependents = Array.from({ length: 1_234 }, (_, index) => `m${index}.ts`);
    const lines = describeModule(REALM, 'a.ts', [{ ...miss, dependents }]);
    expect(lines.at(-1)).toMatch(/^ {2}dependents +1,234 modules: m0\.ts, .*m9\.ts and 1,224 more$/);
  });

  test('names that hold escape sequences do not reach the terminal', () => {
    const lines = describeModule(REALM, 'a\x1b[2Jb.ts', [
      {
        ...miss,
        xid: '7',
        application: '\x1b]0;title\x07',
        dependents: ['\u202eevil.ts'],
        reason: 'miss \x1b[31m',
      },
    ]);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
    expect(lines.join('\n')).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f\u202e]/);
    expect(lines[0]).toBe(`${REALM}a\\x1b[2Jb.ts`);
  });
});
