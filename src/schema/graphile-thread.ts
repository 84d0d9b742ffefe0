import { parentPort, workerData } from 'node:worker_threads';
import { Logger, migrate } from 'graphile-migrate';
import type { GraphileMessage, GraphileTarget } from './graphile.js';
import { inOneTransaction } from './one-transaction.js';

const { connectionString, migrationsFolder, forget } = workerData as GraphileTarget;
const send = (message: GraphileMessage): void => parentPort?.postMessage(message);
const logger = new Logger(() => (_level, line) => send({ type: 'log', line }));

try {
  await inOneTransaction(forget ? 'delete from graphile_migrate.migrations' : '', () =>
    migrate({ connectionString, migrationsFolder, logger }),
  );
  send({ type: 'done' });
} catch (error) {
  const { message, code } = error as Error & { code?: string };
  send({ type: 'failed', message, code });
}
