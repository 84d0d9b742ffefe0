import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { describe, test } from '@jest/globals';

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

/** Tests that need a program of the system; without it they are skipped, and that is said. */
export function describeWith(program: ProgramName, title: string, tests: (file: string) => void): void {
  const file = findProgram(program);
  if (file === undefined) tellSkipped(program, title);
  (file === undefined ? describe.skip : describe)(title, () => tests(file ?? ''));
}

/** As `describeWith`, for one test. */
export function testWith(program: ProgramName, title: string, work: (file: string) => unknown): void {
  const file = findProgram(program);
  if (file === undefined) tellSkipped(program, title);
  (file === undefined ? test.skip : test)(title, async () => void (await work(file ?? '')));
}

function tellSkipped(program: ProgramName, title: string): void {
  const [name] = [program].flat();
  process.stderr.write(
    `skipped, because there is no ${name} (${variableOf(program)} may name one): ${title}\n`,
  );
}

const variableOf = (program: ProgramName): string => ([program].flat()[0] ?? '').toUpperCase();

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
