import { readSchemaStatus, type SchemaStatus } from '../schema/status.js';
import { type DatabaseOptions, namedUrl, print } from './database.js';

/** Exits with 1 if the schema is missing, older than what this client brings, or does not work with it. */
export async function statusCommand(options: DatabaseOptions): Promise<void> {
  const status = await readSchemaStatus(namedUrl(options));
  if (options.json) print(JSON.stringify(status));
  else for (const line of describe(status)) print(line);
  if (status.pending || !status.compatible) process.exitCode = 1;
}

const upgrade = {
  migrations: 'module-cache migrate',
  extension: 'alter extension module_cache update',
  script: 'the output of module-cache sql --from',
} as const;

function describe(status: SchemaStatus): string[] {
  const { version, oldestClient, client, oldestSchema, managedBy, pending, compatible } = status;
  if (version === null || managedBy === null) {
    return status.foreignHistory
      ? [
          'no schema module_cache: install it with the output of module-cache sql, or create extension module_cache',
          'the graphile-migrate history of this database is not ours, and module-cache migrate leaves it alone',
        ]
      : ['no schema module_cache: install it with module-cache migrate'];
  }
  const by = managedBy === 'extension' ? 'the extension' : `the ${managedBy}`;
  const way = managedBy === 'script' ? `${upgrade.script} ${version}` : upgrade[managedBy];
  return [
    `schema   ${version}, installed by ${by}; works with clients from ${oldestClient} on`,
    `client   ${client}; works with a schema from ${oldestSchema} on`,
    compatible ? 'they work together' : 'they do not work together',
    ...(pending ? [`pending  ${client}: ${way}`] : []),
    ...status.missingRoles.map((role) => `missing  role ${role} (then: select module_cache.grant_roles())`),
  ];
}
