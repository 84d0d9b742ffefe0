import zlib, { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { expect, test } from '@jest/globals';
import { createCompressor, negotiateCoding } from '../../src/http/coding.js';
import { servedRealm } from './support/served-realm.js';

const modules = servedRealm();
const large = `export const text = '${'a module that compresses well, '.repeat(200)}';`;

test.each([
  ['gzip, deflate, br', 'br'],
  ['gzip, deflate', 'gzip'],
  ['gzip;q=1, br;q=0.1', 'gzip'],
  ['br;q=0, gzip', 'gzip'],
  ['br;q=0, *', /zstd|gzip/],
  ['GZIP', 'gzip'],
  ['*', 'br'],
  ['identity', 'identity'],
  ['identity, gzip;q=0.5', 'identity'],
  ['', 'identity'],
  ['identity;q=0, *;q=0', 'identity'],
  ['compress', 'identity'],
  [null, 'identity'],
])('accept-encoding %s is given %s', (accept, coding) => {
  expect(negotiateCoding(accept)).toMatch(coding);
});

test('a large module is compressed for who accepts it, and every coding has an etag of its own', async () => {
  await modules.write('a.ts', large);
  const ask = await modules.serve();
  const plain = await ask('/a.ts');
  const text = await plain.text();
  // From Node 22.15 on.
  const { zstdDecompressSync } = zlib as unknown as { zstdDecompressSync?: typeof gunzipSync };
  const decoders = {
    br: brotliDecompressSync,
    gzip: gunzipSync,
    ...(zstdDecompressSync === undefined ? {} : { zstd: zstdDecompressSync }),
  };
  const etags = [plain.headers.get('etag')];
  for (const [coding, decode] of Object.entries(decoders)) {
    const response = await ask('/a.ts', { 'accept-encoding': coding });
    expect([response.headers.get('content-encoding'), response.headers.get('vary')]).toEqual([
      coding,
      'accept-encoding',
    ]);
    const bytes = Buffer.from(await response.arrayBuffer());
    expect(response.headers.get('content-length')).toBe(String(bytes.byteLength));
    expect(bytes.byteLength).toBeLessThan(text.length / 4);
    expect(decode(bytes).toString()).toBe(text);
    etags.push(response.headers.get('etag'));
    const again = { 'accept-encoding': coding, 'if-none-match': String(response.headers.get('etag')) };
    expect((await ask('/a.ts', again)).status).toBe(304);
    expect((await ask('/a.ts', { ...again, 'accept-encoding': 'identity' })).status).toBe(200);
  }
  expect(new Set(etags).size).toBe(1 + Object.keys(decoders).length);
  // Equal in every process.
  const other = await (await modules.serve({}, 1))('/a.ts', { 'accept-encoding': 'br' });
  expect(other.headers.get('etag')).toBe(etags[1]);
});

test('a small module, and one that does not compile, are not', async () => {
  await modules.write('a.ts', 'export const a = 1;');
  await modules.write('bad.ts', `${large}\nexport const = 1;`);
  const ask = await modules.serve();
  for (const path of ['/a.ts', '/bad.ts']) {
    expect((await ask(path, { 'accept-encoding': 'br' })).headers.get('content-encoding')).toBeNull();
  }
});

test('each body is compressed once, also for many who ask at once, and is not mixed with the next version', async () => {
  const compressor = createCompressor(1_000_000);
  const all = await Promise.all(Array.from({ length: 20 }, () => compressor.compress(large, 'br', '"1-br"')));
  expect(new Set(all).size).toBe(1);
  expect(await compressor.compress(large, 'br', '"1-br"')).toBe(all[0]);
  const next = await compressor.compress('next', 'br', '"2-br"');
  expect(brotliDecompressSync(next).toString()).toBe('next');
});

test('what there is no room to remember is compressed all the same', async () => {
  const compressor = createCompressor(40);
  const bodies = Array.from({ length: 20 }, (_, number) => `${large} ${number}`);
  const all = await Promise.all(
    bodies.map((body, number) => compressor.compress(body, 'gzip', `"${number}"`)),
  );
  expect(all.map((bytes) => gunzipSync(bytes).toString())).toEqual(bodies);
});
