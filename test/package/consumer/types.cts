import type { ModuleCache } from 'pg-module-cache' with { 'resolution-mode': 'import' };

export async function open(connection: string): Promise<ModuleCache> {
  const { openModuleCache } = await import('pg-module-cache');
  return openModuleCache({ connection });
}
