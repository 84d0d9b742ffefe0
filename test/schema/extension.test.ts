import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { SQL_FOLDER, sqlFiles } from '../../src/schema/files.js';
import { migrate } from '../../src/schema/migrate.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { startServer, type TestServer, temporaryFolder } from '../support/server.js';

// extension_control_path, by which an extension needs no place among the server's own files, came with 18.
const supported = (process.env.TEST_POSTGRES_BINARIES ?? '') === '';

(supported ? describe : describe.skip)('the extension', () => {
  const folder = temporaryFolder();
  let server: TestServer;
  let database: TestDatabase;
  beforeAll(async () => {
    const root = fileURLToPath(new URL('../../', import.meta.url));
    const extension = join(folder, 'extension');
    mkdirSync(extension);
    copyFileSync(join(root, 'module_cache.control'), join(extension, 'module_cache.control'));
    const guard = readFileSync(join(SQL_FOLDER, 'extension-guard.psql'), 'utf8');
    const script = [guard, ...sqlFiles().map(({ text }) => text)].join('');
    writeFileSync(join(extension, 'module_cache--0.1.0.sql'), script);
    server = await startServer({ settings: { extension_control_path: `${folder}:$system` } });
  });
  afterAll(async () => {
    await database.drop();
    await server.remove();
    rmSync(folder, { recursive: true });
  });

  test('is installed by create extension, and left to it by the migrations', async () => {
    database = await createDatabase({ template: false, serverUrl: server.url });
    const { sql, url } = database;
    await sql`create extension module_cache`;
    const [row] =
      await sql`select extversion, module_cache.schema_version() from pg_extension where extname = 'module_cache'`;
    expect(row).toEqual({ extversion: '0.1.0', schema_version: '0.1.0' });
    const log: string[] = [];
    expect(await migrate({ databaseUrl: url, onLog: (line) => log.push(line) })).toEqual({
      applied: [],
      version: '0.1.0',
      managedBy: 'extension',
    });
    expect(log.join()).toContain('alter extension module_cache update');
  });

  test('is gone without a trace after drop extension', async () => {
    const { sql } = database;
    await sql`drop extension module_cache`;
    expect(await sql`select from pg_namespace where nspname = 'module_cache'`).toHaveLength(0);
  });
});
