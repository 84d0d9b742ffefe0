import type { BigIntStats } from 'node:fs';
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, relative, resolve, sep } from 'node:path';
import { ModuleCacheError } from '../errors.js';
import { hashOf } from './hash.js';
import { candidatesOf, isModulePath, type ModuleSource, type SourceFile } from './source.js';

/**
 * The modules of a folder. A symbolic link that leaves the folder names no module; one that stays inside is served
 * under its own name as well. `list` leaves out what is in `node_modules` and `.git`.
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
  const fileOf = (canonicalPath: string): string => join(root, ...canonicalPath.split('/'));

  /** The file behind a canonical path, if it is a file inside of the folder. */
  async function locate(canonicalPath: string): Promise<{ file: string; stats: BigIntStats } | undefined> {
    // The system would look past an empty segment, and one file would have two names.
    if (canonicalPath.split('/').includes('')) return undefined;
    const file = await realpath(fileOf(canonicalPath));
    if (!isInside(root as string, file)) return undefined;
    const stats = await stat(file, { bigint: true });
    return stats.isFile() ? { file, stats } : undefined;
  }

  return {
    root,
    isTransactional: false,
    async resolve(path) {
      for (const candidate of candidatesOf(path)) {
        if ((await orAbsent(locate(candidate))) !== undefined) return candidate;
      }
      return undefined;
    },
    read: (canonicalPath) =>
      orAbsent(
        locate(canonicalPath).then(async (found): Promise<SourceFile | undefined> => {
          if (found === undefined) return undefined;
          const text = await readFile(found.file, 'utf8');
          return { text, hash: hashOf(text), lastModified: found.stats.mtime };
        }),
      ),
    list: () => modulesIn(root, root, '', []),
    async stamp(canonicalPath) {
      const found = await orAbsent(locate(canonicalPath));
      return found === undefined ? undefined : stampOf(found.stats);
    },
  };
}

/** @param above real paths of the folders on the way, so that a link to one of them has an end */
async function* modulesIn(
  root: string,
  folder: string,
  prefix: string,
  above: readonly string[],
): AsyncGenerator<string, void, undefined> {
  const onTheWay = [...above, folder];
  const found: { name: string; folder?: string }[] = [];
  for (const entry of (await orAbsent(readdir(folder, { withFileTypes: true }))) ?? []) {
    if (SKIPPED_FOLDERS.has(entry.name)) continue;
    const file = join(folder, entry.name);
    const [target, kind] = entry.isSymbolicLink() ? await behindLink(root, file) : [file, entry];
    if (kind?.isFile() && isModulePath(prefix + entry.name)) found.push({ name: entry.name });
    if (kind?.isDirectory() && !onTheWay.includes(target))
      found.push({ name: `${entry.name}/`, folder: target });
  }
  found.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, folder: inner } of found) {
    if (inner === undefined) yield prefix + name;
    else yield* modulesIn(root, inner, prefix + name, onTheWay);
  }
}

async function behindLink(root: string, link: string): Promise<[string, BigIntStats | undefined]> {
  const target = await orAbsent(realpath(link));
  if (target === undefined || !isInside(root, target)) return [link, undefined];
  return [target, await orAbsent(stat(target, { bigint: true }))];
}

/** What is in them is served, but neither listed nor watched. */
export const SKIPPED_FOLDERS: ReadonlySet<string> = new Set(['node_modules', '.git']);

/** What tells a file from what it was before; two writes that come quickly after each other may leave the same. */
export const marksOf = ({
  ino,
  size,
  mtimeNs,
  ctimeNs,
}: Pick<BigIntStats, 'ino' | 'size' | 'mtimeNs' | 'ctimeNs'>): string =>
  `${ino}-${size}-${mtimeNs}-${ctimeNs}`;

/** File systems tell two writes apart if they are this many ms apart: the coarsest that is common has 2 s. */
const COARSEST_CLOCK_MS = 2_500;
let uniqueStamps = 0;

/**
 * Of a file that may be written again without its times changing the stamp equals no other, so that it is read once
 * more. The time of its last change counts as well: nobody can set that one back.
 */
function stampOf({ ino, size, mtimeNs, ctimeNs, ctimeMs }: BigIntStats): string {
  const stamp = marksOf({ ino, size, mtimeNs, ctimeNs });
  if (Date.now() - Number(ctimeMs) > COARSEST_CLOCK_MS) return stamp;
  uniqueStamps += 1;
  return `${stamp}-${process.pid}-${uniqueStamps}`;
}

function isInside(root: string, file: string): boolean {
  const inside = relative(root, file);
  return inside !== '' && inside !== '..' && !inside.startsWith(`..${sep}`) && !isAbsolute(inside);
}

const ABSENCE = new Set(['ENOENT', 'ENOTDIR', 'EISDIR', 'ENAMETOOLONG', 'ELOOP', 'EINVAL']);

/** Undefined for a file that is not, or no longer, there. */
export async function orAbsent<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (ABSENCE.has((error as NodeJS.ErrnoException | null)?.code ?? '')) return undefined;
    throw error;
  }
}
