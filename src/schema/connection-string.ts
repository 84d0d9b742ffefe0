import type { Sql } from 'postgres';

/** Ways of saying "encrypted, whoever it is" to postgres.js. */
const unverified: readonly unknown[] = ['require', 'allow', 'prefer'];

/**
 * The connection string by which `pg` reaches the server that postgres.js has reached: `pg` reads other environment
 * variables, takes other parameters, and understands `sslmode=require` as `verify-full`.
 */
export async function connectionStringOf(sql: Sql): Promise<string> {
  const { host, port, path, user, pass, database, ssl, connection } = sql.options;
  const url = new URL('postgres://localhost');
  url.username = encodeURIComponent(user);
  url.password = encodeURIComponent(pass ?? '');
  url.pathname = `/${encodeURIComponent(database)}`;
  if (path) {
    url.searchParams.set('host', path.slice(0, path.lastIndexOf('/')));
    url.searchParams.set('port', path.slice(path.lastIndexOf('.') + 1));
  } else {
    url.hostname = host[0]?.includes(':') ? `[${host[0]}]` : (host[0] ?? '');
    url.port = String(port[0]);
  }
  const { application_name, options, ...settings } = connection as Record<string, string | undefined>;
  const all = Object.entries(settings).map(([name, value]) => `-c ${name}=${escapeOption(String(value))}`);
  if (options) all.unshift(options);
  if (all.length > 0) url.searchParams.set('options', all.join(' '));
  if (application_name) url.searchParams.set('application_name', application_name);
  const [row] = await sql<{ ssl: boolean }[]>`select ssl from pg_stat_ssl where pid = pg_backend_pid()`;
  const mode = unverified.includes(ssl) ? 'no-verify' : 'verify-full';
  url.searchParams.set('sslmode', row?.ssl ? mode : 'disable');
  return url.href;
}

const escapeOption = (value: string): string => value.replace(/[\\\s]/g, '\\$&');
