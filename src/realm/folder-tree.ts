import { type BigIntStats, type FSWatcher, watch } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';
import { ModuleCacheError } from '../errors.js';
import { orAbsent, SKIPPED_FOLDERS } from './directory.js';
import { createLinks } from './links.js';
import { isModulePath } from './source.js';

/** Finds out which modules of a folder may have changed. */
export interface FolderChanges {
  /** Canonical paths of modules that may have another text than when this was asked last. */
  collect(): Promise<string[]>;
  close(): void;
}

export interface FolderChangesOptions {
  /** The folder itself, without symbolic links on the way to it. */
  root: string;
  /** There is something to collect. */
  onChange(): void;
  onError(error: unknown): void;
}

type Kind = 'file' | 'folder' | 'link';

interface Folder {
  readonly watcher: FSWatcher;
  readonly ino: bigint;
  /** Files, also those that are modules only by the name of a link, folders and links in it. */
  readonly entries: Map<string, Kind>;
}

/**
 * The kernel keeps so many events unless told otherwise, and drops the rest; nobody says so. As many as half of them at
 * once may have been more.
 */
const MANY_EVENTS = 16_384 / 2;

/** How often it is looked whether the folder itself is there (again), and what could not be watched is tried, in ms. */
const LOOK_MS = 1_000;

/**
 * Watches each folder, not each file: the kernel then names what changes in it, also what appeared a moment ago. Each
 * folder is watched before it is read, so that nothing is written in between. Events only say where to look.
 *
 * @throws ModuleCacheError MC107 if the system does not let this process watch so many folders
 */
