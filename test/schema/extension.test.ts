import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { migrate } from '../../src/schema/migrate.js';
import { uninstall } from '../../src/schema/uninstall.js';
import { VERSION } from '../../src/versions.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import type { TestServer } from '../support/server.js';
import { startServerWithExtension } from './support/extension.js';

describe('the extension', () => {
  let server: TestServer;
  let database: TestDatabase;
  beforeAll(async () => {
    server = await startServerWithExtension();
  });
  afterAll(async () => {
    await database.drop();
    await server.remove();
  });

  test('is installed by create extension, and left to it by the migrations', async () => {
    database = await createDatabase({ template: false, serverUrl: server.url });
    const { sql, url } = database;
    await sql`create extension module_cache`;
    const [row] =
      await sql`select extversion, module_cache.schema_version() from pg_extension where extname = 'module_cache'`;
    expect(row).toEqual({ extversion: VERSION, schema_version: VERSION });
    const log: string[] = [];
    expect(await migrate({ databaseUrl: url, onLog: (line) => log.push(line) })).toMatchObject({
      applied: [],
      version: VERSION,
      managedBy: 'extension',
    });
    expect(log.join()).toContain('alter extension module_cache update');
  });

  test('is gone after drop extension but for the roles, which uninstall takes out as well', async () => {
    const { sql, url } = database;
    await sql`drop extension module_cache`;
    expect(await sql`select from pg_namespace where nspname = 'module_cache'`).toHaveLength(0);
    const roles = ['module_cache_operator', 'module_cache_reader', 'module_cache_writer'];
    expect(await uninstall({ databaseUrl: url })).toEqual({
      removed: roles.map((name) => `role ${name}`),
      kept: [],
    });
  });
});
