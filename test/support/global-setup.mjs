/*
 * One real Postgres for the whole run, with a template database that has the schema: each test file clones it.
 *
 * TEST_DATABASE_URL names a server to use instead (as superuser), TEST_TEMPLATE a template that it has already,
 * TEST_POSTGRES_BINARIES another Postgres to start.
 */
import { chmodSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbeddedPostgres } from '../../dist/cli/embedded-postgres.js';
import { removeLeftovers } from './leftovers.mjs';
import { createTemplate } from './template.mjs';

// biome-ignore lint/style/noDefaultExport: Jest asks for it
export default async function setUp() {
  await removeLeftovers();
  process.env.TEST_SERVER_URL = process.env.TEST_DATABASE_URL ?? (await startServer());
  if (process.env.TEST_TEMPLATE === undefined) {
    process.env.TEST_TEMPLATE = globalThis.testTemplate = `module_cache_template_${process.pid}`;
    await createTemplate(process.env.TEST_SERVER_URL, process.env.TEST_TEMPLATE);
  }
}

async function startServer() {
  const folder = mkdtempSync(join(tmpdir(), `module-cache-test-${process.pid}-`));
  // As root the server's own user has to pass through.
  chmodSync(folder, 0o755);
  const server = await startEmbeddedPostgres({
    dataDirectory: folder,
    binaries: process.env.TEST_POSTGRES_BINARIES,
    settings: { fsync: false, max_connections: 200, max_prepared_transactions: 10 },
  });
  globalThis.testServer = server;
  // Ctrl-C does not reach the server, and Jest does not tear down after it.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(signal, () => server.stop('immediate').finally(() => process.kill(process.pid, signal)));
  }
  return server.url;
}
