import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach } from '@jest/globals';
import { type ModuleCache, openModuleCache } from '../../../src/cache.js';
import { createModuleHandler, type ModuleHandlerOptions } from '../../../src/http/index.js';
import { openDirectory } from '../../../src/realm/index.js';
import { createTranspiler, type Transpiler } from '../../../src/transpile/index.js';
import { createDatabase, type TestDatabase } from '../../support/database.js';

/** A folder of modules, a database and two processes' caches; a folder and a realm of its own for each test. */
export interface ServedRealm {
  readonly database: TestDatabase;
  readonly folder: string;
  readonly realm: string;
  readonly caches: readonly [ModuleCache, ModuleCache];
  readonly transpiler: Transpiler;
  write(path: string, text: string): Promise<void>;
  /** What the handler is made of, for one of the two. */
  setup(which?: 0 | 1): Promise<ModuleHandlerOptions>;
  /** A function that asks a handler with these options. */
  serve(options?: Partial<ModuleHandlerOptions>, which?: 0 | 1): Promise<Ask>;
}

export type Ask = (path: string, init?: RequestInit | Record<string, string>) => Promise<Response>;

/** To be called at the top of a test file. */
export function servedRealm(): ServedRealm {
  let database: TestDatabase;
  let transpiler: Transpiler;
  let caches: [ModuleCache, ModuleCache];
  let folder: string;
  let number = 0;

  beforeAll(async () => {
    database = await createDatabase();
    transpiler = await createTranspiler({ threads: 1 });
    const open = () => openModuleCache({ connection: database.url });
    caches = [await open(), await open()];
  });
  afterAll(async () => {
    await Promise.all(caches.map((cache) => cache.close()));
    await transpiler.close();
    await database.drop();
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'module-cache-http-'));
    number += 1;
  });
  afterEach(() => rm(folder, { recursive: true }));

  const realm = (): string => `https://http-${number}.example/app/`;
  const setup = async (which: 0 | 1 = 0): Promise<ModuleHandlerOptions> => ({
    cache: caches[which],
    realm: realm(),
    source: await openDirectory(folder),
    transpiler,
  });
  return {
    get database() {
      return database;
    },
    get folder() {
      return folder;
    },
    get realm() {
      return realm();
    },
    get caches() {
      return caches;
    },
    get transpiler() {
      return transpiler;
    },
    async write(path, text) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), text);
    },
    setup,
    async serve(options = {}, which = 0) {
      const handle = createModuleHandler({ ...(await setup(which)), ...options });
      return (path, init = {}) => {
        const isInit = ['headers', 'method', 'signal'].some((name) => name in init);
        return handle(
          new Request(`http://localhost${path}`, isInit ? init : { headers: init as Record<string, string> }),
        );
      };
    },
  };
}
