import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { cli } from '../../support/serve.js';
import { until } from '../../support/wait.js';

/** The command line in a real pseudo-terminal, which Node cannot open by itself: Python can. */
export interface PseudoTerminal {
  /** What stands on the screen: the lines that were drawn last. */
  readonly screen: string[];
  /** Everything that was written. */
  readonly output: string;
  type(keys: string): void;
  resize(rows: number, columns: number): void;
  signal(name: string): void;
  /** Waits until a line of the screen matches. */
  shows(text: string | RegExp): Promise<void>;
  /** How the command ended, and whether the terminal is as it was: echo and lines, screen and cursor. */
  ended(): Promise<{ code: number | null; restored: boolean }>;
}

const living = new Set<ChildProcess>();

/** To be called after each test: one that fails half-way leaves none behind. */
export function closeTerminals(): void {
  for (const child of living) child.kill('SIGKILL');
}

const relay = fileURLToPath(new URL('terminal.py', import.meta.url));
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the escape sequences of a terminal
const SEQUENCE = /\x1b\[[?\d;]*[A-Za-z]/g;

export function startInTerminal(
  args: readonly string[],
  {
    rows = 24,
    columns = 100,
    env = {},
  }: { rows?: number; columns?: number; env?: Record<string, string> } = {},
): PseudoTerminal {
  const child = spawn('python3', [relay, String(rows), String(columns), process.execPath, cli, ...args], {
    env: { ...process.env, TERM: 'xterm-256color', ...env },
    stdio: ['pipe', 'pipe', 'inherit', 'pipe'],
  });
  living.add(child);
  let output = '';
  let result = '';
  child.stdout?.on('data', (chunk) => {
    output += chunk;
  });
  child.stdio[3]?.on('data', (chunk) => {
    result += chunk;
  });
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  closed.then(() => living.delete(child));
  const send = (what: object): void => void child.stdin?.write(`${JSON.stringify(what)}\n`);
  const screen = (): string[] => {
    // The last frame may not be complete yet.
    const end = output.lastIndexOf('\x1b[?2026l');
    const frame = output.slice(output.lastIndexOf('\x1b[H', end), Math.max(end, 0));
    return frame.replace(SEQUENCE, '').replaceAll('\r', '').split('\n');
  };
  return {
    get screen() {
      return screen();
    },
    get output() {
      return output;
    },
    type: (keys) => send({ type: keys }),
    resize: (toRows, toColumns) => send({ resize: [toRows, toColumns] }),
    signal: (name) => send({ signal: name }),
    shows: async (text) => {
      await until(
        () => screen().some((line) => (typeof text === 'string' ? line.includes(text) : text.test(line))),
        { timeoutMs: 20_000, what: `the screen shows ${text}` },
      ).catch((error: Error) => {
        throw new Error(`${error.message}; it shows:\n${screen().join('\n')}\n${output.slice(-500)}`);
      });
    },
    ended: async () => {
      await closed;
      const { code, restored } = JSON.parse(result) as { code: number | null; restored: boolean };
      const left = output.lastIndexOf('\x1b[?1049l') > output.lastIndexOf('\x1b[?1049h');
      const visible = output.lastIndexOf('\x1b[?25h') > output.lastIndexOf('\x1b[?25l');
      return { code, restored: restored && left && visible };
    },
  };
}
