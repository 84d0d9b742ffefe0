import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, promises as fs, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { TestServer } from '../../support/server.js';

/** What is in there belongs to the running server only, or comes back by itself. */
const EMPTY = new Set([
  'pg_dynshmem',
  'pg_notify',
  'pg_replslot',
  'pg_serial',
  'pg_snapshots',
  'pg_stat_tmp',
  'pg_subtrans',
]);
const LEFT_OUT = new Set(['postmaster.pid', 'postmaster.opts']);

/** The data folder of a server below the folder that `startServer` was given. */
export const dataOf = (root: string): string => join(root, 'data');

/**
 * Copies a data folder with its owner. Files that vanish meanwhile are left out: in a backup the log has what they held.
 * Other programs do it: this process has all connections of the fleet to serve.
 *
 * @param wal whether the log is copied too: needed unless it is streamed
 */
export async function copyDataFolder(from: string, to: string, wal: boolean): Promise<void> {
  const empty = [...EMPTY, ...(wal ? [] : ['pg_wal'])];
  const left = [...LEFT_OUT, ...empty.map((name) => `${name}/*`)].map((name) => `--exclude=./${name}`);
  await fs.mkdir(to, { recursive: true });
  const pack = spawn('tar', ['-C', from, ...left, '-cf', '-', '.'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const unpack = spawn('tar', ['-C', to, '-xpf', '-'], { stdio: [pack.stdout, 'ignore', 'pipe'] });
  pack.stdout.destroy();
  let said = '';
  unpack.stderr?.on('data', (chunk) => {
    said += chunk;
  });
  const [code] = await once(unpack, 'close');
  if (code !== 0) throw new Error(`the copy of ${from} is not whole: ${said}`);
}

/** Writes files into a copied data folder, as its owner. */
export function giveTo(from: string, to: string, files: Readonly<Record<string, string>>): void {
  const { uid, gid } = statSync(from);
  for (const [name, text] of Object.entries(files)) {
    const file = join(to, name);
    writeFileSync(file, text);
    chmodSync(file, 0o600);
    chownSync(file, uid, gid);
  }
}

/** Kills a server with all its processes, as if its machine had gone. It can be started again. */
export async function killWhole(server: TestServer): Promise<void> {
  const children = await childrenOf(server.pid);
  await server.kill();
  for (const pid of children) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It went with the others.
    }
  }
  await sleep(10);
}

async function childrenOf(pid: number): Promise<number[]> {
  const { stdout } = await promisify(execFile)('pgrep', ['-P', String(pid)]).catch(() => ({ stdout: '' }));
  return stdout.split('\n').filter(Boolean).map(Number);
}
