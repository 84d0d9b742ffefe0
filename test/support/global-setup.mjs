/*
 * One real Postgres for the whole run, with a template database that has the schema: each test file clones it.
 *
 * TEST_DATABASE_URL names a server to use instead (as superuser), TEST_POSTGRES_BINARIES another Postgres to start.
 */
import { chmodSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import postgres from 'postgres';
import { startEmbeddedPostgres } from '../../dist/cli/embedded-postgres.js';
import { sqlFiles } from '../../dist/schema/files.js';
import { removeLeftovers } from './leftovers.mjs';

// biome-ignore lint/style/noDefaultExport: Jest asks for it
export default async function setUp() {
  await removeLeftovers();
  process.env.TEST_SERVER_URL = process.env.TEST_DATABASE_URL ?? (await startServer());
  process.env.TEST_TEMPLATE = `module_cache_template_${process.pid}`;
  await createTemplate(process.env.TEST_SERVER_URL, process.env.TEST_TEMPLATE);
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

async function createTemplate(serverUrl, name) {
  const admin = postgres(serverUrl, { max: 1, onnotice: () => {} });
  await admin`drop database if exists ${admin(name)}`;
  await admin`create database ${admin(name)}`;
  await admin.end();
  const url = Object.assign(new URL(serverUrl), { pathname: `/${name}` }).href;
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    await sql.begin(async (tx) => {
      for (const file of sqlFiles()) await tx.unsafe(file.text).catch((error) => throwAt(file, error));
    });
  } finally {
    await sql.end();
  }
}

function throwAt({ name, text }, error) {
  const line = text.slice(0, Number(error.position ?? 0)).split('\n').length;
  throw new Error(`sql/${name}:${line}: ${error.message}`, { cause: error });
}
