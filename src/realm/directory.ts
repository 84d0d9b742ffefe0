import { createHash } from 'node:crypto';
import { readFile, realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, relative, resolve, sep } from 'node:path';
import { ModuleCacheError } from '../errors.js';
import { candidatesOf, type ModuleSource, type SourceFile } from './source.js';

/**
 * The modules of a folder. A symbolic link that leaves the folder names no module.
 *
 * @throws ModuleCacheError MC107 if `folder` is no folder
 */
export async function openDirectory(folder: string): Promise<ModuleSource & { readonly root: string }> {
  const root = await realpath(resolve(folder)).catch(() => undefined);
  if (root === undefined || !(await stat(root)).isDirectory()) {
    throw new ModuleCacheError('MC107', 'not a folder', {
      detail: `folder: ${folder}`,
      hint: 'Name the folder whose modules are to be served.',
    });
  }

  /** The file behind a canonical path, if it is a file inside of the folder. */
  async function locate(canonicalPath: string): Promise<string | undefined> {
    try {
      const file = await realpath(join(root as string, ...canonicalPath.split('/')));
      const inside = relative(root as string, file);
      if (inside === '' || inside.startsWith(`..${sep}`) || inside === '..' || isAbsolute(inside))
        return undefined;
      return (await stat(file)).isFile() ? file : undefined;
    } catch (error) {
      if (isAbsence(error)) return undefined;
      throw error;
    }
  }

  return {
    root,
    async resolve(path) {
      for (const candidate of candidatesOf(path)) {
        if ((await locate(candidate)) !== undefined) return candidate;
      }
      return undefined;
    },
    async read(canonicalPath): Promise<SourceFile | undefined> {
      const file = await locate(canonicalPath);
      if (file === undefined) return undefined;
      try {
        const [text, { mtime }] = await Promise.all([readFile(file, 'utf8'), stat(file)]);
        return { text, hash: hashOf(text), lastModified: mtime };
      } catch (error) {
        if (isAbsence(error)) return undefined;
        throw error;
      }
    },
  };
}

export const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex');

const isAbsence = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR', 'EISDIR', 'ENAMETOOLONG', 'ELOOP', 'EINVAL'].includes(
    (error as NodeJS.ErrnoException | null)?.code ?? '',
  );
