import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const repository = fileURLToPath(new URL('../../../', import.meta.url));

export interface Run {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Its command line finds the Node that runs the tests first: npm and npx are scripts that look for one. */
export const environment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  NODE_OPTIONS: '',
  PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH}`,
});

export function run(
  folder: string,
  command: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Run> {
  return new Promise((resolve) => {
    execFile(
      command,
      [...args],
      { cwd: folder, env: { ...environment(), ...env }, maxBuffer: 32 * 1024 * 1024 },
      (error, stdout, stderr) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : error ? 1 : 0, stdout, stderr }),
    );
  });
}

/** Resolves to what it printed. Rejects, with everything that it wrote, if it did not exit with 0. */
export async function succeed(...call: Parameters<typeof run>): Promise<string> {
  const { code, stdout, stderr } = await run(...call);
  if (code !== 0) throw new Error(`${call[1]} ${call[2].join(' ')}: exit ${code}\n${stdout}${stderr}`);
  return stdout;
}

/**
 * Packs a copy of the working tree, as a release does: the other tests run what is in `dist` meanwhile.
 *
 * @returns the tarball
 */
export async function pack(folder: string): Promise<string> {
  const copy = join(folder, 'source');
  const left = new Set(['.git', 'dist', 'node_modules', 'coverage'].map((name) => join(repository, name)));
  await cp(repository, copy, { recursive: true, filter: (file) => !left.has(file) });
  await symlink(join(repository, 'node_modules'), join(copy, 'node_modules'));
  await mkdir(join(copy, 'dist'));
  await writeFile(join(copy, 'dist/removed-long-ago.js'), '');
  await writeFile(join(copy, 'dist/.built'), '');
  await succeed(copy, 'npm', ['pack', '--pack-destination', folder]);
  const [tarball] = (await readdir(folder)).filter((name) => name.endsWith('.tgz'));
  return join(folder, tarball as string);
}

/** Installs into a project that has nothing else; its folder's name has to be escaped in a URL. */
export async function createProject(folder: string, packages: readonly string[]): Promise<string> {
  const project = join(folder, `an empty próject ${packages.length}`);
  await mkdir(project);
  await writeFile(join(project, 'package.json'), '{ "private": true }\n');
  await install(project, packages);
  return project;
}

export async function install(project: string, packages: readonly string[]): Promise<void> {
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'];
  await succeed(project, 'npm', ['install', ...flags, ...packages]);
}

export const temporaryFolder = (): Promise<string> => mkdtemp(join(tmpdir(), 'module-cache-package-'));
export const remove = (folder: string): Promise<void> => rm(folder, { recursive: true, force: true });
export const isInstalled = (project: string, name: string): boolean =>
  existsSync(join(project, 'node_modules', name));

/** Everything that the package put there, with paths from its root. */
export async function packedFiles(project: string): Promise<string[]> {
  const root = join(project, 'node_modules/pg-module-cache');
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort();
}

/** Copies a script into the project and runs it there; resolves to the JSON that it printed. */
export async function runScript(project: string, file: URL, ...args: string[]): Promise<unknown> {
  const name = basename(fileURLToPath(file));
  await cp(file, join(project, name));
  return JSON.parse(await succeed(project, process.execPath, [name, ...args]));
}
