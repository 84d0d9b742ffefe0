import { createHash } from 'node:crypto';
import { ModuleCacheError } from '../errors.js';
import { requireRealm } from '../keys.js';
import { SOURCE_HASH_HEADER } from '../realm/hash.js';
import type { ModuleSource, SourceFile } from '../realm/source.js';
import type { TranspileResult, Transpiler } from '../transpile/index.js';
import type { Product } from '../types.js';
import { etagOf } from './etag.js';
import { createImportMapper, type ImportMap } from './import-map.js';
import { createSpecifierResolver } from './specifiers.js';

/** To be raised whenever the same module would be rewritten to something else, or its headers mean something else. */
const REWRITING_VERSION = 1;

export interface ModuleProducerOptions {
  /** URL of the realm whose modules are produced. */
  realm: string;
  source: ModuleSource;
  transpiler: Transpiler;
  /** Where bare specifiers lead; those that it does not name are left to the browser's import map. */
  imports?: ImportMap;
}

export interface ProduceOptions {
  signal?: AbortSignal;
  /**
   * The folder, `` or `a/b/`, of the URL under which the product is served, if it is not the module's own. The product
   * needs a variant of its own then.
   */
  folder?: string;
}

/** Makes what browsers are served: artifacts of the kind `transpile` whose specifiers are URLs that resolve. */
export interface ModuleProducer {
  /** Fingerprint of the transpiler, the import map and the rewriting; at most 60 characters. */
  readonly variant: string;
  /** @throws ModuleCacheError MC105 if there is no such module; what the transpiler throws */
  produce(canonicalPath: string, options?: ProduceOptions): Promise<Product>;
}

/** @throws ModuleCacheError MC001 for a realm that is none, MC107 for an import map that cannot be used */
export function createModuleProducer(options: ModuleProducerOptions): ModuleProducer {
  const { source, transpiler } = options;
  const realm = requireRealm(options.realm);
  const mapper = createImportMapper(options.imports);
  const rewriting = createHash('sha256')
    .update(`${REWRITING_VERSION}\n${mapper.fingerprint}`)
    .digest('base64url');
  const variant = `${transpiler.variant}.${rewriting.slice(0, 22)}`;
  return {
    variant,
    async produce(path, { signal, folder } = {}) {
      const file = await readModule(source, path);
      const { resolve, found } = createSpecifierResolver({ realm, source, mapper }, path, folder);
      const result = await transpiler.transpile({
        realm,
        path,
        source: file.text,
        // Relative to the module, so that a page is told nothing of the realm, which may be a folder of the server.
        sourceName: encodeURIComponent(path.slice(path.lastIndexOf('/') + 1)),
        resolve,
        ...(signal === undefined ? {} : { signal }),
      });
      const dependencyKeys = [...result.dependencyKeys, ...found];
      return productOf({ ...result, dependencyKeys }, path, variant, file);
    },
  };
}

/**
 * Makes what `?definition` is answered with: artifacts of the kind `definition`, JSON that says what a module exports
 * and imports.
 *
 * @throws ModuleCacheError MC001 for a realm that is none
 */
export function createDefinitionProducer({
  source,
  transpiler,
  ...options
}: Omit<ModuleProducerOptions, 'imports'>): ModuleProducer {
  const realm = requireRealm(options.realm);
  const variant = transpiler.definitionVariant;
  return {
    variant,
    async produce(path, { signal } = {}) {
      const file = await readModule(source, path);
      const aborting = signal === undefined ? {} : { signal };
      const result = await transpiler.define({ realm, path, source: file.text, ...aborting });
      return productOf(result, path, variant, file);
    },
  };
}

async function readModule(source: ModuleSource, path: string): Promise<SourceFile> {
  const file = await source.read(path);
  if (file === undefined) throw noSuchModule(path);
  return file;
}

/** With what tells later whether it is still of this source, and what it is to be called. */
function productOf(
  result: TranspileResult,
  path: string,
  variant: string,
  { hash, lastModified }: SourceFile,
): Product {
  return {
    ...result,
    headers: {
      ...result.headers,
      [SOURCE_HASH_HEADER]: hash,
      etag: etagOf(path, variant, result.body),
      ...(lastModified === undefined ? {} : { 'last-modified': lastModified.toUTCString() }),
    },
  };
}

export const noSuchModule = (path: string): ModuleCacheError =>
  new ModuleCacheError('MC105', 'no such module', { detail: path });
