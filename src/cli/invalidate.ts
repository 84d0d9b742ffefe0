import * as calls from '../calls.js';
import { requireRealm } from '../keys.js';
import { type DatabaseOptions, print, withDatabase } from './database.js';

export async function invalidateCommand(
  realm: string,
  paths: string[],
  options: DatabaseOptions,
): Promise<void> {
  const realmUrl = requireRealm(realm);
  await withDatabase(options, async (database) => {
    if (paths.length === 0) {
      const token = await database.run((sql) => calls.clearRealm(sql, realmUrl));
      print(options.json ? JSON.stringify({ token, realm: realmUrl }) : `cleared ${realmUrl}`);
      return;
    }
    const { token, modules } = await database.run((sql) => calls.invalidate(sql, realmUrl, paths));
    if (options.json) {
      print(JSON.stringify({ token, modules }));
      return;
    }
    for (const module of modules) print(`${module.realm}${module.path}`);
    print(`${modules.length} modules invalidated`);
  });
}
