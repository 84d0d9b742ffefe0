import { realpath } from 'node:fs/promises';
import { sep } from 'node:path';
import { orAbsent } from './directory.js';

/** The symbolic links in a folder, and with them the further names of files in it. All paths are absolute. */
export interface Links {
  add(link: string): void;
  /** All that had a name by it goes to `changed`. */
  delete(link: string, changed: Set<string>): void;
  /** Finds out where all of them lead now. What has another text by a link's name goes to `changed`. */
  refresh(changed: Set<string>): Promise<void>;
  /** Whether a link leads to this very path. */
  isTarget(path: string): boolean;
  /** The path itself, and its names by links. */
  namesOf(path: string): string[];
  /** The same, as it is now, whatever becomes of the links. */
  remember(): (path: string) => string[];
}

/** Links that lead to the folder they are in give each file names without end. */
const MAX_NAMES = 200;

/** @param filesBelow of the folder only, so that a link that leaves it names nothing */
export function createLinks(filesBelow: (path: string) => Iterable<string>): Links {
  /** Where each leads; undefined for nowhere. */
  const links = new Map<string, string | undefined>();

  /** Files below a folder, also by the links in it; each by its name there. */
  function namesBelow(folder: string): string[] {
    const names: string[] = [];
    const places = [{ name: folder, real: folder }];
    for (const { name, real } of places) {
      for (const file of filesBelow(real)) names.push(name + file.slice(real.length));
      for (const [link, target] of links) {
        if (target === undefined || !link.startsWith(real + sep) || places.length >= MAX_NAMES) continue;
        places.push({ name: name + link.slice(real.length), real: target });
      }
    }
    return names;
  }

  function noteNames(link: string, target: string | undefined, changed: Set<string>): void {
    if (target === undefined) return;
    for (const name of namesBelow(target)) changed.add(link + name.slice(target.length));
  }

  return {
    add: (link) => void links.set(link, undefined),
    delete(link, changed) {
      noteNames(link, links.get(link), changed);
      links.delete(link);
    },
    async refresh(changed) {
      const moved: [string, string | undefined, string | undefined][] = [];
      for (const [link, before] of links) {
        const target = await orAbsent(realpath(link)).catch(() => undefined);
        if (target !== before) moved.push([link, before, target]);
      }
      for (const [link, before] of moved) noteNames(link, before, changed);
      for (const [link, , target] of moved) links.set(link, target);
      for (const [link, , target] of moved) noteNames(link, target, changed);
    },
    isTarget: (path) => [...links.values()].includes(path),
    namesOf: (path) => namesBy(links, path),
    remember() {
      const copy = new Map(links);
      return (path) => namesBy(copy, path);
    },
  };
}

function namesBy(links: ReadonlyMap<string, string | undefined>, path: string): string[] {
  const names = [path];
  const ways: ReadonlySet<string>[] = [new Set()];
  for (let place = 0; place < names.length && names.length < MAX_NAMES; place += 1) {
    const name = names[place] as string;
    const way = ways[place] as ReadonlySet<string>;
    for (const [link, target] of links) {
      if (target === undefined || way.has(link)) continue;
      if (name !== target && !name.startsWith(target + sep)) continue;
      names.push(link + name.slice(target.length));
      ways.push(new Set([...way, link]));
    }
  }
  return names;
}
