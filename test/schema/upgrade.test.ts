import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { describeSchema } from '../../src/schema/describe.js';
import { committedMigrations, sqlFiles, upgradeFiles } from '../../src/schema/files.js';
import { migrate } from '../../src/schema/migrate.js';
import { installScript, upgradeScript } from '../../src/schema/script.js';
import { uninstall } from '../../src/schema/uninstall.js';
import { VERSION } from '../../src/versions.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type TestServer, temporaryFolder } from '../support/server.js';
import { firstRelease, isReference, startServerWithExtension } from './support/extension.js';
import { migrationsUpTo } from './support/releases.js';

/** However the schema came into a database, and from whatever version: it is the same schema. */

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

let server: TestServer;
const created: TestDatabase[] = [];
let expected: string;
beforeAll(async () => {
  server = await startServerWithExtension();
  const { sql } = await emptyDatabase();
  await sql.begin((tx) => tx.unsafe(installScript()));
  expected = await describeSchema(sql);
  await drop();
});
afterAll(() => server.remove());
afterEach(drop);

async function emptyDatabase(): Promise<TestDatabase> {
  const database = await createDatabase({ template: false, serverUrl: server.url });
  created.push(database);
  return database;
}
async function drop(): Promise<void> {
  for (const database of created.splice(0)) await database.drop();
}

describe('the files', () => {
  test('name one version: package, extension, client, and the newest upgrade', () => {
    expect(JSON.parse(read('package.json')).version).toBe(VERSION);
    expect(read('module_cache.control')).toContain(`default_version = '${VERSION}'`);
    expect(read('Makefile')).toContain(`EXTVERSION = ${VERSION}\n`);
    expect(sqlFiles()[0]?.text).toContain(`select '${VERSION}'::text`);
    const upgrades = upgradeFiles();
    expect(upgrades.at(-1)?.to).toBe(VERSION);
    for (const [i, { from }] of upgrades.entries()) expect(from).toBe(upgrades[i - 1]?.to ?? '0.1.0');
  });

  test('what was released does not change any more', () => {
    expect(committedMigrations().map(({ name, hash }) => [name, hash])).toEqual([
      ['000001-module-cache-0-1-0.sql', 'sha1:266da0e39593ddd17dde280c6a89e4f909a9ac09'],
      ['000002-module-cache-0-2-0.sql', expect.any(String)],
    ]);
  });

  test('each upgrade is a migration (else: make migrations)', () => {
    const [, ...later] = committedMigrations();
    const bodies = later.map(({ text }) => text.split(/^--! split: .*\n/m)[1]?.trim());
    expect(bodies).toEqual(upgradeFiles().map(({ text }) => text.trim()));
  });

  (isReference ? test : test.skip)('schema.sql shows the installed schema (else: make migrations)', () => {
    expect(expected).toBe(read('migrations/schema.sql'));
  });
});

