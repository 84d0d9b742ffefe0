import { join } from 'node:path';
import { ModuleCacheError } from '../../errors.js';
import type { EmbeddedPostgresOptions } from '../embedded-postgres.js';
import { type Binaries, findBinaries } from './binaries.js';
import { type ClusterFolder, defaultCacheFolder, openClusterFolder } from './folders.js';
import { chooseServerUser, type ServerUser } from './server-user.js';

/** What it takes to run one server: its folder, its program, and who runs it. */
export interface Cluster {
  readonly folder: ClusterFolder;
  readonly binaries: Binaries;
  readonly user: ServerUser | null;
}

/** @throws ModuleCacheError MC106, MC107 */
export async function openCluster(options: EmbeddedPostgresOptions): Promise<Cluster> {
  const name = options.name ?? 'default';
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) {
    throw new ModuleCacheError('MC107', 'not a name for an embedded server', {
      detail: `name: ${JSON.stringify(name)}`,
      hint: 'Use letters, digits, ".", "_" and "-".',
    });
  }
  const cache = options.cacheDirectory ?? defaultCacheFolder();
  const find = (user: ServerUser | null): Promise<Binaries> =>
    findBinaries(options.binaries, user, join(cache, 'binaries'));
  if (options.dataDirectory !== undefined) {
    const user = chooseServerUser(join(options.dataDirectory, 'data'));
    return { user, binaries: await find(user), folder: openClusterFolder(options.dataDirectory, user) };
  }
  // With its major version in the name, so that an upgrade starts a new, empty cache instead of failing.
  const binaries = await find(chooseServerUser(''));
  const path = join(cache, `${name}-${binaries.major}`);
  const user = chooseServerUser(join(path, 'data'));
  return { user, binaries, folder: openClusterFolder(path, user) };
}
