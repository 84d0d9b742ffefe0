import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandLineOf, isAlive } from '../../dist/cli/embedded-postgres/processes.js';
import { findServer } from '../../dist/cli/embedded-postgres/server.js';
import { stopServer } from '../../dist/cli/embedded-postgres/shutdown.js';

/** Servers of runs that were killed are still running. A folder's name tells the process that made it. */
export async function removeLeftovers() {
  for (const name of readdirSync(tmpdir())) {
    const pid = /^module-cache-test-(\d+)-/.exec(name)?.[1];
    if (pid === undefined || isAlive({ pid: Number(pid), start: '' })) continue;
    const folder = join(tmpdir(), name);
    try {
      const server = findServer(join(folder, 'data'));
      if (server !== null) await stopServer(server.pid, '', 'immediate');
      stopBouncer(folder);
      unmount(folder);
      rmSync(folder, { recursive: true, force: true });
    } catch {
      // Another user's.
    }
  }
}

function stopBouncer(folder) {
  try {
    const pid = Number(readFileSync(join(folder, 'pgbouncer.pid'), 'utf8'));
    if (commandLineOf(pid).includes(folder)) process.kill(pid, 'SIGKILL');
  } catch {
    // There was none, or it has ended.
  }
}

/** Some servers of test/faults have a disk of their own. */
function unmount(folder) {
  try {
    if (statSync(folder).dev !== statSync(tmpdir()).dev) execFileSync('umount', ['--lazy', folder]);
  } catch {
    // Another user's.
  }
}
