import { uninstall } from '../schema/uninstall.js';
import { type DatabaseOptions, namedUrl, print } from './database.js';

interface UninstallCommandOptions extends DatabaseOptions {
  dryRun?: boolean;
}

export async function uninstallCommand(options: UninstallCommandOptions): Promise<void> {
  const databaseUrl = namedUrl(options);
  const dryRun = options.dryRun ?? false;
  const result = await uninstall({ ...(databaseUrl === undefined ? {} : { databaseUrl }), dryRun });
  if (options.json) {
    print(JSON.stringify({ ...result, dryRun }));
    return;
  }
  for (const what of result.removed) print(`${dryRun ? 'would remove' : 'removed'} ${what}`);
  for (const { what, because } of result.kept) print(`${dryRun ? 'would keep' : 'kept'} ${what}: ${because}`);
  if (result.removed.length === 0) print('there is nothing to remove');
}
