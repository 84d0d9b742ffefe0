/*
 * What the servers beside this file mount: the modules of the folder in argv, from a cache in DATABASE_URL, whose schema
 * `module-cache migrate` has installed.
 */
import { openModuleCache } from 'pg-module-cache';
import { createModuleHandler } from 'pg-module-cache/http';
import { openDirectory } from 'pg-module-cache/realm';
import { createTranspiler } from 'pg-module-cache/transpile';

export const port = Number(process.env.PORT ?? 3000);

/** @param {string} basePath where the handler is, as it gets to see it */
export async function openModules(basePath) {
  const source = await openDirectory(process.argv[2] ?? 'examples/modules');
  const cache = await openModuleCache({ connection: process.env.DATABASE_URL });
  const transpiler = await createTranspiler();
  const realm = 'https://example.com/app/';
  process.once('SIGTERM', async () => {
    await cache.close();
    await transpiler.close();
    process.exit(0);
  });
  return createModuleHandler({ cache, realm, source, transpiler, basePath });
}
