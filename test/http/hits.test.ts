import { expect, test } from '@jest/globals';
import type { CacheEvents } from '../../src/events.js';
import { until } from '../support/wait.js';
import { servedRealm } from './support/served-realm.js';

const modules = servedRealm();

test('an answer out of memory counts as a hit, or a fleet that serves would seem to have none', async () => {
  await modules.write('a.ts', 'export const a: number = 1;');
  const ask = await modules.serve();
  await ask('/a.ts');
  const hits: CacheEvents['hit'][0][] = [];
  const { events } = modules.caches[0];
  const note = (hit: CacheEvents['hit'][0]): unknown => hits.push(hit);
  events.on('hit', note);
  try {
    await until(async () => (await ask('/a.ts')).headers.get('x-module-cache') === 'l1', {
      what: 'it comes out of memory',
    });
    expect(hits.at(-1)).toMatchObject({
      id: { realm: modules.realm, path: 'a.ts', kind: 'transpile' },
      source: 'l1',
    });
  } finally {
    events.off('hit', note);
  }
});
