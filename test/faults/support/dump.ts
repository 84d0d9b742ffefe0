import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The folder of a pg_dump that knows this major version: its own, or a later one. */
export function findDump(major: number): string | undefined {
  const installed = '/usr/lib/postgresql';
  const folders = [
    ...(process.env.TEST_POSTGRES_BINARIES ? [join(process.env.TEST_POSTGRES_BINARIES, 'bin')] : []),
    ...(process.env.PATH ?? '').split(delimiter).filter(Boolean),
    ...namesIn(installed).map((name) => join(installed, name, 'bin')),
  ];
  return folders.find((folder) => majorOf(join(folder, 'pg_dump')) >= major);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function majorOf(program: string): number {
  try {
    const version = execFileSync(program, ['--version'], { encoding: 'utf8', stdio: 'pipe' });
    return Number(/\) (\d+)/.exec(version)?.[1] ?? 0);
  } catch {
    return 0;
  }
}
