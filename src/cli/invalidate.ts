import * as calls from '../calls.js';
import { isText, normalizePath, requireRealm } from '../keys.js';
import { type DatabaseOptions, print, withDatabase } from './database.js';
import { plural, printable, some } from './text.js';

interface InvalidateOptions extends DatabaseOptions {
  dryRun?: boolean;
}

interface Module {
  readonly realm: string;
  readonly path: string;
}

export async function invalidateCommand(
  realm: string,
  paths: string[],
  options: InvalidateOptions,
): Promise<void> {
  const realmUrl = requireRealm(realm);
  if (options.dryRun) return dryRun(realmUrl, paths, options);
  await withDatabase(options, async (database) => {
    if (paths.length === 0) {
      const token = await database.run((sql) => calls.clearRealm(sql, realmUrl));
      print(options.json ? JSON.stringify({ token, realm: realmUrl }) : `cleared ${realmUrl}`);
      return;
    }
    const { token, modules } = await database.run((sql) => calls.invalidate(sql, realmUrl, paths));
    const ignored = ignoredOf(realmUrl, paths);
    if (options.json) {
      print(JSON.stringify({ token, modules, ignored }));
      return;
    }
    for (const module of modules) print(printable(`${module.realm}${module.path}`));
    print(`${plural(modules.length, 'module')} invalidated`);
    printIgnored(ignored);
  });
}

async function dryRun(realm: string, paths: readonly string[], options: DatabaseOptions): Promise<void> {
  const script = paths.length === 0 ? clearScript(realm) : invalidateScript(realm, paths);
  const results = await withDatabase(options, (_, sql) => sql.unsafe(script).simple());
  const answers = (results as unknown as { json?: string }[][]).flat().flatMap(({ json }) => json ?? []);
  const [before = [], after = []] = answers.map((text) => JSON.parse(text) as [string, string][]);
  const left = new Set(after.map(String));
  const modules: Module[] = before
    .filter((module) => !left.has(String(module)))
    .map(([realmUrl, path]) => ({ realm: realmUrl, path }));
  if (options.json) {
    print(JSON.stringify({ dryRun: true, realm, modules, ignored: ignoredOf(realm, paths) }));
    return;
  }
  for (const module of modules) print(printable(`${module.realm}${module.path}`));
  const stored = paths.length === 0 ? ' stored in the cache' : '';
  print(`${plural(modules.length, 'module')}${stored} would be invalidated; nothing was changed`);
  printIgnored(ignoredOf(realm, paths));
}

/** The database ignores and counts what can name no module, for the sake of whose transaction it is; a person is told. */
const ignoredOf = (realm: string, paths: readonly string[]): string[] =>
  paths.filter((path) => normalizePath(realm, path) === null);

function printIgnored(ignored: readonly string[]): void {
  if (ignored.length > 0)
    print(`ignored, because no module can be called so: ${some(ignored, ignored.length)}`);
}

/**
 * The real thing, rolled back. All statements go in one message, which is what makes it safe: if the connection is lost
 * on the way, nothing is sent again on another one, where no transaction would be open; and there is nothing left for
 * postgres.js to roll back, which ends the process on a connection that is gone (3.4, `begin`).
 */
const rolledBack = (statements: readonly string[]): string =>
  [
    'begin isolation level repeatable read read write',
    'set local module_cache.notify = off',
    ...statements,
    'rollback',
  ].join(';\n');

function invalidateScript(realm: string, paths: readonly string[]): string {
  const named = JSON.stringify(paths.map((path) => (isText(path) ? path : '')));
  return rolledBack([
    `select coalesce(json_agg(json_build_array(m.realm_url, m.canonical_path)), '[]')::text as json
     from module_cache.invalidate(${literal(realm)}, array(select jsonb_array_elements_text(${literal(named)}::jsonb))) m`,
  ]);
}

/** What is live before, and no longer afterwards: a clear does not say what it reaches, however much that is. */
function clearScript(realm: string): string {
  const live = `
    select coalesce(json_agg(distinct jsonb_build_array(a.realm_url, a.canonical_path)), '[]')::text as json
    from module_cache.artifacts a where a.status <> 'dead'`;
  return rolledBack([live, `select module_cache.clear_realm(${literal(realm)})`, live]);
}

/** A message of several statements takes no parameters. As digits, whatever is in it, and whatever the session's settings are. */
const literal = (text: string): string =>
  `convert_from(decode('${Buffer.from(text).toString('hex')}', 'hex'), 'UTF8')`;
