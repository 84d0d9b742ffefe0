import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { type ModuleCache, openModuleCache } from '../../src/cache.js';
import { openDirectory } from '../../src/realm/index.js';
import { type Ask, servedRealm } from './support/served-realm.js';

/** A client that passes on a token never reads anything older than what it knows of, in any process. */

const modules = servedRealm();
const TOKEN = /^[0-9a-f]{32}-[0-9a-f]{1,16}@\d+$/;
let deaf: ModuleCache;
let ask: Ask;
beforeEach(async () => {
  const options = { broadcast: 'log', heartbeatMs: 60_000, maxStalenessMs: 120_000 } as const;
  deaf = await openModuleCache({ connection: modules.database.url, ...options });
  // Looking at the source itself would find an edit, too.
  const source = { ...(await openDirectory(modules.folder)), isTransactional: true };
  ask = await modules.serve({ cache: deaf, source });
});
afterEach(() => deaf.close());

const tokenOf = (response: Response): string => String(response.headers.get('x-module-cache-token'));

test('every answer with a module has a token, short, and one that is taken', async () => {
  await modules.write('a.ts', 'export const a = 1;');
  await modules.write('bad.ts', 'export const = 1;');
  const fresh = await ask('/a.ts');
  const etag = String(fresh.headers.get('etag'));
  const answers = [
    fresh,
    await ask('/a.ts'),
    await ask('/a.ts', { 'if-none-match': etag }),
    await ask('/bad.ts'),
    await (await modules.serve())('/a.ts'),
  ];
  expect(answers.map((answer) => [answer.status, answer.headers.get('x-module-cache')])).toEqual([
    [200, 'produced'],
    [200, 'l1'],
    [304, 'l1'],
    [422, 'produced'],
    [200, 'l2'],
  ]);
  for (const answer of answers) {
    expect(tokenOf(answer)).toMatch(TOKEN);
    expect((await ask('/a.ts', { 'x-module-cache-after': tokenOf(answer) })).status).toBe(200);
  }
});

test('who has read a new module in one process does not read an old one in the next', async () => {
  const other = await modules.serve({}, 1);
  const version = async (response: Response): Promise<string | undefined> =>
    /version = (\d+)/.exec(await response.text())?.[1];
  for (let edit = 1; edit <= 10; edit += 1) {
    await modules.write('a.ts', `export const version = ${edit};`);
    await modules.write('b.ts', `export const version = ${edit};`);
    const { token } = await modules.caches[0].invalidate(modules.realm, ['a.ts', 'b.ts']);
    const first = await other('/a.ts', { 'x-module-cache-after': token });
    expect(await version(first)).toBe(String(edit));
    expect(await version(await ask('/b.ts', { 'x-module-cache-after': tokenOf(first) }))).toBe(String(edit));
    await ask('/a.ts', { 'x-module-cache-after': tokenOf(first) });
  }
});

test('a token of another life, or of a transaction that has not been, is answered from the database', async () => {
  await modules.write('a.ts', 'export const version = 1;');
  const life = tokenOf(await ask('/a.ts')).split('@')[0];
  for (const token of [`${life}@9000000000000000000`, `${'0'.repeat(32)}-0@1`]) {
    await modules.write('a.ts', `export const version = 2; // ${token}`);
    await modules.caches[0].invalidate(modules.realm, ['a.ts']);
    const response = await ask('/a.ts', { 'x-module-cache-after': token });
    expect([response.status, await response.text()]).toEqual([200, expect.stringContaining(token)]);
  }
});

test.each([
  'garbage',
  '',
  '@',
  `${'0'.repeat(32)}-0/1:1:`,
  `${'0'.repeat(32)}-0@-1`,
  `${'0'.repeat(32)}-0@1, x`,
])('a token that is none is the client’s error, whether the module exists or not: %j', async (after) => {
  await modules.write('a.ts', 'export const a = 1;');
  for (const path of ['/a.ts', '/none.ts']) {
    const response = await ask(path, { 'x-module-cache-after': after });
    expect([response.status, await response.text()]).toEqual([400, expect.stringContaining('not a token')]);
  }
});
