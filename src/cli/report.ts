import { print } from './database.js';
import { printable } from './text.js';

/** Says what happened: a line for people, or with `--json` an event. */
export type Report = (event: string, data: object, line: string) => void;

export const createReport =
  (json: boolean): Report =>
  (event, data, line) =>
    print(json ? JSON.stringify({ event, ...data }) : line);

/** A warning of the cache, with what lies behind it. */
export const textOfWarning = ({ message, error }: { message: string; error?: unknown }): string =>
  error === undefined ? message : `${message}: ${(error as Error).message}`;

/**
 * What went wrong, in one line: any login may send a notification, and what it holds is told, but neither begins a line
 * of its own nor does anything to a terminal.
 */
export const createWarn =
  (report: Report) =>
  (message: string): void =>
    report('warning', { message }, `warning: ${printable(message)}`);
