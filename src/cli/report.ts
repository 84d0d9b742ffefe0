import { print } from './database.js';

/** Says what happened: a line for people, or with `--json` an event. */
export type Report = (event: string, data: object, line: string) => void;

export const createReport =
  (json: boolean): Report =>
  (event, data, line) =>
    print(json ? JSON.stringify({ event, ...data }) : line);