export async function watchFolderTree(
  { root, onChange, onError }: FolderChangesOptions,
  watchFolder: typeof watch = watch,
): Promise<FolderChanges> {
  const folders = new Map<string, Folder>();
  const links = createLinks(filesBelow);
  const dirty = new Set<string>();
  /** Those whose watcher may be of another folder that had this name. */
  const replaced = new Set<string>();
  const unwatched = new Set<string>();
  let starting = true;
  let closed = false;
  let eventsAtOnce = 0;

  function note(path: string): void {
    dirty.add(path);
    if (!starting) onChange();
  }

  /** What the kernel has kept is told in one turn. */
  function countEvent(): void {
    eventsAtOnce += 1;
    if (eventsAtOnce === 1) {
      setImmediate(() => {
        eventsAtOnce = 0;
      });
    }
    if (eventsAtOnce !== MANY_EVENTS) return;
    replaced.add(root);
    note(root);
  }

  function onEvent(folder: string, type: string, name: string | null): void {
    countEvent();
    // A folder that is deleted or moved says so by its own name, as if something of that name were in it.
    if (name === null || (type === 'rename' && name === basename(folder))) {
      replaced.add(folder);
      note(folder);
    }
    if (name === null || SKIPPED_FOLDERS.has(name)) return;
    const path = join(folder, name);
    const kind = folders.get(folder)?.entries.get(name);
    const isData = (kind === undefined || kind === 'file') && !isModulePath(name);
    if (type === 'rename' || !isData || links.isTarget(path)) note(path);
  }

  async function open(folder: string, changed: Set<string>): Promise<void> {
    let watcher: FSWatcher | undefined;
    try {
      watcher = watchFolder(folder, (type, name) => onEvent(folder, type, name));
      watcher.on('error', () => {
        replaced.add(folder);
        note(folder);
      });
      const stats = await lstat(folder, { bigint: true });
      const found = await readdir(folder, { withFileTypes: true });
      // A link that has taken its place is not followed.
      if (closed || !stats.isDirectory()) return watcher.close();
      const entries = new Map<string, Kind>();
      folders.set(folder, { watcher, ino: stats.ino, entries });
      unwatched.delete(folder);
      for (const entry of found) {
        const kind = kindOf(entry);
        const path = join(folder, entry.name);
        if (kind === undefined || SKIPPED_FOLDERS.has(entry.name)) continue;
        entries.set(entry.name, kind);
        if (kind === 'file') changed.add(path);
        else if (kind === 'link') links.add(path);
        else await open(path, changed);
      }
    } catch (error) {
      if (!folders.has(folder)) watcher?.close();
      failed(folder, error);
    }
  }

  function failed(folder: string, error: unknown): void {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return;
    const reason = code === 'ENOSPC' || code === 'EMFILE' ? tooMany(folder, error) : error;
    // Better not at all than with folders that nobody watches.
    if (starting && reason instanceof ModuleCacheError) throw reason;
    if (!unwatched.has(folder)) onError(reason);
    unwatched.add(folder);
  }

  /** Forgets a folder and what is in it; all of that may have changed. */
  function forget(folder: string, changed: Set<string>): void {
    unwatched.delete(folder);
    const gone = [...folders].filter(([path]) => path === folder || path.startsWith(folder + sep));
    // Links first: what they name may go with them.
    for (const [path, { entries }] of gone)
      for (const [name, kind] of entries) if (kind === 'link') links.delete(join(path, name), changed);
    for (const [path, { watcher, entries }] of gone) {
      watcher.close();
      replaced.delete(path);
      folders.delete(path);
      for (const [name, kind] of entries) if (kind === 'file') changed.add(join(path, name));
    }
  }

  const entriesAround = (path: string): Map<string, Kind> | undefined => folders.get(dirname(path))?.entries;

  /** Forgets a folder that is not, or no longer the one, that is watched. */
  async function leave(path: string, changed: Set<string>): Promise<void> {
    const known = folders.get(path);
    if (known === undefined) return;
    const stats = await orAbsent(lstat(path, { bigint: true }));
    if (replaced.has(path) || stats?.ino !== known.ino) forget(path, changed);
  }

  async function examine(path: string, changed: Set<string>): Promise<void> {
    if (path === root) {
      if (!folders.has(root)) await open(root, changed);
      return;
    }
    const name = basename(path);
    const entries = entriesAround(path);
    // Gone with the folder that it was in.
    if (entries === undefined) return;
    const stats = await orAbsent(lstat(path, { bigint: true }));
    const was = entries.get(name);
    const is = stats === undefined ? undefined : kindOf(stats);
    if (was === 'link') links.delete(path, changed);
    if (is === undefined) entries.delete(name);
    else entries.set(name, is);
    if (is === 'folder' && !folders.has(path)) await open(path, changed);
    if (is === 'link') links.add(path);
    // What has come and gone meanwhile may have been read.
    const wasFile = was === 'file' || (was === undefined && is === undefined);
    if (is === 'file' || wasFile) changed.add(path);
  }

  function* filesBelow(path: string): Iterable<string> {
    if (entriesAround(path)?.get(basename(path)) === 'file') yield path;
    for (const [folder, { entries }] of folders) {
      if (folder !== path && !folder.startsWith(path + sep)) continue;
      for (const [name, kind] of entries) if (kind === 'file') yield join(folder, name);
    }
  }

  async function lookAgain(): Promise<void> {
    const ino = (await orAbsent(lstat(root, { bigint: true })).catch(onError))?.ino;
    if (closed) return;
    if (folders.get(root)?.ino !== ino) note(root);
    for (const folder of unwatched) note(folder);
  }

  const nothing = new Set<string>();
  try {
    await open(root, nothing);
    await links.refresh(nothing);
  } catch (error) {
    closed = true;
    forget(root, nothing);
    throw error;
  }
  starting = false;
  const timer = setInterval(() => void lookAgain(), LOOK_MS).unref();
  if (dirty.size > 0) onChange();

  return {
    async collect() {
      const changed = new Set<string>();
      const paths = [...dirty];
      dirty.clear();
      // A link may go together with what it led to.
      const namesBefore = links.remember();
      // All leave before any is opened: the kernel knows a folder that has moved by the name that is watched already.
      for (const look of [leave, examine]) {
        for (const path of paths) {
          await look(path, changed).catch((error) => {
            changed.add(path);
            onError(error);
          });
        }
      }
      // By what links led to before, and by what they lead to now.
      const before = [...changed].flatMap(namesBefore);
      await links.refresh(changed);
      const after = [...changed].flatMap(links.namesOf);
      return [...new Set([...before, ...after])].map((path) => canonical(root, path)).filter(isModulePath);
    },
    close() {
      closed = true;
      clearInterval(timer);
      forget(root, nothing);
    },
  };
}

const canonical = (root: string, path: string): string => relative(root, path).split(sep).join('/');

function kindOf(entry: Pick<BigIntStats, 'isDirectory' | 'isFile' | 'isSymbolicLink'>): Kind | undefined {
  if (entry.isSymbolicLink()) return 'link';
  if (entry.isDirectory()) return 'folder';
  return entry.isFile() ? 'file' : undefined;
}

function tooMany(folder: string, cause: unknown): ModuleCacheError {
  return new ModuleCacheError('MC107', 'the system does not let this process watch so many folders', {
    detail: `folder: ${folder}, ${(cause as Error).message}`,
    hint: 'Raise the limit (sysctl fs.inotify.max_user_watches=524288 and fs.inotify.max_user_instances=512), or pass usePolling.',
    cause,
  });
}
