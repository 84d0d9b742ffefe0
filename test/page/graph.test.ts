import { expect, test } from '@jest/globals';
import { graphOf } from '../../src/page/graph.js';
import { modelOf, reach } from '../../src/page/graph-model.js';
import { firstPlaces, type Places } from '../../src/page/places.js';

const REALM = 'https://a.example/';
const LIMITS = { maxModules: 10, maxArtifacts: 100 };
const row = (path: string, dependencies: string[] = [], status: 'live' | 'error' | 'dead' = 'live') => ({
  path,
  status,
  dependencies,
});

test('a module is one node, whatever its kinds and variants, and as good as its best artifact', () => {
  const graph = graphOf(
    REALM,
    [row('a.ts', ['b'], 'dead'), row('a.ts', ['c', 'b']), row('b.ts', [], 'dead'), row('b.ts', [], 'error')],
    LIMITS,
  );
  expect(graph).toEqual({
    realm: REALM,
    paths: ['a.ts', 'b.ts'],
    statuses: ['live', 'error'],
    edges: [0, 1],
    isTruncated: false,
  });
});

test('an import leads to every module that its key means, and to none of another realm', () => {
  const { edges } = graphOf(
    REALM,
    [row('a.ts', ['lib', 'https://b.example/lib', 'gone']), row('lib.gts'), row('lib/index.ts', ['lib'])],
    LIMITS,
  );
  // An import of itself is no edge.
  expect(edges).toEqual([0, 1, 0, 2, 2, 1]);
});

test('what is beyond the limit is left out, and said to be', () => {
  const rows = [row('a.ts', ['b']), row('b.ts', ['c']), row('c.ts')];
  expect(graphOf(REALM, rows, { ...LIMITS, maxModules: 2 })).toMatchObject({
    paths: ['a.ts', 'b.ts'],
    edges: [0, 1],
    isTruncated: true,
  });
});

test('rows that were not read are said to be left out as well', () => {
  const rows = [row('a.ts'), row('b.ts'), row('b.ts')];
  expect(graphOf(REALM, rows, { ...LIMITS, maxArtifacts: 2 })).toMatchObject({ isTruncated: true });
  expect(graphOf(REALM, rows, { ...LIMITS, maxArtifacts: 3 })).toMatchObject({ isTruncated: false });
});

test('what is gone loses its place, and what stays keeps it', () => {
  const places: Places = new Map();
  firstPlaces(modelOf(graphOf(REALM, [row('a.ts'), row('b.ts')], LIMITS)), places);
  const place = places.get('b.ts');
  firstPlaces(modelOf(graphOf(REALM, [row('b.ts'), row('c.ts')], LIMITS)), places);
  expect([...places.keys()].sort()).toEqual(['b.ts', 'c.ts']);
  expect(places.get('b.ts')).toEqual(place);
});

/** Each imports the one before; the last one also the first. */
const chain = modelOf(
  graphOf(
    REALM,
    [row('a.ts'), row('b.ts', ['a']), row('c.ts', ['b']), row('d.ts', ['c', 'a']), row('e.ts')],
    LIMITS,
  ),
);

test('a wave reaches importers in the order of their distance, each once, by a shortest way', () => {
  expect(reach(chain, [0])).toEqual([
    { index: 0, distance: 0, through: -1 },
    { index: 1, distance: 1, through: 0 },
    { index: 3, distance: 1, through: 0 },
    { index: 2, distance: 2, through: 1 },
  ]);
});

test('a wave runs through nothing but what the log says it reached', () => {
  expect(reach(chain, [0], new Set([0, 1])).map(({ index }) => index)).toEqual([0, 1]);
});

test('cyclic imports end', () => {
  const cycle = modelOf(graphOf(REALM, [row('a.ts', ['b']), row('b.ts', ['a'])], LIMITS));
  expect(reach(cycle, [0, 1]).map(({ distance }) => distance)).toEqual([0, 0]);
  expect(reach(cycle, [1]).map(({ index }) => index)).toEqual([1, 0]);
});
