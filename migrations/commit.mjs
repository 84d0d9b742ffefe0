/*
 * Writes the committed migration from sql/, with graphile-migrate's own commit (make migrations).
 *
 * Until 0.1.0 is released there is one migration, which is made anew from the whole of sql/. From then on it must not
 * change any more: a migration that follows holds only what changes.
 *
 * The work is done on a copy: commit empties the folder that it commits, and would write through links into sql/.
 */
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { commit, Logger } from 'graphile-migrate';
import postgres from 'postgres';
import { startEmbeddedPostgres } from '../dist/cli/embedded-postgres.js';
import { SQL_FOLDER, sqlFiles } from '../dist/schema/files.js';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const committedFolder = fileURLToPath(new URL('committed/', import.meta.url));
const workFolder = mkdtempSync(join(tmpdir(), 'module-cache-migrations-'));
const clusterFolder = `${workFolder}-server`;

const current = join(workFolder, 'current');
mkdirSync(current);
for (const { name } of sqlFiles()) copyFileSync(join(SQL_FOLDER, name), join(current, name));

const server = await startEmbeddedPostgres({ dataDirectory: clusterFolder, settings: { fsync: false } });
try {
  const sql = postgres(server.url, { max: 1, onnotice: () => {} });
  await sql`create database module_cache`;
  await sql.end();
  const database = (name) => Object.assign(new URL(server.url), { pathname: `/${name}` }).href;
  await commit(
    {
      connectionString: database('module_cache'),
      shadowConnectionString: database('module_cache_shadow'),
      rootConnectionString: database('template1'),
      migrationsFolder: workFolder,
      logger: new Logger(() => (level, line) => level === 'error' && console.error(line)),
    },
    `module cache ${version}`,
  );
  // Its pools close themselves shortly afterwards, and end the process if the server is gone by then.
  await new Promise((resolve) => setTimeout(resolve, 500));

  rmSync(committedFolder, { recursive: true, force: true });
  mkdirSync(committedFolder);
  for (const name of readdirSync(join(workFolder, 'committed'))) {
    // Written anew, because graphile-migrate leaves its files read-only.
    writeFileSync(join(committedFolder, name), readFileSync(join(workFolder, 'committed', name)));
    console.log(`migrations/committed/${name}`);
  }
} finally {
  await server.stop('immediate');
  for (const folder of [workFolder, clusterFolder]) rmSync(folder, { recursive: true, force: true });
}
