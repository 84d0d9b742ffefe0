import {
  CLAIM_COLUMNS,
  describeStatuses,
  hitRateOf,
  INVALIDATION_COLUMNS,
  PEER_COLUMNS,
  REALM_COLUMNS,
  type Sample,
} from '../fleet.js';
import { plain, type Style } from '../style.js';
import { type Column, count, cut, duration, percent, printable, table } from '../text.js';
import { type Extent, type Order, type TopState, VIEWS, type View } from './state.js';

/** From here on the notification queue is worth a look; from the second on nothing is notified any more. */
const QUEUE_FILLING = 0.25;
const QUEUE_FULL = 0.5;
const LONG_TRANSACTION_MS = 600_000;

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** What a frame shows. */
export interface Shown {
  readonly sample: Sample;
  readonly intervalMs: number;
  /** Why there is nothing newer, and for how long. */
  readonly trouble?: { readonly message: string; readonly ms: number } | undefined;
}

/** Lines above and below the table. */
const AROUND = 7;

const pageOf = ({ rows }: Size): number => Math.max(1, rows - AROUND);

/** Of what is shown, filtered, on a screen. */
export const extentOf = (sample: Sample, state: TopState, size: Size): Extent => ({
  columns: LAYOUTS[state.view].length,
  rows: renderTable(sample, state, Number.POSITIVE_INFINITY).length - 1,
  page: pageOf(size),
});

const LAYOUTS = {
  peers: PEER_COLUMNS,
  realms: REALM_COLUMNS,
  producing: CLAIM_COLUMNS,
  invalidations: INVALIDATION_COLUMNS,
} as const;

const NOTHING: Readonly<Record<View, string>> = {
  peers: 'no process uses the cache now',
  realms: 'nothing was stored or asked for',
  producing: 'nothing is being produced',
  invalidations: 'the log is empty',
};

/** A screen: exactly as many lines as fit, none of them too wide. */
export function renderScreen(shown: Shown, state: TopState, size: Size, style: Style): string[] {
  const page = pageOf(size);
  const rows = renderTable(shown.sample, state, size.columns);
  const [head = '', ...body] = rows;
  const offset = Math.max(0, Math.min(state.offset, body.length - page));
  const visible = body.slice(offset, offset + page);
  const below = body.length - offset - visible.length;
  const lines = [
    ...renderHeader(shown, state, size.columns, style),
    style('bold', head),
    ...(body.length === 0 ? [style('dim', cut(nothingIn(state), size.columns))] : visible),
  ];
  while (lines.length < size.rows - 1) lines.push('');
  const more = below > 0 ? `${count(below)} more below   ` : '';
  const keys = state.isTyping
    ? 'Enter keeps the filter, Esc clears it'
    : '1-4 view  s sort  r reverse  / filter  Esc clear  p pause  q quit';
  return [...lines.slice(0, size.rows - 1), style('dim', cut(more + keys, size.columns))].slice(-size.rows);
}

/** For a file or a pipe: all rows, as wide as they are. */
export function renderPlain(shown: Shown, state: TopState): string[] {
  const [head = '', ...body] = renderTable(shown.sample, state, Number.POSITIVE_INFINITY);
  const header = renderHeader(shown, state, Number.POSITIVE_INFINITY, plain).slice(0, 3);
  return [...header, '', head, ...(body.length === 0 ? [nothingIn(state)] : body)];
}

const nothingIn = ({ view, filter }: TopState): string =>
  filter === '' ? NOTHING[view] : `nothing with "${printable(filter)}"`;

