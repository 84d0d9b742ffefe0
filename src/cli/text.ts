import stringWidth from 'string-width';

/** How figures and tables are written for people. */

/** Control characters, and what changes the direction of a line: names come from others, and may hold escape sequences. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

/** The same text with a code in place of each character that a terminal would act on. */
export const printable = (text: string): string =>
  text.replace(UNPRINTABLE, (character) => {
    const code = character.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, '0')}` : `\\x${code.padStart(2, '0')}`;
  });

const segmenter = new Intl.Segmenter();

/** At most so many columns of a terminal; `…` stands for what is left out, at the end or in front of what is kept. */
export function cut(text: string, columns: number, keeps: 'start' | 'end' = 'start'): string {
  // No character is wider than two columns, and most texts are short.
  if (text.length * 2 <= columns || stringWidth(text) <= columns) return text;
  if (columns <= 0) return '';
  const segments = Array.from(segmenter.segment(text), ({ segment }) => segment);
  if (keeps === 'end') segments.reverse();
  const kept: string[] = [];
  let width = 0;
  for (const segment of segments) {
    width += stringWidth(segment);
    if (width > columns - 1) break;
    kept.push(segment);
  }
  return keeps === 'end' ? `…${kept.reverse().join('')}` : `${kept.join('')}…`;
}

const pad = (text: string, columns: number): string => ' '.repeat(Math.max(0, columns - stringWidth(text)));

export const padEnd = (text: string, columns: number): string => text + pad(text, columns);
export const padStart = (text: string, columns: number): string => pad(text, columns) + text;

/** The same text in lines of at most so many columns, broken at spaces; what has none is not broken. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && stringWidth(last) + 1 + stringWidth(word) <= columns)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

const LEAST_HANGING = 30;

/** A title and, in what it leaves of so many columns, a text: its other lines begin below where the first one does. */
export function hang(title: string, text: string, columns: number): string[] {
  const indent = stringWidth(title);
  return wrap(text, Math.max(LEAST_HANGING, columns - indent)).map(
    (line, index) => (index === 0 ? title : ' '.repeat(indent)) + line,
  );
}

/** How wide a terminal is; what goes elsewhere is not cut or broken. */
export const columnsOf = ({ isTTY, columns }: { isTTY?: boolean; columns?: number }): number =>
  isTTY === true && columns !== undefined && columns > 0 ? columns : Number.POSITIVE_INFINITY;

export interface Column<Row> {
  readonly title: string;
  /** Numbers stand on the right. */
  readonly isNumber?: boolean;
  /** Gets what the others leave, and is cut first. */
  readonly isWide?: boolean;
  /** What is kept of it then; the start unless it says so. */
  readonly keeps?: 'start' | 'end';
  text(row: Row): string;
  /** What rows are ordered by; its text unless it says so. */
  sortBy?(row: Row): number | string;
}

const GAP = '  ';
const LEAST_WIDE = 24;

/**
 * Lines of a table, the head first; each fits into `columns`, and the last columns are left out for that. Cells are made
 * printable.
 *
 * @param columns Infinity for as wide as they are
 */
export function table<Row>(
  layout: readonly Column<Row>[],
  rows: readonly Row[],
  columns = Number.POSITIVE_INFINITY,
): string[] {
  const cells = [
    layout.map(({ title }) => title),
    ...rows.map((row) => layout.map(({ text }) => printable(text(row)))),
  ];
  const natural = layout.map((_, index) =>
    Math.max(...cells.map((line) => stringWidth(line[index] as string))),
  );
  const widths = shrink(layout, natural, columns);
  return cells.map((line) => {
    const parts = widths.map((width, index) => {
      const { isNumber, keeps } = layout[index] as Column<Row>;
      return (isNumber ? padStart : padEnd)(cut(line[index] as string, width, keeps), width);
    });
    return cut(parts.join(GAP).trimEnd(), columns);
  });
}

/** Widths of as many columns as fit: half a figure would be a wrong one. */
function shrink<Row>(layout: readonly Column<Row>[], natural: readonly number[], columns: number): number[] {
  for (let length = layout.length; ; length -= 1) {
    const widths = natural.slice(0, length);
    let excess = widths.reduce((sum, width) => sum + width, GAP.length * (length - 1)) - columns;
    for (const [index, width] of widths.entries()) {
      if (excess <= 0 || layout[index]?.isWide !== true || width <= LEAST_WIDE) continue;
      widths[index] = Math.max(LEAST_WIDE, width - excess);
      excess -= width - (widths[index] as number);
    }
    if (excess <= 0) return widths;
    if (length <= 1) return widths.map((width) => Math.min(width, columns));
  }
}

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
export const count = (value: number): string => whole.format(Math.round(value));

/** "1 peer", "2 peers". */
export const plural = (value: number, one: string, many = `${one}s`): string =>
  `${count(value)} ${value === 1 ? one : many}`;

export function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let size = value;
  let unit = 0;
  for (; size >= 999.5 && unit < units.length - 1; unit += 1) size /= 1000;
  return `${unit === 0 || size >= 99.95 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 0.0995) return `${(seconds * 1000).toFixed(seconds < 0.00995 ? 2 : 1)} ms`;
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

export const percent = (value: number, digits = 1): string => `${value.toFixed(digits)} %`;

/** The first few, and how many more there are. */
export function some(values: readonly string[], most: number): string {
  const more = values.length > most ? ` and ${count(values.length - most)} more` : '';
  return values.slice(0, most).map(printable).join(', ') + more;
}
