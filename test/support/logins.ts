import { disconnect, type TestDatabase } from '../support/database.js';

/** Roles that may log in. They belong to the server, so those of a test have names of its run. */
export interface Logins {
  /** Creates one, as a member of other roles. Resolves to its name in the server. */
  create(name: string, memberOf?: readonly string[]): Promise<string>;
  /** Where it logs in; what is connected there by `connect` is closed at the end. */
  urlOf(name: string): { url: string };
  /** Its name in the server. */
  role(name: string): string;
  drop(): Promise<void>;
}

let runs = 0;

export function createLogins(db: TestDatabase): Logins {
  runs += 1;
  const suffix = `${process.pid}_${runs}`;
  const role = (name: string): string => `${name}_${suffix}`;
  const created: string[] = [];
  const urls = new Set<string>();
  return {
    role,
    async create(name, memberOf = []) {
      await db.sql.unsafe(`create role ${role(name)} login password 'secret'`);
      created.push(role(name));
      for (const other of memberOf) await db.sql.unsafe(`grant ${other} to ${role(name)}`);
      return role(name);
    },
    urlOf(name) {
      const url = Object.assign(new URL(db.url), { username: role(name), password: 'secret' }).href;
      urls.add(url);
      return { url };
    },
    async drop() {
      for (const url of urls) await disconnect(url);
      for (const name of created) await db.sql.unsafe(`drop owned by ${name}; drop role ${name}`);
    },
  };
}
