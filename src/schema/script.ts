import { ModuleCacheError } from '../errors.js';
import { SQL_FOLDER, type SqlFile, sqlFiles, upgradeFiles } from './files.js';

const header = `--
-- Run this once, in one transaction: it holds no begin and no commit, because migration tools bring their own.
-- With psql: psql --single-transaction --set ON_ERROR_STOP=1 --file=this-file.sql
`;

/** The whole install script, for people's own migrations. */
export function installScript(folder = SQL_FOLDER): string {
  const title = '-- pg-module-cache: the schema module_cache, for PostgreSQL 15 and later.\n';
  return [title + header, ...sqlFiles(folder).map(section)].join('\n');
}

/**
 * What brings a schema of that version to the present one, for people's own migrations.
 *
 * @throws ModuleCacheError MC003 for a version that was never released, or needs no upgrade
 */
export function upgradeScript(from: string, folder = SQL_FOLDER): string {
  const files = upgradeFiles(folder);
  const start = files.findIndex((file) => file.from === from);
  if (start === -1) {
    throw new ModuleCacheError('MC003', 'there is no upgrade from this version', {
      detail: `from ${from}`,
      hint: `Pass the version that "select module_cache.schema_version()" returns: ${files.map((file) => file.from).join(', ')}. The newest is ${files.at(-1)?.to}.`,
    });
  }
  const title = `-- pg-module-cache: the schema module_cache, from ${from} to ${files.at(-1)?.to}.\n`;
  return [title + header, ...files.slice(start).map(section)].join('\n');
}

const section = ({ name, text }: SqlFile): string => `-- ${name}\n\n${text.trim()}\n`;
