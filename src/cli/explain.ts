import { only } from '../calls.js';
import { requireArtifactId } from '../keys.js';
import { type DatabaseOptions, print, withDatabase } from './database.js';
import { plain, type Style, styleFor } from './style.js';
import { bytes, columnsOf, hang, padEnd, plural, printable, some, wrap } from './text.js';

/** One row of `module_cache.explain`. */
export interface Explanation {
  /** Null if nothing is stored. */
  readonly kind: string | null;
  readonly variant: string | null;
  readonly status: 'hit' | 'error' | 'tombstone' | 'miss';
  readonly reason: string;
  /** From the module that was named to this one, the nearest first. */
  readonly through: readonly string[];
  readonly invalidatedAt: string | null;
  readonly xid: string | null;
  readonly role: string | null;
  readonly application: string | null;
  readonly clientAddress: string | null;
  readonly backendPid: number | null;
  readonly dependencies: readonly string[];
  readonly dependents: readonly string[];
  readonly createdAt: string | null;
  readonly expiresAt: string | null;
  readonly bytes: number | null;
}

const SHOWN_MODULES = 10;

/** Says why a module is or is not served from the cache. One that was never stored is an answer as well. */
export async function explainCommand(
  realm: string,
  canonicalPath: string,
  options: DatabaseOptions,
): Promise<void> {
  const { realm: realmUrl, path } = requireArtifactId({ realm, path: canonicalPath });
  const rows = await withDatabase(options, (database) =>
    database.run((sql) =>
      sql`
        select coalesce(json_agg(json_build_object(
          'kind', e.kind, 'variant', e.variant, 'status', e.status, 'reason', e.reason,
          'through', coalesce(e.through, '{}'),
          'invalidatedAt', e.invalidated_at, 'xid', e.xid::text, 'role', e.role_name, 'application', e.application_name,
          'clientAddress', host(e.client_address), 'backendPid', e.backend_pid,
          'dependencies', coalesce(e.dependencies, '{}'), 'dependents', e.dependents,
          'createdAt', e.created_at, 'expiresAt', e.expires_at, 'bytes', e.bytes)), '[]')::text
        from module_cache.explain(${realmUrl}, ${path}) e`.values(),
    ),
  );
  const explanations = JSON.parse(only(rows)[0] as string) as Explanation[];
  if (options.json) print(JSON.stringify({ realm: realmUrl, path, artifacts: explanations }));
  else
    for (const line of describeModule(
      realmUrl,
      path,
      explanations,
      styleFor(process.stdout),
      columnsOf(process.stdout),
    ))
      print(line);
}

const colours = { hit: 'green', error: 'red', tombstone: 'yellow', miss: 'yellow' } as const;

/** A block for each artifact: the reason first, then who, when and through what, then what it hangs together with. */
export function describeModule(
  realm: string,
  path: string,
  explanations: readonly Explanation[],
  style: Style = plain,
  columns = Number.POSITIVE_INFINITY,
): string[] {
  const lines = [style('bold', printable(realm + path))];
  for (const explanation of explanations) {
    const { kind, variant, status, reason } = explanation;
    const names = kind === null ? [] : [kind, ...(variant === null || variant === '' ? [] : [variant])];
    lines.push('', ...(names.length === 0 ? [] : [names.map(printable).join(' ')]));
    for (const line of wrap(printable(reason), columns - 2)) lines.push(`  ${style(colours[status], line)}`);
    for (const [title, text] of detailsOf(explanation))
      lines.push(...hang(`  ${padEnd(title, 13)} `, text, columns));
  }
  return lines;
}

function detailsOf(explanation: Explanation): [title: string, text: string][] {
  const { through, invalidatedAt, role, application, clientAddress, backendPid } = explanation;
  const details: [string, string][] = [];
  if (explanation.xid !== null) {
    const who = [
      invalidatedAt,
      `transaction ${explanation.xid}`,
      role && `role ${role}`,
      application && `application ${application}`,
      clientAddress && `from ${clientAddress}`,
      backendPid && `session ${backendPid}`,
    ].filter((part) => typeof part === 'string' && part !== '');
    details.push(['invalidated', printable(who.join(', '))]);
  }
  if (through.length > 0) details.push(['through', some(through, SHOWN_MODULES)]);
  if (explanation.createdAt !== null) {
    const expiry = explanation.expiresAt === null ? '' : `, expires ${explanation.expiresAt}`;
    details.push(['stored', `${explanation.createdAt}, ${bytes(explanation.bytes ?? 0)}${expiry}`]);
  }
  for (const [title, one, modules] of [
    ['dependencies', 'key', explanation.dependencies],
    ['dependents', 'module', explanation.dependents],
  ] as const) {
    if (explanation.kind === null && title === 'dependencies') continue;
    const names =
      modules.length === 0 ? 'none' : `${plural(modules.length, one)}: ${some(modules, SHOWN_MODULES)}`;
    details.push([title, names]);
  }
  return details;
}
