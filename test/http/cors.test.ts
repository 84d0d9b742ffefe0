import { describe, expect, test } from '@jest/globals';
import type { Cors } from '../../src/http/index.js';
import { servedRealm } from './support/served-realm.js';

/** A page of another origin loads modules only if it is allowed to. */

const modules = servedRealm();
const APP = 'https://app.example';
const OTHER = 'https://other.example';

async function allowed(
  cors: Cors,
  origin: string | undefined,
  path = '/a.ts',
): Promise<[string | null, string | null]> {
  await modules.write('a.ts', 'export const a = 1;');
  const response = await (await modules.serve({ cors }))(path, origin === undefined ? {} : { origin });
  return [response.headers.get('access-control-allow-origin'), response.headers.get('vary')];
}

test.each<[string, Cors, string | undefined, string | null, string]>([
  ['none', false, APP, null, 'accept-encoding'],
  ['all', true, APP, '*', 'accept-encoding'],
  ['all, without an origin', true, undefined, '*', 'accept-encoding'],
  ['one', APP, OTHER, APP, 'accept-encoding'],
  ['a list with it', [APP, OTHER], OTHER, OTHER, 'accept-encoding, origin'],
  ['a list without it', [APP], OTHER, null, 'accept-encoding, origin'],
  ['a list, without an origin', [APP], undefined, null, 'accept-encoding, origin'],
  ['a function', (origin) => origin.endsWith('.example'), OTHER, OTHER, 'accept-encoding, origin'],
  [
    'a function that fails',
    () => {
      throw new Error('no list');
    },
    OTHER,
    null,
    'accept-encoding, origin',
  ],
  ['a function that refuses', () => false, OTHER, null, 'accept-encoding, origin'],
])('%s', async (_, cors, origin, allow, vary) => {
  expect(await allowed(cors, origin)).toEqual([allow, vary]);
});

test('errors can be read from the other origin as well', async () => {
  for (const path of ['/none.ts', '/%zz']) expect((await allowed(true, APP, path))[0]).toBe('*');
});

test('a preflight is answered without a look at the module, and scripts may read what the cache says', async () => {
  const ask = await modules.serve({ cors: [APP] });
  const headers = {
    origin: APP,
    'access-control-request-method': 'GET',
    'access-control-request-headers': 'x-module-cache-after',
  };
  const response = await ask('/none.ts', { method: 'OPTIONS', headers });
  expect([response.status, Object.fromEntries(response.headers)]).toEqual([
    204,
    expect.objectContaining({
      'access-control-allow-origin': APP,
      'access-control-allow-methods': 'GET, HEAD',
      'access-control-allow-headers': 'x-module-cache-after, if-none-match',
      'access-control-expose-headers': expect.stringContaining('x-module-cache-token'),
      'access-control-max-age': '7200',
      vary: 'origin',
    }),
  ]);
});

describe('what names no origin is refused at once', () => {
  test.each([['app.example'], [['https://app.example/']], [[5]], [{}]])('%j', async (cors) => {
    await expect(modules.serve({ cors: cors as Cors })).rejects.toMatchObject({ code: 'MC107' });
  });
});
