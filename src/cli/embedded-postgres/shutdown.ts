import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive } from './processes.js';

/**
 * Postgres' own words. `smart` waits for the clients to leave, `fast` rolls their transactions back, `immediate` is a
 * crash on purpose: the next start recovers, and unlogged tables are empty.
 */
export type StopMode = 'smart' | 'fast' | 'immediate';

const signals = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT' } as const;
const modes = Object.keys(signals) as StopMode[];
/** Milliseconds until the next, harder mode is tried: 7.5 s in all, because a command has 8 s to exit. */
const patience = { smart: 1_500, fast: 4_500, immediate: 1_000 };
const POLL_MS = 10;

/** Stops the server, harder and harder, and waits until it is gone. */
export async function stopServer(pid: number, postgres: string, mode: StopMode): Promise<void> {
  for (const each of modes.slice(modes.indexOf(mode))) {
    signalServer(pid, postgres, each);
    if (await isGone(pid, patience[each])) return;
  }
  signal(pid, 'SIGKILL');
  await isGone(pid, 500);
}

/** Only asks. Synchronous, for exit handlers. */
export function signalServer(pid: number, postgres: string, mode: StopMode): void {
  if (process.platform !== 'win32') {
    signal(pid, signals[mode]);
    return;
  }
  // Windows has no signals; pg_ctl delivers them through a pipe of the server.
  const name = signals[mode].replace('SIG', '');
  execFileSync(join(dirname(postgres), 'pg_ctl.exe'), ['kill', name, String(pid)], { stdio: 'ignore' });
}

async function isGone(pid: number, timeoutMs: number): Promise<boolean> {
  for (const deadline = Date.now() + timeoutMs; isAlive({ pid, start: '' }); await sleep(POLL_MS)) {
    if (Date.now() > deadline) return false;
  }
  return true;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
