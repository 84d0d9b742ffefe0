import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
  type StopMode,
  startEmbeddedPostgres,
} from '../../src/cli/embedded-postgres.js';

/** A server of a test's own, to be stopped, killed and started again. Its port stays the same. */
export interface TestServer {
  readonly url: string;
  readonly port: number;
  readonly dataDirectory: string;
  readonly pid: number;
  down(mode?: StopMode): Promise<void>;
  up(): Promise<void>;
  restart(mode?: StopMode): Promise<void>;
  /** Kills the postmaster as the out-of-memory killer would; `up` then recovers. */
  kill(): Promise<void>;
  /** Stops it for good and removes its folder. */
  remove(): Promise<void>;
}

/** A fresh folder that the server's user can reach; left ones are removed by the next run. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), `module-cache-test-${process.pid}-`));
  chmodSync(folder, 0o755);
  return folder;
}

export async function startServer(options: EmbeddedPostgresOptions = {}): Promise<TestServer> {
  const dataDirectory = options.dataDirectory ?? temporaryFolder();
  const start = (port?: number): Promise<EmbeddedPostgres> =>
    startEmbeddedPostgres({
      binaries: process.env.TEST_POSTGRES_BINARIES,
      ...options,
      dataDirectory,
      port,
      settings: { fsync: false, ...options.settings },
    });
  let server = await start(options.port);
  return {
    url: server.url,
    port: server.port,
    dataDirectory: server.dataDirectory,
    get pid() {
      return server.pid;
    },
    down: (mode) => server.stop(mode),
    up: async () => {
      server = await start(server.port);
    },
    restart: (mode) => server.restart(mode),
    kill: async () => {
      process.kill(server.pid, 'SIGKILL');
      await server.stop();
    },
    remove: async () => {
      await server.stop('immediate');
      rmSync(dataDirectory, { recursive: true, force: true });
    },
  };
}
