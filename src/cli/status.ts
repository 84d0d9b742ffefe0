import { readSchemaStatus, type SchemaStatus } from '../schema/status.js';
import { type DatabaseOptions, namedUrl, openQuestions, print } from './database.js';
import { CLAIM_COLUMNS, describeStatuses, type Fleet, PEER_COLUMNS, readFleet, storedOf } from './fleet.js';
import { type Style, styleFor } from './style.js';
import { bytes, columnsOf, duration, plural, table } from './text.js';

/** A claim that has lasted this long is worth a look, in ms. */
const OLD_CLAIM_MS = 10_000;

/** Exits with 1 if the schema is missing, older than what this client brings, or does not work with it. */
export async function statusCommand(options: DatabaseOptions): Promise<void> {
  const url = namedUrl(options);
  const status = await readSchemaStatus(url);
  const fleet = status.compatible ? await lookAtFleet(url) : undefined;
  if (options.json) print(JSON.stringify({ ...status, ...summarize(fleet) }));
  else {
    const style = styleFor(process.stdout);
    for (const line of describe(status)) print(line);
    if (fleet !== undefined) for (const line of describeFleet(fleet, style)) print(line);
  }
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

/** The fleet, or why it cannot be seen: not every role may, and an older schema has no views for it. */
async function lookAtFleet(url: string | undefined): Promise<Fleet | string> {
  const questions = openQuestions(url, 'module-cache status');
  try {
    return await questions.ask(readFleet);
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === '42501') return 'this role may not see it; module_cache_operator may';
    if (code === '42P01' || code === '42703') return 'this schema has no views for it; upgrade it';
    throw error;
  } finally {
    await questions.close();
  }
}

/** All null if the fleet cannot be seen. */
function summarize(fleet: Fleet | string | undefined) {
  if (typeof fleet !== 'object') return { peers: null, artifacts: null, oldClaims: null };
  const { peers, claims, realms } = fleet;
  return { peers, artifacts: storedOf(realms), oldClaims: claims.filter(isOld) };
}

const isOld = ({ ageMs }: { ageMs: number }): boolean => ageMs > OLD_CLAIM_MS;

function describeFleet(fleet: Fleet | string, style: Style): string[] {
  if (typeof fleet === 'string') return [`fleet    not shown: ${fleet}`];
  const stored = storedOf(fleet.realms);
  const old = fleet.claims.filter(isOld);
  const width = columnsOf(process.stdout);
  const [head = '', ...peers] = table(PEER_COLUMNS, fleet.peers, width);
  const lines = [
    `stored   ${plural(stored.count, 'artifact')}, ${bytes(stored.bytes)}`,
    `peers    ${fleet.peers.length === 0 ? 'none' : describeStatuses(fleet.peers)}`,
  ];
  if (peers.length > 0) lines.push('', style('bold', head));
  for (const [index, line] of peers.entries()) {
    lines.push(fleet.peers[index]?.status === 'silent' ? style('yellow', line) : line);
  }
  if (old.length > 0) {
    const [oldHead = '', ...claims] = table(CLAIM_COLUMNS, old, width);
    lines.push('', `produced for more than ${duration(OLD_CLAIM_MS)}:`, style('bold', oldHead), ...claims);
  }
  return lines;
}
