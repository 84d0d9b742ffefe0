import { SQL_FOLDER, type SqlFile, sqlFiles } from './files.js';

const header = `-- pg-module-cache: the schema module_cache, for PostgreSQL 15 and later.
--
-- Run this once, in one transaction: it holds no begin and no commit, because migration tools bring their own.
-- With psql: psql --single-transaction --set ON_ERROR_STOP=1 --file=this-file.sql
`;

/** The whole install script, for people's own migrations. */
export function installScript(folder = SQL_FOLDER): string {
  const files = sqlFiles(folder);
  return [header, ...files.map(section)].join('\n');
}

const section = ({ name, text }: SqlFile): string => `-- ${name}\n\n${text.trim()}\n`;
