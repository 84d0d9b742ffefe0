import type { ModuleCache } from 'pg-module-cache' with { 'resolution-mode': 'import' };
import type { DefinitionLookup } from 'pg-module-cache/definition' with { 'resolution-mode': 'import' };

export async function open(connection: string): Promise<ModuleCache> {
  const { openModuleCache } = await import('pg-module-cache');
  return openModuleCache({ connection });
}

export async function define(cache: ModuleCache, realm: string): Promise<DefinitionLookup> {
  const { createDefinitionLookup } = await import('pg-module-cache/definition');
  return createDefinitionLookup({ cache, realm, produce: ({ path }) => ({ definition: path }) });
}
