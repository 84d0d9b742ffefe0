import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type * as BabelCore from '@babel/core';
import { ModuleCacheError } from '../errors.js';

/** Both supported versions have what the type declarations leave out. */
export type Babel = typeof BabelCore & {
  loadOptionsAsync(options: BabelCore.TransformOptions): Promise<object | null>;
};

const [nodeMajor = 0, nodeMinor = 0] = process.versions.node.split('.').map(Number);
/** Without a version npm takes Babel 8, which does not run before Node 22.18. */
const installable = nodeMajor > 22 || (nodeMajor === 22 && nodeMinor >= 18) ? '' : '@7';

/** Folder and entry file that a package name leads to, from the project first, then from this package. */
export function resolveFromProject(name: string, cwd: string): string | null {
  for (const from of [join(cwd, 'package.json'), import.meta.url]) {
    try {
      return createRequire(from).resolve(name);
    } catch {
      // The next place may have it.
    }
  }
  return null;
}

/** @throws ModuleCacheError MC107 if there is no Babel, or an unsupported one. */
export async function loadBabel(cwd: string): Promise<{ babel: Babel; file: string }> {
  const file = resolveFromProject('@babel/core', cwd);
  if (file === null) {
    throw new ModuleCacheError('MC107', '@babel/core is not installed', {
      detail: `looked up from ${cwd}`,
      hint: `npm install @babel/core${installable} @babel/preset-typescript${installable}`,
    });
  }
  let namespace: Babel & { default?: Babel };
  try {
    namespace = (await import(pathToFileURL(file).href)) as Babel & { default?: Babel };
  } catch (error) {
    // Babel 8 on a Node that cannot run it fails while loading.
    throw new ModuleCacheError('MC107', '@babel/core cannot be loaded', {
      detail: `${(error as Error).message} (Node ${process.version})`,
      hint: 'Babel 8 needs Node 22.18 or later; on older ones: npm install @babel/core@7 @babel/preset-typescript@7',
      cause: error,
    });
  }
  // Babel 7 is CommonJS, 8 has no default export.
  const babel = namespace.default ?? namespace;
  const [major = 0, minor = 0] = String(babel.version).split('.').map(Number);
  if (major < 7 || major > 8 || (major === 7 && minor < 26)) {
    throw new ModuleCacheError('MC107', '@babel/core has an unsupported version', {
      detail: `version ${babel.version}`,
      hint: 'npm install @babel/core@^7.26 or @babel/core@8',
    });
  }
  return { babel, file };
}
