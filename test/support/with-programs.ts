import { describe, test } from '@jest/globals';
import { findProgram, type ProgramName, variableOf } from '../support/programs.js';

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
