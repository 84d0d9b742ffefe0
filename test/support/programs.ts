import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Where a program may have several names, any of them will do. */
export type ProgramName = string | readonly string[];

/** The one that a variable called as the program is names, else what is in PATH or where Debian puts servers. */
export function findProgram(program: ProgramName): string | undefined {
  const names = [program].flat();
  const named = process.env[variableOf(program)];
  if (named) return isExecutable(named) ? named : undefined;
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find(isExecutable);
}

/** The variable that may name another. */
export const variableOf = (program: ProgramName): string => ([program].flat()[0] ?? '').toUpperCase();

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
