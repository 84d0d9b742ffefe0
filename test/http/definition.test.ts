import { describe, expect, test } from '@jest/globals';
import { servedRealm } from './support/served-realm.js';

/** `?definition`: what a module exports, under the same rules as the module itself. */

const modules = servedRealm();
const source = (name: string): string => `/** A greeting. */\nexport const ${name}: string = 'Hello';\n`;

describe('?definition', () => {
  test('says what the module exports, is made once for all processes, and is no other answer than the module', async () => {
    await modules.write('a.ts', source('greeting'));
    const ask = await modules.serve();
    const response = await ask('/a.ts?definition');
    expect([response.status, response.headers.get('x-module-cache')]).toEqual([200, 'produced']);
    expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(await response.json()).toMatchObject({ exports: [{ name: 'greeting' }] });
    const elsewhere = await (await modules.serve({}, 1))('/a.ts?definition');
    expect([elsewhere.headers.get('x-module-cache'), elsewhere.headers.get('etag')]).toEqual([
      'l2',
      response.headers.get('etag'),
    ]);
    const module = await ask('/a.ts');
    expect(module.headers.get('x-module-cache')).toBe('produced');
    expect(await module.text()).toContain('export const greeting');
    expect(module.headers.get('etag')).not.toBe(response.headers.get('etag'));
  });

  test('is 304 until the module changes', async () => {
    await modules.write('a.ts', source('before'));
    const ask = await modules.serve();
    const etag = String((await ask('/a.ts?definition')).headers.get('etag'));
    const known = { 'if-none-match': etag };
    expect((await ask('/a.ts?definition', known)).status).toBe(304);
    await modules.write('a.ts', source('after'));
    const { token } = await modules.caches[1].invalidate(modules.realm, ['a.ts']);
    const changed = await ask('/a.ts?definition', { ...known, 'x-module-cache-after': token });
    expect([changed.status, await changed.json()]).toEqual([
      200,
      expect.objectContaining({ exports: [expect.objectContaining({ name: 'after' })] }),
    ]);
  });

  test('of an alias names the module’s own URL', async () => {
    await modules.write('lib/index.ts', source('a'));
    const response = await (await modules.serve())('/lib?definition');
    expect([response.status, response.headers.get('content-location')]).toEqual([
      200,
      './lib/index.ts?definition',
    ]);
  });

  test('of what does not parse, does not exist or must not be seen is answered as the module is', async () => {
    await modules.write('bad.ts', 'export const = 1;');
    await modules.write('a.ts', source('a'));
    const ask = await modules.serve({ visibility: () => 'private' });
    const bad = await ask('/bad.ts?definition');
    expect([bad.status, await bad.json()]).toEqual([
      422,
      expect.objectContaining({ file: 'bad.ts', line: 1 }),
    ]);
    expect((await ask('/none.ts?definition')).status).toBe(404);
    expect((await ask('/..%2fa.ts?definition')).status).toBe(400);
    expect((await ask('/a.ts?definition')).headers.get('cache-control')).toBe('private, no-cache');
    const hidden = await modules.serve({ visibility: () => 'none' });
    expect((await hidden('/a.ts?definition')).status).toBe(404);
  });
});
