/*
 * Writes what follows from sql/ (make migrations): the committed migrations, with graphile-migrate's own commit, and
 * schema.sql, which shows a reviewer what a change does to an installed schema.
 *
 * The first migration is the whole of the first version, and each script of sql/upgrades is one more. What was released
 * must not change any more, so only the newest is made anew.
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
import { describeSchema } from '../dist/schema/describe.js';
import { upgradeFiles } from '../dist/schema/files.js';
import { installScript } from '../dist/schema/script.js';

const committedFolder = fileURLToPath(new URL('committed/', import.meta.url));
const schemaFile = fileURLToPath(new URL('schema.sql', import.meta.url));
const workFolder = mkdtempSync(join(tmpdir(), 'module-cache-migrations-'));
const clusterFolder = `${workFolder}-server`;

const upgrades = upgradeFiles();
const newest = upgrades.at(-1);
for (const folder of ['committed', 'current']) mkdirSync(join(workFolder, folder));
const released = readdirSync(committedFolder).sort().slice(0, upgrades.length);
for (const name of released) copyFileSync(join(committedFolder, name), join(workFolder, 'committed', name));
writeFileSync(join(workFolder, 'current', '010-upgrade.sql'), newest.text);

const server = await startEmbeddedPostgres({ dataDirectory: clusterFolder, settings: { fsync: false } });
const database = (name) => Object.assign(new URL(server.url), { pathname: `/${name}` }).href;
const connect = (url) => postgres(url, { max: 1, onnotice: () => {} });
try {
  const admin = connect(server.url);
  await admin`create database module_cache`;
  await admin`create database fresh`;
  await admin.end();
  await commit(
    {
      connectionString: database('module_cache'),
      shadowConnectionString: database('module_cache_shadow'),
      rootConnectionString: database('template1'),
      migrationsFolder: workFolder,
      logger: new Logger(() => (level, line) => level === 'error' && console.error(line)),
    },
    `module cache ${newest.to}`,
  );
  // Its pools close themselves shortly afterwards, and end the process if the server is gone by then.
  await new Promise((resolve) => setTimeout(resolve, 500));

  for (const name of readdirSync(committedFolder)) {
    if (!released.includes(name)) rmSync(join(committedFolder, name));
  }
  for (const name of readdirSync(join(workFolder, 'committed')).sort()) {
    if (released.includes(name)) continue;
    // Written anew, because graphile-migrate leaves its files read-only.
    writeFileSync(join(committedFolder, name), readFileSync(join(workFolder, 'committed', name)));
    console.log(`migrations/committed/${name}`);
  }

  const fresh = connect(database('fresh'));
  await fresh.begin((transaction) => transaction.unsafe(installScript()));
  writeFileSync(schemaFile, await describeSchema(fresh));
  await fresh.end();
  console.log('migrations/schema.sql');
} finally {
  await server.stop('immediate');
  for (const folder of [workFolder, clusterFolder]) rmSync(folder, { recursive: true, force: true });
}
