import { only } from '../../calls.js';
import { incompatibility, isOlder, VERSION } from '../../versions.js';
import { plural } from '../text.js';
import { askJson, type Check, fail, pass, skip, warn } from './check.js';

/** What is installed, and what this role may do with it. */

interface Installed {
  readonly version: string;
  readonly oldestClient: string;
  readonly missing: string[];
}

const schema: Check = {
  name: 'schema',
  async run(patient) {
    if (!patient.hasSchema) return fail('no schema module_cache', 'Install it with: module-cache migrate');
    const [visible] = only(
      await patient.questions.ask((sql) =>
        sql`select has_schema_privilege(oid, 'usage')::text from pg_namespace where nspname = 'module_cache'`.values(),
      ),
    );
    if (visible !== 'true') return skip('permission denied for schema module_cache; module_cache_reader may');
    const { version, oldestClient, missing } = await askJson<Installed>(patient, (sql) =>
      sql`select json_build_object(
        'version', module_cache.schema_version(), 'oldestClient', module_cache.oldest_client(),
        'missing', array(
          select r.name
          from unnest('{module_cache_reader,module_cache_writer,module_cache_operator}'::text[]) r (name)
          where to_regrole(r.name) is null))::text`.values(),
    );
    const figure = `schema ${version}, client ${VERSION}`;
    const reason = incompatibility(version, oldestClient);
    if (reason !== undefined) return fail(`${figure}: ${reason.message}`, reason.hint ?? '');
    if (isOlder(version, VERSION))
      return warn(figure, 'Upgrade the schema; "module-cache status" names the way.');
    if (missing.length > 0)
      return warn(
        `${figure}, without ${missing.join(', ')}`,
        'Have the roles created, then: select module_cache.grant_roles()',
      );
    return pass(figure);
  },
};

interface Rights {
  readonly role: string;
  readonly superuser: boolean;
  readonly usage: boolean;
  readonly reads: boolean;
  readonly writes: boolean;
  readonly operates: boolean;
  readonly invalidates: boolean;
}

const rights: Check = {
  name: 'role',
  needsSchema: true,
  async run(patient) {
    // By the catalog: a name that leads into the schema would be refused to who may not use it.
    const { role, superuser, usage, reads, writes, operates, invalidates } = await askJson<Rights>(
      patient,
      (sql) =>
        sql`select json_build_object(
          'role', current_user,
          'superuser', (select rolsuper from pg_roles where rolname = current_user),
          'usage', has_schema_privilege(n.oid, 'usage'),
          'reads', coalesce(bool_or(has_function_privilege(p.oid, 'execute')) filter (where p.proname = 'get'), false),
          'writes', coalesce(bool_or(has_function_privilege(p.oid, 'execute')) filter (where p.proname = 'put'), false),
          'operates', coalesce(bool_or(has_function_privilege(p.oid, 'execute')) filter (where p.proname = 'clear_all'), false),
          'invalidates', coalesce(bool_or(has_function_privilege(p.oid, 'execute')) filter (where p.proname = 'invalidate'), false))::text
        from pg_namespace n
        left join pg_proc p on p.pronamespace = n.oid
        where n.nspname = 'module_cache'
        group by n.oid`.values(),
    );
    const may = Object.entries({ read: reads, write: writes, operate: operates })
      .filter(([, allowed]) => allowed && usage)
      .map(([name]) => name);
    const effective = superuser
      ? 'a superuser'
      : operates
        ? 'as module_cache_operator'
        : writes
          ? 'as module_cache_writer'
          : 'as module_cache_reader';
    const figure = `${role} may ${may.join(', ') || 'do nothing'}${may.length === 0 ? '' : ` (${effective})`}`;
    if (may.length === 0 && usage && invalidates)
      return pass(`${role} may invalidate in its transactions, and nothing else`);
    if (may.length === 0)
      return fail(figure, `Grant it a role: grant module_cache_writer to "${role.replaceAll('"', '""')}"`);
    return may.length === 1
      ? warn(
          figure,
          'Enough to read; who produces needs module_cache_writer, and people who look need module_cache_operator.',
        )
      : pass(figure);
  },
};

const trackedTables: Check = {
  name: 'tracked tables',
  needsSchema: true,
  async run(patient) {
    const tables = await askJson<{ source: string; problem: string | null }[]>(patient, (sql) =>
      sql`select coalesce(json_agg(json_build_object('source', t.source::text, 'problem', t.problem)), '[]')::text
        from module_cache.tracked_tables t`.values(),
    );
    const bad = tables.filter(({ problem }) => problem !== null);
    if (bad.length === 0) return pass(plural(tables.length, 'table'));
    return warn(
      bad.map(({ source, problem }) => `${source}: ${problem}`).join('; '),
      'Call module_cache.track_table again with the same arguments, as the owner of the table.',
    );
  },
};

/** As far as this role may see them; those without their role only the owner of the schema sees. */
const privateRealms: Check = {
  name: 'private realms',
  needsSchema: true,
  async run(patient) {
    const realms = await askJson<{ realm: string; role: string; hasRole: boolean }[]>(patient, (sql) =>
      sql`select coalesce(json_agg(json_build_object('realm', p.realm_url, 'role', p.role_name, 'hasRole', p.has_role)), '[]')::text
        from module_cache.private_realms p`.values(),
    );
    const bad = realms.filter(({ hasRole }) => !hasRole);
    if (bad.length === 0) return pass(`${plural(realms.length, 'realm')} that this role may read`);
    return warn(
      bad.map(({ realm, role }) => `${realm} belongs to the role ${role}, which does not exist`).join('; '),
      'Nobody else can read it: create the role, or call module_cache.close_realm with another one.',
    );
  },
};

export const schemaChecks: readonly Check[] = [schema, rights, trackedTables, privateRealms];
