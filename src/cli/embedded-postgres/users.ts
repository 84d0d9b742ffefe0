import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isAlive, thisProcess } from './processes.js';

/** Registers a user of the server: a file named after this process. Returns its path. */
export function addUser(folder: string): string {
  const file = join(folder, `${thisProcess.pid}-${randomUUID().slice(0, 8)}`);
  writeFileSync(file, thisProcess.start, { mode: 0o600 });
  return file;
}

export const removeUser = (file: string): void => rmSync(file, { force: true });

/** True if some living process, this one included, uses the server; files of dead ones are removed. */
export function hasUsers(folder: string): boolean {
  let found = false;
  for (const name of readdirSync(folder)) {
    const file = join(folder, name);
    if (isAlive({ pid: Number.parseInt(name, 10), start: readStart(file) })) found = true;
    else removeUser(file);
  }
  return found;
}

function readStart(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
