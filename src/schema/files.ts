import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ModuleCacheError } from '../errors.js';
import { isOlder } from '../versions.js';

const packageFolder = fileURLToPath(new URL('../../', import.meta.url));

export const SQL_FOLDER = join(packageFolder, 'sql');
export const MIGRATIONS_FOLDER = join(packageFolder, 'migrations');

export interface SqlFile {
  /** For example `010-schema.sql`: the number is the place in the load order. */
  readonly name: string;
  readonly text: string;
}

/** A committed migration, as graphile-migrate writes it. */
export interface CommittedMigration extends SqlFile {
  /** What `graphile_migrate.migrations` knows it by. */
  readonly hash: string;
}

/** A script that brings an installed schema from one version to the next. */
export interface UpgradeFile extends SqlFile {
  readonly from: string;
  readonly to: string;
}

/** The upgrade scripts, the oldest first; each begins where the one before it ends. */
export function upgradeFiles(folder = SQL_FOLDER): UpgradeFile[] {
  return readdirSync(join(folder, 'upgrades'))
    .flatMap((name) => {
      const [, from, to] = /^(\d+\.\d+\.\d+)--(\d+\.\d+\.\d+)\.sql$/.exec(name) ?? [];
      if (from === undefined || to === undefined) return [];
      return [{ name, from, to, text: readFileSync(join(folder, 'upgrades', name), 'utf8') }];
    })
    .sort((a, b) => (isOlder(a.to, b.to) ? -1 : 1));
}

/** The database side, in load order. */
export const sqlFiles = (folder = SQL_FOLDER): SqlFile[] => readNumbered(folder, /^(\d{3})-[\w-]+\.sql$/);

export function committedMigrations(folder = MIGRATIONS_FOLDER): CommittedMigration[] {
  return readNumbered(join(folder, 'committed'), /^(\d{6})(?:-[\w-]+)?\.sql$/).map((file) => {
    const hash = /^--! Hash: *(\S+)$/m.exec(file.text)?.[1];
    if (hash !== undefined) return { ...file, hash };
    throw new ModuleCacheError('MC004', 'a committed migration has no hash', {
      detail: file.name,
      hint: 'Install the package again.',
    });
  });
}

function readNumbered(folder: string, pattern: RegExp): SqlFile[] {
  return readdirSync(folder)
    .filter((name) => pattern.test(name))
    .sort()
    .map((name) => ({ name, text: readFileSync(join(folder, name), 'utf8') }));
}
