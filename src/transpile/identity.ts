import { createHash } from 'node:crypto';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { createRequire, isBuiltin } from 'node:module';
import { dirname, join, relative, sep } from 'node:path';

/**
 * What code a compiler setup runs: packages by name and version, their dependencies included (an update may move a
 * plugin and leave the preset that contains it), and local files by content, with what they import. No path of the
 * machine gets in, so that two deployments of the same code agree.
 */
export interface CodeIdentity {
  /** Adds a package by one of its files, or a local file; returns what tells it from others. */
  add(file: string): string;
  /** All that was added, in an order that does not depend on the machine. */
  summary(): string[];
}

interface Manifest {
  name?: string;
  version?: string;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
}

export const sha256 = (text: string | Buffer): Buffer => createHash('sha256').update(text).digest();
const installed = `${sep}node_modules${sep}`;
const specifierPattern =
  /(?:\brequire\s*\(|\bimport\s*\(|\bfrom\b|\bimport\b|\bresolve\s*\()\s*(['"])([^'"\n]+)\1/g;

export function createCodeIdentity(): CodeIdentity {
  const files = new Map<string, string>();
  const packages = new Set<string>();
  const visited = new Set<string>();

  function add(request: string): string {
    const file = realpathSync(entryOf(request));
    if (!file.includes(installed)) return addLocal(file);
    const folder = packageFolder(file);
    return folder === null ? addLocal(file) : `${addPackage(folder)}/${relative(folder, file)}`;
  }

  function addLocal(file: string): string {
    const known = files.get(file);
    if (known !== undefined) return known;
    const content = readFileSync(file);
    const hash = sha256(content).toString('base64url');
    files.set(file, hash);
    for (const [, , specifier] of content.toString().matchAll(specifierPattern)) {
      const found = resolveFrom(file, specifier as string);
      if (found !== null) add(found);
    }
    return hash;
  }

  function addPackage(folder: string): string {
    const manifest = readManifest(folder) ?? {};
    const id = `${manifest.name}@${manifest.version}`;
    if (visited.has(folder)) return id;
    visited.add(folder);
    packages.add(id);
    const { dependencies, optionalDependencies, peerDependencies } = manifest;
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })) {
      const found = installedFolder(name, folder);
      if (found === null) continue;
      if (found.includes(installed)) addPackage(found);
      else add(found);
    }
    return id;
  }

  return { add, summary: () => [...packages, ...files.values()].sort() };
}

/** Babel also takes the folder of a package. */
function entryOf(request: string): string {
  try {
    return createRequire(join(dirname(request), 'any.js')).resolve(request);
  } catch {
    return request;
  }
}

function resolveFrom(file: string, specifier: string): string | null {
  if (isBuiltin(specifier)) return null;
  try {
    return createRequire(file).resolve(specifier);
  } catch {
    if (specifier.startsWith('.')) return null;
    // A package that can only be imported: any of its files stands for it.
    const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
    const folder = installedFolder(name, dirname(file));
    return folder === null ? null : join(folder, 'package.json');
  }
}

function installedFolder(name: string, from: string): string | null {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name);
    if (existsSync(join(candidate, 'package.json'))) return realpathSync(candidate);
    if (dirname(folder) === folder) return null;
  }
}

/** The nearest folder above whose package.json names a package; others only set a module type. */
function packageFolder(file: string): string | null {
  for (let folder = dirname(file); folder !== dirname(folder); folder = dirname(folder)) {
    if (readManifest(folder)?.name !== undefined) return folder;
  }
  return null;
}

function readManifest(folder: string): Manifest | null {
  try {
    return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
  } catch {
    return null;
  }
}
