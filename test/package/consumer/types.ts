import {
  type CachedModule,
  type Database,
  ModuleCacheError,
  type ModuleCacheErrorCode,
  type ModuleCacheOptions,
  openKysely,
  openModuleCache,
} from 'pg-module-cache';
import { createModuleHandler, type ModuleHandler } from 'pg-module-cache/http';
import { openDirectory, watchRealm } from 'pg-module-cache/realm';
import { createTranspiler, type Transpiler } from 'pg-module-cache/transpile';
import postgres from 'postgres';

const realm = 'https://a.example/';
const options: ModuleCacheOptions = { connection: 'postgres://127.0.0.1/a', l1: { maxBytes: 1e6 } };

export async function serve(folder: string): Promise<ModuleHandler> {
  const sql = postgres();
  const cache = await openModuleCache({ ...options, connection: sql });
  const transpiler: Transpiler = await createTranspiler({ babel: { presets: ['@babel/preset-typescript'] } });
  const source = await openDirectory(folder);
  await watchRealm({ cache, realm, folder });
  const known: CachedModule | undefined = cache.peek({ realm, path: 'a.ts', variant: transpiler.variant });
  const { token } = await sql.begin((tx) => cache.invalidate(realm, ['a.ts'], { tx }));
  await cache.get({ realm, path: 'a.ts' }, { after: token, consistency: 'strong' });
  const rows = await openKysely(sql).selectFrom('module_cache.artifacts').select('bytes').execute();
  const sizes: number[] = rows.map(({ bytes }) => bytes);
  // @ts-expect-error: the types are there, and not any
  known?.body.nothing(sizes);
  return createModuleHandler({ cache, realm, source, transpiler });
}

export type Status = Database['module_cache.artifacts']['status'];
export const codeOf = (error: unknown): ModuleCacheErrorCode | undefined =>
  error instanceof ModuleCacheError ? error.code : undefined;
