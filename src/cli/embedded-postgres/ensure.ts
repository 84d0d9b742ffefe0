import { setTimeout as sleep } from 'node:timers/promises';
import postgres from 'postgres';
import { ModuleCacheError } from '../../errors.js';
import type { Cluster } from './open.js';
import { findServer, type LaunchOptions, launchServer, type ServerState } from './server.js';

/** Finds the running server of a cluster, or starts one, and waits until it answers. The caller holds the lock. */
export async function ensureServer(
  { folder, binaries, user }: Cluster,
  password: string,
  options: LaunchOptions,
): Promise<{ server: ServerState; version: string; adopted: boolean }> {
  let adopted = true;
  while (Date.now() < options.deadline) {
    let server = findServer(folder.data);
    if (server === null) {
      adopted = false;
      server = await launchServer(folder, binaries, user, options);
    }
    // One that is about to stop, or still recovering, is waited for.
    const version = server.ready ? await askVersion(urlOf(password, server.port)) : null;
    if (version !== null) return { server, version, adopted };
    await sleep(25);
  }
  throw new ModuleCacheError('MC106', 'the embedded server does not answer', {
    detail: `data folder ${folder.root}, process ${findServer(folder.data)?.pid ?? 'gone'}`,
    hint: `See ${folder.log}.`,
  });
}

export const urlOf = (password: string, port: number): string =>
  `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;

/** Null if the server does not accept connections just now. */
async function askVersion(url: string): Promise<string | null> {
  const sql = postgres(url, {
    max: 1,
    ssl: false,
    connect_timeout: 5,
    fetch_types: false,
    onnotice: () => {},
  });
  try {
    const [row] = await sql<{ version: string }[]>`
      select split_part(current_setting('server_version'), ' ', 1) as version`;
    return row?.version ?? null;
  } catch (cause) {
    if ((cause as { code?: string }).code !== '28P01') return null;
    throw new ModuleCacheError(
      'MC106',
      'the running server has another password than the one that was kept',
      {
        hint: 'Stop that server and remove its folder: a cache can be filled again.',
        cause,
      },
    );
  } finally {
    await sql.end({ timeout: 1 });
  }
}
