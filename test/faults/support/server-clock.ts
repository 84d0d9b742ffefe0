import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from '../../support/server.js';

/** A clock that only the server goes by, and that can be set. */
export interface ServerClock {
  /** A Postgres installation that runs by it. */
  readonly binaries: string;
  /** Seconds that it is ahead. Every process of the server notices within a second. */
  set(offset: number): void;
  /** After all servers that went by it have ended. */
  remove(): void;
}

const SHARED = '/dev/shm';

export function findFaketime(): string | undefined {
  for (const folder of ['/usr/lib', '/usr/lib64', '/usr/local/lib']) {
    for (const each of ['.', ...namesIn(folder)]) {
      const file = join(folder, each, 'faketime');
      if (namesIn(file).includes('libfaketime.so.1')) return join(file, 'libfaketime.so.1');
    }
  }
  return undefined;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Programs that load the library and become the real ones, so that nothing else goes by it. */
export function createServerClock(
  library: string,
  { initdb, postgres }: { initdb: string; postgres: string },
): ServerClock {
  const folder = temporaryFolder();
  const bin = join(folder, 'bin');
  const file = join(folder, 'offset');
  const before = new Set(namesIn(SHARED));
  mkdirSync(bin, { mode: 0o755 });
  const set = (offset: number): void => {
    const next = `${file}.next`;
    writeFileSync(next, `${offset < 0 ? '-' : '+'}${Math.abs(offset)}\n`);
    chmodSync(next, 0o644);
    renameSync(next, file);
  };
  const write = (name: string, lines: string[]): void => {
    writeFileSync(join(bin, name), ['#!/bin/sh', ...lines, ''].join('\n'));
    chmodSync(join(bin, name), 0o755);
  };
  set(0);
  write('initdb', [`exec '${initdb}' "$@"`]);
  write('postgres', [
    `export FAKETIME_TIMESTAMP_FILE='${file}' FAKETIME_CACHE_DURATION=1 FAKETIME_DONT_FAKE_MONOTONIC=1`,
    `export DONT_FAKE_MONOTONIC=1 LD_PRELOAD='${library}'`,
    `exec '${postgres}' "$@"`,
  ]);
  return {
    binaries: folder,
    set,
    remove() {
      rmSync(folder, { recursive: true, force: true });
      // What the library leaves when the process is killed.
      for (const name of namesIn(SHARED)) {
        const pid = /^(?:sem\.)?faketime_(?:sem|shm)_(\d+)$/.exec(name)?.[1];
        if (pid !== undefined && !before.has(name) && namesIn(`/proc/${pid}`).length === 0)
          rmSync(join(SHARED, name), { force: true });
      }
    },
  };
}
