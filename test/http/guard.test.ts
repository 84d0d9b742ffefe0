import { expect, test } from '@jest/globals';
import { openDirectory } from '../../src/realm/index.js';
import { servedRealm } from './support/served-realm.js';

/** A change whose invalidation was lost: nobody told the cache, and the next look at the source finds it. */

const modules = servedRealm();

test.each([['l1'], ['l2']])('is not served for ever out of %s', async (from) => {
  await modules.write('a.ts', 'export const version = 1;');
  const first = await modules.serve({ recheckMs: 1 });
  await first('/a.ts');
  await modules.write('a.ts', 'export const version = 2;');
  const ask = from === 'l1' ? first : await modules.serve({ recheckMs: 1 }, 1);
  const response = await ask('/a.ts');
  expect([response.headers.get('x-module-cache'), await response.text()]).toEqual([
    'produced',
    expect.stringContaining('version = 2'),
  ]);
});

test('a module whose file is gone is not there, although memory has it', async () => {
  await modules.write('a.ts', 'export const a = 1;');
  const source = await openDirectory(modules.folder);
  let gone = false;
  const vanishing = {
    ...source,
    resolve: async (path: string) => (gone ? undefined : source.resolve(path)),
    stamp: async (path: string) => (gone ? undefined : source.stamp(path)),
    read: async (path: string) => (gone ? undefined : source.read(path)),
  };
  const ask = await modules.serve({ source: vanishing, recheckMs: 1 });
  expect((await ask('/a.ts')).status).toBe(200);
  gone = true;
  expect((await ask('/a.ts')).status).toBe(404);
});

test('two hosts with different files under one realm serve something, and do not ask each other for ever', async () => {
  await modules.write('a.ts', 'export const a = 1;');
  const source = await openDirectory(modules.folder);
  let reads = 0;
  const restless = {
    ...source,
    stamp: async () => `${++reads}`,
    read: async () => ({ text: `export const a = ${reads};`, hash: `${++reads}` }),
  };
  const ask = await modules.serve({ source: restless, recheckMs: 0.001 });
  for (let time = 1; time <= 3; time += 1) expect((await ask('/a.ts')).status).toBe(200);
});
