import { rmSync } from 'node:fs';

/**
 * The first Ctrl-C ends the run early, in order. The second ends the process, and whatever has to be undone is undone
 * as it exits; without this a signal would leave servers and disks behind.
 */
export function onInterrupt(folder: string): AbortSignal {
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (interrupted.signal.aborted) {
        rmSync(folder, { recursive: true, force: true });
        process.exit(130);
      }
      interrupted.abort();
    });
  }
  return interrupted.signal;
}
