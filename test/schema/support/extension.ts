import {
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { committedMigrations, SQL_FOLDER, sqlFiles, upgradeFiles } from '../../../src/schema/files.js';
import { VERSION } from '../../../src/versions.js';
import { startServer, type TestServer, temporaryFolder } from '../../support/server.js';
import { serverMajor } from '../../support/server-major.js';

/** Objects are written down differently by older servers. */
export const isReference = serverMajor === 18;

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
  // With 18 came extension_control_path, by which an extension needs no place among the server's own files.
  const server = await startServer(
    serverMajor >= 18
      ? { settings: { extension_control_path: `${folder}:$system` } }
      : { binaries: installationWith(extension, join(folder, 'server')) },
  );
  return {
    ...server,
    async remove() {
      await server.remove();
      rmSync(folder, { recursive: true });
    },
  };
}

/**
 * An installation beside the one of this run, with the extension in addition. A server looks for its files from the
 * place of its program: so the programs are copied, and everything else is linked.
 */
function installationWith(extension: string, target: string): string {
  const source = process.env.TEST_POSTGRES_BINARIES as string;
  const link = (folder: string, except?: string): void => {
    mkdirSync(join(target, folder), { recursive: true });
    for (const name of readdirSync(join(source, folder)))
      if (name !== except) symlinkSync(join(source, folder, name), join(target, folder, name));
  };
  cpSync(join(source, 'bin'), join(target, 'bin'), { recursive: true });
  link('lib');
  link('share/postgresql', 'extension');
  link('share/postgresql/extension');
  for (const name of readdirSync(extension))
    copyFileSync(join(extension, name), join(target, 'share/postgresql/extension', name));
  return target;
}
