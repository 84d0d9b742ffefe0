import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Sql } from 'postgres';
import { ModuleCacheError } from '../errors.js';
import { createModuleProducer } from '../http/index.js';
import { requireRealm } from '../keys.js';
import { type ModuleSource, openDirectory, openTable } from '../realm/index.js';
import { type BabelOptions, createTranspiler, type Transpiler } from '../transpile/index.js';

/** Which modules a command works on, as they are named on the command line. */
export interface ModulesOptions {
  realm?: string;
  table?: string;
  pathColumn?: string;
  sourceColumn?: string;
  realmColumn?: string;
  /** File with an import map. */
  imports?: string;
  /** Configuration file of Babel. */
  babelConfig?: string;
}

/** The same, settled, and fit to be sent to the processes that serve. */
export interface ModulesConfig {
  readonly realm: string;
  readonly place: { readonly folder: string } | TablePlace;
  readonly imports: Record<string, string>;
  readonly babel: BabelOptions;
}

export interface TablePlace {
  readonly table: string;
  /** That its triggers invalidate what changes. */
  readonly tracked?: boolean;
  readonly pathColumn?: string;
  readonly sourceColumn?: string;
  readonly realmColumn?: string;
}

export interface Modules {
  readonly source: ModuleSource;
  readonly transpiler: Transpiler;
  readonly producer: ReturnType<typeof createModuleProducer>;
}

/**
 * Looks at what the user named, before anything is started.
 *
 * @throws ModuleCacheError MC001 for a realm that is none, MC107 for what is not there or contradicts itself
 */
export async function settleModules(
  folder: string | undefined,
  options: ModulesOptions,
): Promise<ModulesConfig> {
  const { table, pathColumn, sourceColumn, realmColumn } = options;
  if ((folder === undefined) === (table === undefined)) {
    throw new ModuleCacheError('MC107', 'neither a folder nor a table, or both', {
      hint: 'Name the folder whose modules are meant, or a table of the database with --table.',
    });
  }
  const imports = options.imports === undefined ? {} : await readImports(options.imports);
  const configFile = options.babelConfig === undefined ? undefined : resolve(options.babelConfig);
  if (table !== undefined) {
    return {
      realm: requireRealm(
        options.realm ?? `table:///${encodeURI(table).replace(/[?#]/g, encodeURIComponent)}/`,
      ),
      place: {
        table,
        ...(pathColumn === undefined ? {} : { pathColumn }),
        ...(sourceColumn === undefined ? {} : { sourceColumn }),
        ...(realmColumn === undefined ? {} : { realmColumn }),
      },
      imports,
      babel: configFile === undefined ? {} : { configFile, cwd: dirname(configFile) },
    };
  }
  const { root } = await openDirectory(folder as string);
  return {
    realm: requireRealm(options.realm ?? pathToFileURL(`${root}/`).href),
    place: { folder: root },
    imports,
    babel: configFile === undefined ? { cwd: root } : { configFile, cwd: dirname(configFile) },
  };
}

/** Opens what `settleModules` has found, in the process that compiles. The transpiler is the caller's to close. */
export async function openModules(config: ModulesConfig, sql: Sql, threads: number): Promise<Modules> {
  const { realm, imports, babel } = config;
  const source = await openSource(config, sql);
  const transpiler = await createTranspiler({ threads, babel });
  return { source, transpiler, producer: createModuleProducer({ realm, source, transpiler, imports }) };
}

export function openSource({ realm, place }: ModulesConfig, sql: Sql): Promise<ModuleSource> {
  return 'folder' in place ? openDirectory(place.folder) : openTable({ sql, realm, ...place });
}

/** The `imports` of an import map; scopes have no meaning here. */
async function readImports(file: string): Promise<Record<string, string>> {
  let map: unknown;
  try {
    map = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new ModuleCacheError('MC107', 'the import map cannot be read', {
      detail: `${file}: ${(error as Error).message}`,
      hint: 'It is a JSON file such as {"imports": {"rxjs": "https://example.com/rxjs.js"}}.',
      cause: error,
    });
  }
  const imports = (map as { imports?: unknown } | null)?.imports;
  if (
    typeof imports !== 'object' ||
    imports === null ||
    Object.values(imports).some((to) => typeof to !== 'string')
  ) {
    throw new ModuleCacheError('MC107', 'the import map has no imports', {
      detail: file,
      hint: 'It is a JSON file such as {"imports": {"rxjs": "https://example.com/rxjs.js"}}.',
    });
  }
  return imports as Record<string, string>;
}
