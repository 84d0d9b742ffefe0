import { emitKeypressEvents } from 'node:readline';
import type { ReadStream, WriteStream } from 'node:tty';
import type { Key } from './state.js';

/** The whole screen of a terminal, which is given back as it was, whatever happens. */
export interface Terminal {
  readonly columns: number;
  readonly rows: number;
  /** As many lines as there are rows. */
  draw(lines: readonly string[]): void;
  /** As Ctrl-Z does; goes on when the shell lets it. */
  suspend(): void;
  close(): void;
}

export interface TerminalHandlers {
  onKey(key: Key): void;
  /** The size has changed, or the process goes on after it was suspended. */
  onRedraw(): void;
  /** There is nobody at the terminal any more. */
  onGone(): void;
}

const ENTER = '\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J';
const LEAVE = '\x1b[?25h\x1b[?1049l';
/** A frame is shown at once, by terminals that can (synchronized output). */
const BEGIN = '\x1b[?2026h\x1b[H';
const END = '\x1b[?2026l';
/** A process that is stopped does not get to see that so much time has passed. */
const STOPPED_MS = 200;

export function openTerminal(input: ReadStream, output: WriteStream, handlers: TerminalHandlers): Terminal {
  let isEntered = false;
  let suspended: NodeJS.Timeout | undefined;

  function enter(): void {
    if (isEntered) return;
    isEntered = true;
    input.setRawMode(true);
    input.resume();
    output.write(ENTER);
  }

  /** Also as the very last thing that the process does, so nothing here may wait. */
  function leave(): void {
    if (!isEntered) return;
    isEntered = false;
    try {
      input.setRawMode(false);
      output.write(LEAVE);
    } catch {
      // The terminal is gone, and there is nothing to give back.
    }
  }

  const onKey = (_: string | undefined, key: Key): void => handlers.onKey(key);
  const onResize = (): void => handlers.onRedraw();
  const onContinue = (): void => {
    // Whoever was in between has left the terminal in a state of their own.
    isEntered = false;
    enter();
    handlers.onRedraw();
  };
  const onGone = (): void => handlers.onGone();
  emitKeypressEvents(input);
  input.on('keypress', onKey);
  input.on('end', onGone);
  input.on('error', onGone);
  output.on('error', onGone);
  output.on('resize', onResize);
  process.on('SIGCONT', onContinue);
  // Also after an error that nobody has caught: Node writes it behind this.
  process.on('exit', leave);
  enter();

  return {
    get columns() {
      return output.columns || 80;
    },
    get rows() {
      return output.rows || 24;
    },
    draw(lines) {
      // Behind a line that fills the screen, some terminals would erase its last character.
      if (isEntered) output.write(BEGIN + lines.map((line) => `\x1b[K${line}`).join('\r\n') + END);
    },
    suspend() {
      if (process.platform === 'win32') return;
      leave();
      // With whoever has started it, such as npx.
      process.kill(0, 'SIGTSTP');
      // Where no shell could let it go on, as in a container, the kernel does not stop it either.
      suspended = setTimeout(() => {
        if (!isEntered) onContinue();
      }, STOPPED_MS);
    },
    close() {
      clearTimeout(suspended);
      leave();
      input.off('keypress', onKey);
      input.off('end', onGone);
      output.off('resize', onResize);
      process.off('SIGCONT', onContinue);
      process.off('exit', leave);
      input.pause();
    },
  };
}
