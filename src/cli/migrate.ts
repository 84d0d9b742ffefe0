import { migrate } from '../schema/migrate.js';
import { type DatabaseOptions, namedUrl, print } from './database.js';

export async function migrateCommand(options: DatabaseOptions): Promise<void> {
  const databaseUrl = namedUrl(options);
  const result = await migrate({
    ...(databaseUrl === undefined ? {} : { databaseUrl }),
    onLog: (line) => {
      if (!options.json) print(line);
    },
  });
  if (options.json) print(JSON.stringify(result));
  else {
    print(`schema module_cache ${result.version}, ${result.applied.length} migrations applied`);
    for (const role of result.missingRoles) {
      print(
        `left out: role ${role}, which this user may not create (then: select module_cache.grant_roles())`,
      );
    }
  }
}
