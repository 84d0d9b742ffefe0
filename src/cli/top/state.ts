/** What `top` shows, and what each key makes of that. */

export const VIEWS = ['peers', 'realms', 'producing', 'invalidations'] as const;
export type View = (typeof VIEWS)[number];

export interface Order {
  /** Position of the column; null for the order of the database. */
  readonly column: number | null;
  readonly isReversed: boolean;
}

export interface TopState {
  readonly view: View;
  readonly orders: Readonly<Record<View, Order>>;
  readonly filter: string;
  /** The filter is being typed. */
  readonly isTyping: boolean;
  readonly isPaused: boolean;
  /** Rows above the first one that is shown. */
  readonly offset: number;
}

/** As `readline.emitKeypressEvents` tells of them. */
export interface Key {
  readonly name?: string | undefined;
  readonly sequence?: string | undefined;
  readonly ctrl?: boolean | undefined;
  readonly meta?: boolean | undefined;
}

const unordered: Order = { column: null, isReversed: false };

export const startState = (view: View = 'peers'): TopState => ({
  view,
  orders: { peers: unordered, realms: unordered, producing: unordered, invalidations: unordered },
  filter: '',
  isTyping: false,
  isPaused: false,
  offset: 0,
});

export type Pressed = TopState | 'quit' | 'suspend';

/** Of the table that a view shows. */
export interface Extent {
  readonly columns: number;
  readonly rows: number;
  /** Rows that fit on the screen. */
  readonly page: number;
}

export function press(state: TopState, key: Key, { columns, rows, page }: Extent): Pressed {
  if (key.ctrl && key.name === 'c') return 'quit';
  if (key.ctrl && key.name === 'z') return 'suspend';
  if (state.isTyping) return type(state, key);
  // Escape comes as if it were pressed together with Alt.
  if (key.ctrl || (key.meta && key.name !== 'escape')) return state;
  const { view, orders } = state;
  const order = (next: Order): TopState => ({ ...state, orders: { ...orders, [view]: next }, offset: 0 });
  const cycle = (step: number): TopState => {
    // One more than there are columns: the order of the database.
    const position = ((orders[view].column ?? columns) + step + columns + 1) % (columns + 1);
    return order({ column: position === columns ? null : position, isReversed: false });
  };
  const scroll = (by: number): TopState => {
    const furthest = Math.max(0, rows - page);
    return { ...state, offset: Math.max(0, Math.min(Math.min(state.offset, furthest) + by, furthest)) };
  };
  const chosen = VIEWS[Number(key.sequence) - 1];
  if (chosen !== undefined) return { ...state, view: chosen, offset: 0 };
  switch (key.name) {
    case 'q':
      return 'quit';
    case 's':
    case 'right':
      return cycle(1);
    case 'left':
      return cycle(-1);
    case 'r':
      return order({ ...orders[view], isReversed: !orders[view].isReversed });
    case 'p':
      return { ...state, isPaused: !state.isPaused };
    case 'escape':
      return { ...state, filter: '', offset: 0 };
    case 'down':
      return scroll(1);
    case 'up':
      return scroll(-1);
    case 'pagedown':
      return scroll(page);
    case 'pageup':
      return scroll(-page);
    case 'home':
      return scroll(Number.NEGATIVE_INFINITY);
    case 'end':
      return scroll(Number.POSITIVE_INFINITY);
    default:
      return key.sequence === '/' ? { ...state, isTyping: true } : state;
  }
}

function type(state: TopState, { name, sequence = '', ctrl, meta }: Key): TopState {
  if (name === 'escape') return { ...state, filter: '', isTyping: false, offset: 0 };
  if (name === 'return' || name === 'enter') return { ...state, isTyping: false };
  if (name === 'backspace') return { ...state, filter: [...state.filter].slice(0, -1).join(''), offset: 0 };
  if (ctrl || meta || !/^[^\p{C}]+$/u.test(sequence)) return state;
  return { ...state, filter: state.filter + sequence, offset: 0 };
}
