import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { committedMigrations, SQL_FOLDER, sqlFiles, upgradeFiles } from '../../../src/schema/files.js';
import { VERSION } from '../../../src/versions.js';
import { startServer, type TestServer, temporaryFolder } from '../../support/server.js';

const binaries = process.env.TEST_POSTGRES_BINARIES;
const major = binaries ? majorOf(join(binaries, 'bin', 'postgres')) : 18;

/** extension_control_path, by which an extension needs no place among the server's own files, came with 18. */
export const canHaveExtension = major >= 18;
export const whyNoExtension = canHaveExtension
  ? ''
  : ` (needs PostgreSQL 18 for extension_control_path; on ${major}: make check-extension)`;

/** Objects are written down differently by older servers. */
export const isReference = major === 18;

/** The first release, as its migration keeps it. */
export const firstRelease = (): string => committedMigrations()[0]?.text ?? '';

/** A server that knows the extension: the present version, the first one, and the way from there to here. */
export async function startServerWithExtension(): Promise<TestServer> {
  const folder = temporaryFolder();
  const root = fileURLToPath(new URL('../../../', import.meta.url));
  const extension = join(folder, 'extension');
  mkdirSync(extension);
  copyFileSync(join(root, 'module_cache.control'), join(extension, 'module_cache.control'));
  const guard = readFileSync(join(SQL_FOLDER, 'extension-guard.psql'), 'utf8');
  const write = (version: string, ...texts: string[]): void =>
    writeFileSync(join(extension, `module_cache--${version}.sql`), [guard, ...texts].join(''));
  write(VERSION, ...sqlFiles().map(({ text }) => text));
  write('0.1.0', firstRelease());
  for (const { from, to, text } of upgradeFiles()) write(`${from}--${to}`, text);
  const server = await startServer({ settings: { extension_control_path: `${folder}:$system` } });
  return {
    ...server,
    async remove() {
      await server.remove();
      rmSync(folder, { recursive: true });
    },
  };
}

function majorOf(postgres: string): number {
  const version = execFileSync(postgres, ['--version'], { encoding: 'utf8' });
  return Number(/\(PostgreSQL\) (\d+)/.exec(version)?.[1]);
}
