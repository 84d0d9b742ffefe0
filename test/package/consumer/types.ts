import {
  type CachedModule,
  type Database,
  ModuleCacheError,
  type ModuleCacheErrorCode,
  type ModuleCacheOptions,
  openKysely,
  openModuleCache,
} from 'pg-module-cache';
import { createDefinitionLookup, type DefinitionAnswer } from 'pg-module-cache/definition';
import { createModuleHandler, type ModuleHandler } from 'pg-module-cache/http';
import {
  logModuleCache,
  registerOpenTelemetryMetrics,
  registerPrometheusMetrics,
  traceModuleCache,
} from 'pg-module-cache/observe';
import { createPage, type Page } from 'pg-module-cache/page';
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

export function show(authorize: (request: Request) => boolean): Page {
  return createPage({ connection: 'postgres://127.0.0.1/a', authorize, basePath: '/admin/cache/' });
}

export async function observe(): Promise<string> {
  const cache = await openModuleCache({ ...options, staleness: { share: 0.001 } });
  const { registry, close } = await registerPrometheusMetrics(cache, {
    realmLabel: (url) => url.slice(0, 8),
  });
  await registerOpenTelemetryMetrics(cache, { attributes: { cache: 'one' } });
  logModuleCache(cache, console);
  cache.events.on('rechecked', ({ withinMs, outcome }) => console.log(withinMs.toFixed(), outcome));
  const traced = await traceModuleCache(cache);
  await traced.close();
  close();
  return registry.metrics();
}

interface Fields {
  fields: string[];
}

export async function define(folder: string): Promise<DefinitionAnswer<Fields>[]> {
  const cache = await openModuleCache(options);
  const source = await openDirectory(folder);
  const definitions = createDefinitionLookup<Fields>({
    cache,
    realm,
    resolve: source.resolve,
    visibility: (user) => (user === undefined ? 'none' : 'private'),
    produce: async ({ path, signal }) => {
      const file = await source.read(path);
      signal.throwIfAborted();
      return file && { definition: { fields: file.text.split('\n') }, dependencyKeys: ['base'] };
    },
  });
  const answer = await definitions.lookup('a.ts', { user: 'ada' });
  if (answer.status === 'ok') console.log(answer.definition.fields.length, answer.json);
  if (answer.status === 'error') console.log(answer.error.message, answer.error.line);
  // A compiler hands over the text of its JSON.
  const compile = async (): Promise<{ body: string; dependencyKeys: string[]; isError: boolean }> => ({
    body: '{}',
    dependencyKeys: [],
    isError: false,
  });
  createDefinitionLookup({ cache, realm, variant: 'fingerprint', produce: compile });
  const many = await cache.getMany([{ realm, path: 'a.ts', kind: 'definition', variant: 'public' }]);
  many[0]?.body.trim();
  return definitions.lookupMany(['a.ts', 'b.ts'], { user: 'ada', deadlineMs: 1_000 });
}

export type Status = Database['module_cache.artifacts']['status'];
export const codeOf = (error: unknown): ModuleCacheErrorCode | undefined =>
  error instanceof ModuleCacheError ? error.code : undefined;
