import { describe, expect, test } from '@jest/globals';
import { describeModule } from '../../src/cli/explain.js';
import { plain, styleFor } from '../../src/cli/style.js';
import { bytes, cut, duration, padStart, printable, some, table, wrap } from '../../src/cli/text.js';

describe('figures and tables for people', () => {
  test.each([
    [0, '0 B'],
    [999, '999 B'],
    [1_000, '1.0 kB'],
    [99_949, '99.9 kB'],
    [999_499, '999 kB'],
    [999_500, '1.0 MB'],
    [3.21e12, '3.2 TB'],
    [4e15, '4000 TB'],
  ])('%d bytes are %s', (value, text) => {
    expect(bytes(value)).toBe(text);
  });

  test.each([
    [-5, '0.00 ms'],
    [0.124, '0.12 ms'],
    [12.34, '12.3 ms'],
    [250, '250 ms'],
    [999.9, '1.0 s'],
    [9_940, '9.9 s'],
    [61_000, '61 s'],
    [600_000, '10 min'],
    [7_200_000, '2 h'],
    [604_800_000, '7 days'],
  ])('%d ms are %s', (value, text) => {
    expect(duration(value)).toBe(text);
  });

  test('text is cut by the columns that it takes, never through a character', () => {
    expect(cut('module', 6)).toBe('module');
    expect(cut('modules', 6)).toBe('modul…');
    expect(cut('modules', 6, 'end')).toBe('…dules');
    expect(cut('日本語', 5)).toBe('日本…');
    expect(cut('日本語', 4)).toBe('日…');
    expect(cut('👩‍👩‍👧‍👦👩‍👩‍👧‍👦', 3)).toBe('👩‍👩‍👧‍👦…');
    expect(cut('abc', 0)).toBe('');
    expect(padStart('日', 4)).toBe('  日');
  });

  test('characters that a terminal acts on are written as codes', () => {
    expect(printable('a\x1b[31mb\u202ec\u0085\n')).toBe('a\\x1b[31mb\\u202ec\\x85\\x0a');
    expect(printable('日本 é')).toBe('日本 é');
    expect(some(['a', 'b', 'c'], 2)).toBe('a, b and 1 more');
  });

  test('a table gives way in its wide column, keeps its numbers, and fits', () => {
    const layout = [
      { title: 'name', isWide: true, keeps: 'end' as const, text: ([name]: [string, number]) => name },
      { title: 'count', isNumber: true, text: ([, count]: [string, number]) => String(count) },
    ];
    const rows: [string, number][] = [['x'.repeat(40), 7]];
    expect(table(layout, rows)[1]).toBe(`${'x'.repeat(40)}      7`);
    expect(table(layout, rows, 35)).toEqual([`name${' '.repeat(24)}  count`, `…${'x'.repeat(27)}      7`]);
    // No half of a figure: a column that does not fit is left out.
    expect(table(layout, rows, 27)).toEqual(['name', `…${'x'.repeat(26)}`]);
    expect(table(layout, rows, 10)).toEqual(['name', `…${'x'.repeat(9)}`]);
  });

  test.each([
    ['a terminal', { isTTY: true }, {}, true],
    ['a pipe', {}, {}, false],
    ['a terminal, with NO_COLOR', { isTTY: true }, { NO_COLOR: '1' }, false],
    ['a terminal, with an empty NO_COLOR', { isTTY: true }, { NO_COLOR: '' }, true],
    ['a pipe, with FORCE_COLOR', {}, { FORCE_COLOR: '1' }, true],
    ['a terminal, with FORCE_COLOR=0', { isTTY: true }, { FORCE_COLOR: '0' }, false],
    ['a pipe, with both', {}, { FORCE_COLOR: '', NO_COLOR: '1' }, true],
    ['a terminal that can nothing', { isTTY: true }, { TERM: 'dumb' }, false],
  ])('colours: %s', (_, output, env, expected) => {
    const style = styleFor(output, env);
    expect(style('red', 'text')).toBe(expected ? '\x1b[31mtext\x1b[39m' : 'text');
    expect(plain('red', 'text')).toBe('text');
  });
});

test('sentences are broken between words, where there is a terminal whose columns end', () => {
  expect(wrap('a session that is over', 10)).toEqual(['a session', 'that is', 'over']);
  expect(wrap('models/a-long-name.ts is', 8)).toEqual(['models/a-long-name.ts', 'is']);
  expect(wrap('ägypten 東京 tokyo', 12)).toEqual(['ägypten 東京', 'tokyo']);
  expect(wrap('as it is', Number.POSITIVE_INFINITY)).toEqual(['as it is']);
});

test('what explain says fits into the columns of a terminal', () => {
  const reason =
    'miss: invalidated 3 s ago by transaction 812 of role app from psql at 127.0.0.1, through models/person.ts, models/base.ts';
  const lines = describeModule(
    'https://app.example/',
    'app.ts',
    [
      {
        ...{
          kind: 'transpile',
          variant: '',
          status: 'tombstone',
          reason,
          through: [],
          invalidatedAt: '2026-11-22',
        },
        ...{ xid: '812', role: 'app', application: 'psql', clientAddress: '127.0.0.1', backendPid: 4711 },
        ...{
          dependencies: Array.from({ length: 9 }, (_, index) => `models/module-${index}`),
          dependents: [],
        },
        ...{ createdAt: null, expiresAt: null, bytes: null },
      },
    ],
    plain,
    80,
  );
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
  expect(lines.join(' ').replace(/ +/g, ' ')).toContain(reason);
});