describe('one schema', () => {
  test('by the migrations', async () => {
    const { sql, url } = await emptyDatabase();
    await migrate({ databaseUrl: url });
    expect(await describeSchema(sql)).toBe(expected);
  });

  test('by the extension', async () => {
    const { sql } = await emptyDatabase();
    await sql`create extension module_cache`;
    expect(await describeSchema(sql)).toBe(expected);
  });

  describe('from the first release, with what the cache holds', () => {
    async function fill({ sql }: TestDatabase): Promise<void> {
      await sql`
        select p.stored
        from module_cache.get('https://a.example/', 'a.ts') g,
          module_cache.put('https://a.example/', 'a.ts', 'transpile', '', 'old', '{}', '{b}', g.token) p`;
      await sql`select module_cache.invalidate('https://a.example/', array['c.ts'])`;
    }
    async function expectUpgraded({ sql }: TestDatabase): Promise<void> {
      expect(await sql`select module_cache.schema_version() as version`).toEqual([{ version: VERSION }]);
      expect(await describeSchema(sql)).toBe(expected);
      await sql`select module_cache.changes_since(null)`;
      // What it covered was too little.
      expect(await sql`select status, body from module_cache.get('https://a.example/', 'a.ts')`).toEqual([
        { status: 'miss', body: null },
      ]);
      expect(await sql`select canonical_path from module_cache.tombstones`).toEqual([
        { canonical_path: 'c.ts' },
      ]);
    }

    test('by the migrations', async () => {
      const database = await emptyDatabase();
      const migrationsFolder = migrationsUpTo(1, temporaryFolder());
      expect((await migrate({ databaseUrl: database.url, migrationsFolder })).version).toBe('0.1.0');
      await fill(database);
      const { applied } = await migrate({ databaseUrl: database.url });
      expect(applied).toEqual(
        committedMigrations()
          .slice(1)
          .map(({ name }) => name),
      );
      await expectUpgraded(database);
      expect((await uninstall({ databaseUrl: database.url })).kept).toEqual([]);
    });

    /** Such an artifact as 0.1.0 served after a change: of a module around a realm, or of the index of a realm. */
    const INNER = 'https://a.example/inner/';
    const publish = (
      sql: TestDatabase['sql'],
      realm: string,
      path: string,
      token: unknown,
    ): Promise<unknown> =>
      sql`select reason from module_cache.put(
        ${realm}, ${path}, 'transpile', '', 'x', '{}', '{inner/index.ts,inner/b.ts}', ${token as string})`;
    const read = async (
      sql: TestDatabase['sql'],
      realm: string,
      path: string,
    ): Promise<Record<string, unknown>> =>
      (await sql`select status, token from module_cache.get(${realm}, ${path})`)[0] as never;

    test('trap: what the first release has stored, or is about to, covers too little and is served', async () => {
      const { url, sql } = await emptyDatabase();
      await migrate({ databaseUrl: url, migrationsFolder: migrationsUpTo(1, temporaryFolder()) });
      await sql`select module_cache.changes_since(null)`;
      const { token } = await read(sql, 'https://a.example/', 'a.ts');
      for (const path of ['a.ts', 'b.ts']) await publish(sql, 'https://a.example/', path, token);
      await publish(sql, INNER, 'index.ts', token);
      const [start] = await sql`select cursor from module_cache.changes_since(null)`;
      await migrate({ databaseUrl: url });

      expect(await sql`select complete, changes from module_cache.changes_since(${start?.cursor})`).toEqual([
        { complete: false, changes: [] },
      ]);
      expect(await sql`select complete, changes from module_cache.changes_since(${start?.cursor})`).toEqual([
        { complete: true, changes: [{ k: 'global', x: expect.any(String) }] },
      ]);
      expect((await read(sql, 'https://a.example/', 'a.ts')).status).toBe('miss');
      expect(await publish(sql, 'https://a.example/', 'a.ts', token)).toEqual([{ reason: 'stale' }]);
      const fresh = await read(sql, INNER, 'index.ts');
      expect(fresh.status).toBe('miss');
      // Over the rows that are there.
      await publish(sql, 'https://a.example/', 'a.ts', fresh.token);
      await publish(sql, INNER, 'index.ts', fresh.token);
      expect((await read(sql, INNER, 'index.ts')).status).toBe('hit');
      await sql`select module_cache.invalidate(${INNER}, '{index.ts}')`;
      expect((await read(sql, INNER, 'index.ts')).status).toBe('miss');
      expect((await read(sql, 'https://a.example/', 'a.ts')).status).toBe('miss');
    });

    test('trap: what a transaction has invalidated that is open over the upgrade is missed after it', async () => {
      const { url, sql } = await emptyDatabase();
      await migrate({ databaseUrl: url, migrationsFolder: migrationsUpTo(1, temporaryFolder()) });
      await sql`select module_cache.changes_since(null)`;
      const writer = await sql.reserve();
      await writer`begin`;
      await writer`select module_cache.invalidate(${INNER}, '{index.ts}')`;
      await migrate({ databaseUrl: url });
      await sql`select module_cache.changes_since(null)`;
      const { token } = await read(sql, INNER, 'index.ts');
      await publish(sql, INNER, 'index.ts', token);
      await publish(sql, 'https://a.example/', 'a.ts', token);
      await writer`commit`;
      writer.release();
      expect((await read(sql, INNER, 'index.ts')).status).toBe('miss');
      expect((await read(sql, 'https://a.example/', 'a.ts')).status).toBe('miss');
    });

    test('trap: what is invalidated between an upgrade and its commit is missed after it', async () => {
      const { url, sql } = await emptyDatabase();
      await migrate({ databaseUrl: url, migrationsFolder: migrationsUpTo(1, temporaryFolder()) });
      await sql`select module_cache.changes_since(null)`;
      const upgrade = await sql.reserve();
      const writer = await sql.reserve();
      await upgrade`begin`;
      await upgrade.unsafe(upgradeScript('0.1.0'));
      await writer`begin`;
      await writer`select module_cache.invalidate(${INNER}, '{index.ts}')`;
      await upgrade`commit`;
      upgrade.release();
      expect((await read(sql, 'https://a.example/', 'a.ts')).token).toBeNull();
      await sql`select module_cache.changes_since(null)`;
      const { token } = await read(sql, 'https://a.example/', 'a.ts');
      expect(await publish(sql, 'https://a.example/', 'a.ts', token)).toEqual([{ reason: 'stale' }]);
      await writer`commit`;
      writer.release();
      expect((await read(sql, 'https://a.example/', 'a.ts')).status).toBe('miss');
      const later = await read(sql, 'https://a.example/', 'a.ts');
      expect(await publish(sql, 'https://a.example/', 'a.ts', later.token)).toEqual([{ reason: 'stored' }]);
      expect((await read(sql, 'https://a.example/', 'a.ts')).status).toBe('hit');
    });

    test('by the script', async () => {
      const database = await emptyDatabase();
      await database.sql.begin((tx) => tx.unsafe(firstRelease()));
      await fill(database);
      const log: string[] = [];
      await migrate({ databaseUrl: database.url, onLog: (line) => log.push(line) });
      expect(log.join()).toContain('module-cache sql --from 0.1.0');
      await database.sql.begin((tx) => tx.unsafe(upgradeScript('0.1.0')));
      await expectUpgraded(database);
    });

    test('by the extension', async () => {
      const database = await emptyDatabase();
      await database.sql`create extension module_cache version '0.1.0'`;
      await fill(database);
      await database.sql`alter extension module_cache update`;
      await expectUpgraded(database);
      const [{ dumped }] = await database.sql<[{ dumped: string[] }]>`
        select extconfig::regclass[]::text[] as dumped from pg_extension where extname = 'module_cache'`;
      expect(dumped).toEqual(['module_cache._private_realms']);
      await database.sql`drop extension module_cache`;
      expect(await database.sql`select from pg_namespace where nspname = 'module_cache'`).toHaveLength(0);
    });

    test('an upgrade from a version that never was is refused, with those that were', () => {
      expect(() => upgradeScript('0.0.9')).toThrow(
        expect.objectContaining({ code: 'MC003', hint: expect.stringContaining('0.1.0') }),
      );
    });
  });
});