function renderHeader(
  { sample, intervalMs, trouble }: Shown,
  state: TopState,
  columns: number,
  style: Style,
): string[] {
  const {
    at,
    database,
    server,
    peers,
    claims,
    queue,
    oldestTransaction: oldest,
    hiddenTransactions,
  } = sample;
  const time = at.slice(0, 19).replace('T', ' ');
  const paused = state.isPaused ? '   paused' : '';
  const title = `module-cache top${paused}   ${time}, every ${duration(intervalMs)}   ${printable(database)} on PostgreSQL ${server}`;
  const rate = hitRateOf(peers);
  const longest = Math.max(0, ...claims.map(({ ageMs }) => ageMs));
  const figures = [
    `peers ${peers.length}${peers.length === 0 ? '' : ` (${describeStatuses(peers)})`}`,
    `hits ${rate === null ? '-' : percent(rate)}`,
    `invalidations ${sample.invalidationsPerSecond.toFixed(1)}/s`,
  ];
  const load = [
    `producing ${claims.length}${claims.length === 0 ? '' : ` (longest ${duration(longest)})`}`,
    `queue ${percent(queue * 100)}`,
    `oldest transaction ${oldest === null ? '-' : `${duration(oldest.ageMs)} (${printable(oldest.application || 'session')} ${oldest.pid})`}` +
      (hiddenTransactions ? ' (others hidden: pg_read_all_stats)' : ''),
  ];
  const isAlarming =
    queue >= QUEUE_FILLING ||
    (oldest?.ageMs ?? 0) > LONG_TRANSACTION_MS ||
    peers.some(({ status }) => status === 'silent');
  const colour = queue >= QUEUE_FULL ? 'red' : isAlarming ? 'yellow' : 'green';
  const below =
    trouble === undefined
      ? cut(describeState(state), columns)
      : style(
          'red',
          cut(`no answer for ${duration(trouble.ms)}, asking again: ${printable(trouble.message)}`, columns),
        );
  return [
    style('bold', cut(title, columns)),
    style(colour, cut(figures.join('   '), columns)),
    style(colour, cut(load.join('   '), columns)),
    below,
    '',
  ];
}

function describeState(state: TopState): string {
  const { view, filter, isTyping } = state;
  const views = VIEWS.map((name, index) =>
    name === view ? `[${index + 1} ${name}]` : ` ${index + 1} ${name} `,
  );
  const { column, isReversed } = state.orders[view];
  const title = column === null ? '' : LAYOUTS[view][column]?.title;
  const sorted =
    title === '' && !isReversed ? '' : `   sorted by ${title || 'default'}${isReversed ? ', reversed' : ''}`;
  const filtered = filter === '' && !isTyping ? '' : `   filter: ${printable(filter)}${isTyping ? '_' : ''}`;
  return views.join(' ') + sorted + filtered;
}

function renderTable(sample: Sample, state: TopState, columns: number): string[] {
  const order = state.orders[state.view];
  switch (state.view) {
    case 'peers':
      return table(PEER_COLUMNS, arrange(sample.peers, PEER_COLUMNS, order, state.filter), columns);
    case 'realms':
      return table(REALM_COLUMNS, arrange(sample.realms, REALM_COLUMNS, order, state.filter), columns);
    case 'producing':
      return table(CLAIM_COLUMNS, arrange(sample.claims, CLAIM_COLUMNS, order, state.filter), columns);
    case 'invalidations':
      return table(
        INVALIDATION_COLUMNS,
        arrange(sample.invalidations, INVALIDATION_COLUMNS, order, state.filter),
        columns,
      );
  }
}

/** What matches the filter, in order: numbers from the largest on, names from the first on. */
export function arrange<Row>(
  rows: readonly Row[],
  layout: readonly Column<Row>[],
  { column, isReversed }: Order,
  filter: string,
): Row[] {
  const wanted = filter.toLowerCase();
  const found = rows.filter((row) => layout.some(({ text }) => text(row).toLowerCase().includes(wanted)));
  const by = column === null ? undefined : layout[column];
  if (by !== undefined) {
    const { sortBy = by.text } = by;
    found.sort((one, other) => compare(sortBy(one), sortBy(other)));
  }
  return isReversed ? found.reverse() : found;
}

const compare = (one: number | string, other: number | string): number =>
  typeof one === 'number' && typeof other === 'number'
    ? other - one
    : String(one).localeCompare(String(other));
