import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { disconnect, type TestDatabase } from '../../support/database.js';
import { cli } from '../../support/serve.js';

export interface Run {
  code: number;
  stdout: string;
  stderr: string;
}

/** Without what the one who runs the tests may have set for other purposes. */
const env = {
  ...process.env,
  ...{ DATABASE_URL: '', PGHOST: '', PGDATABASE: '', PGSERVICE: '', NO_COLOR: '' },
};

export function run(args: readonly string[], more: Record<string, string> = {}): Promise<Run> {
  return new Promise((resolve) => {
    execFile(process.execPath, [cli, ...args], { env: { ...env, ...more } }, (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : error ? 1 : 0, stdout, stderr }),
    );
  });
}

export interface Login {
  readonly name: string;
  readonly url: string;
  drop(): Promise<void>;
}

/** A role of its own that has only one of the product's roles, or none. */
export async function createLogin(
  { sql, url }: TestDatabase,
  role?: 'reader' | 'writer' | 'operator',
): Promise<Login> {
  const name = `login_${randomUUID().replaceAll('-', '')}`;
  await sql.unsafe(`create role ${name} login password 'secret'`);
  if (role !== undefined) await sql.unsafe(`grant module_cache_${role} to ${name}`);
  const own = Object.assign(new URL(url), { username: name, password: 'secret' }).href;
  return {
    name,
    url: own,
    async drop() {
      await disconnect(own);
      await sql.unsafe(`drop owned by ${name}; drop role ${name}`);
    },
  };
}
