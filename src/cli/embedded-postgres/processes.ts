import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/**
 * Process ids are used again, after a restart of the machine even the small ones, so a process is known by its id
 * together with its start.
 */
export interface ProcessIdentity {
  readonly pid: number;
  /** Opaque; empty where the platform does not tell. */
  readonly start: string;
}

export const thisProcess: ProcessIdentity = { pid: process.pid, start: startOf(process.pid) ?? '' };

/** True while exactly this process lives; a zombie does not. */
export function isAlive({ pid, start }: ProcessIdentity): boolean {
  const current = startOf(pid);
  return current !== null && (current === '' || start === '' || current === start);
}

/** Command line of a process, its arguments separated by spaces; empty where it cannot be told. */
export function commandLineOf(pid: number): string {
  try {
    if (process.platform !== 'linux') return ps(pid, 'args=');
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch {
    return '';
  }
}

function startOf(pid: number): string | null {
  if (!exists(pid)) return null;
  try {
    if (process.platform !== 'linux') return ps(pid, 'lstart=');
    // The name in parentheses may hold anything: the fields that matter come after the last one.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? null : (fields[19] ?? '');
  } catch {
    return '';
  }
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

const ps = (pid: number, column: string): string =>
  execFileSync('ps', ['-o', column, '-p', String(pid)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  }).trim();
