import { expect, test } from '@jest/globals';
import type { Visibility } from '../../src/http/index.js';
import { servedRealm } from './support/served-realm.js';

/** Who may read a module is asked at every request, and what is private is in no shared cache. */

const modules = servedRealm();

test('a private realm never says public, whatever it answers', async () => {
  await modules.write('a.ts', 'export const a = 1;');
  await modules.write('bad.ts', 'export const = 1;');
  const ask = await modules.serve({ visibility: () => 'private', cors: true });
  const etag = String((await ask('/a.ts')).headers.get('etag'));
  const answers = await Promise.all([
    ask('/a.ts'),
    ask('/a.ts', { 'if-none-match': etag }),
    ask('/bad.ts'),
    ask('/none.ts'),
    ask('/a.ts', { method: 'POST' }),
    ask('/%zz'),
    ask('/a.ts', { 'x-module-cache-after': 'x' }),
    ask('/a.ts', { method: 'OPTIONS' }),
    ask('/a.ts', { method: 'HEAD' }),
  ]);
  expect(answers.map(({ status }) => status)).toEqual([200, 304, 422, 404, 405, 400, 400, 204, 200]);
  for (const { headers } of answers) expect(headers.get('cache-control') ?? '').not.toContain('public');
  for (const answer of [answers[0], answers[1], answers[2]]) {
    expect(answer?.headers.get('cache-control')).toBe('private, no-cache');
    expect(answer?.headers.get('vary')).toContain('cookie, authorization');
  }
});

test('without the option an answer says nothing about who may keep it', async () => {
  await modules.write('a.ts', 'export const a = 1;');
  expect((await (await modules.serve())('/a.ts')).headers.get('cache-control')).toBe('no-cache');
});

test('a change takes effect at the next request, although the module is in memory', async () => {
  await modules.write('a.ts', 'export const a = 1;');
  let visibility: Visibility = 'public';
  const ask = await modules.serve({ visibility: async () => visibility });
  const control = async () => {
    const { status, headers } = await ask('/a.ts');
    return [status, headers.get('cache-control')];
  };
  expect(await control()).toEqual([200, 'public, no-cache']);
  visibility = 'private';
  expect(await control()).toEqual([200, 'private, no-cache']);
  visibility = 'none';
  expect(await control()).toEqual([404, 'no-store']);
  visibility = 'public';
  expect(await control()).toEqual([200, 'public, no-cache']);
});

test('what must not be seen is answered with the very bytes of what does not exist, and is not compiled', async () => {
  await modules.write('a.ts', 'export const a = 1;');
  await modules.write('bad.ts', 'export const = 1;');
  const seen = await modules.serve({ visibility: () => 'public' });
  const hidden = await modules.serve({ visibility: () => 'none' });
  await seen('/bad.ts');
  for (const init of [
    {},
    { 'if-none-match': '*' },
    { method: 'HEAD' },
    { 'x-module-cache-after': `${'0'.repeat(32)}-0@1` },
  ]) {
    const expected = await seen('/none.ts', init);
    const wanted = [404, Object.fromEntries(expected.headers), await expected.text()];
    for (const path of ['/a.ts', '/bad.ts', '/none.ts']) {
      const answer = await hidden(path, init);
      expect([answer.status, Object.fromEntries(answer.headers), await answer.text()]).toEqual(wanted);
    }
  }
  expect(modules.caches[0].peek({ realm: modules.realm, path: 'a.ts' })).toBeUndefined();
  expect((await seen('/a.ts')).headers.get('x-module-cache')).toBe('produced');
});

test('what is not known to be visible is not: another word, or a question that fails', async () => {
  await modules.write('a.ts', 'export const a = 1;');
  for (const answer of [undefined, true, 'PUBLIC']) {
    const ask = await modules.serve({ visibility: () => answer as Visibility });
    expect((await ask('/a.ts')).status).toBe(404);
  }
  const ask = await modules.serve({
    visibility: () => {
      throw new Error('the session store is away: secret');
    },
  });
  const response = await ask('/a.ts');
  expect([response.status, await response.text()]).toEqual([503, 'the module could not be served\n']);
});
