import { disconnect, type TestDatabase } from '../../support/database.js';
import { type Session, session } from '../support/session.js';

/** Roles belong to the server, so those of a test have names of its run. */
export interface Logins {
  /** Creates a role that may log in, as a member of others. Resolves to its name. */
  create(name: string, memberOf?: readonly string[]): Promise<string>;
  /** Where it logs in; what is connected there is closed at the end. */
  urlOf(name: string): { url: string };
  as(name: string): Session;
  /** The name of the role in the server. */
  role(name: string): string;
  drop(): Promise<void>;
}

let runs = 0;

export function createLogins(db: TestDatabase, admin: Session): Logins {
  runs += 1;
  const suffix = `${process.pid}_${runs}`;
  const role = (name: string): string => `${name}_${suffix}`;
  const created: string[] = [];
  const urls = new Set<string>();
  function urlOf(name: string): { url: string } {
    const url = Object.assign(new URL(db.url), { username: role(name), password: 'secret' }).href;
    urls.add(url);
    return { url };
  }
  return {
    role,
    async create(name, memberOf = []) {
      await admin.run(`create role ${role(name)} login password 'secret'`);
      created.push(role(name));
      for (const other of memberOf) await admin.run(`grant ${other} to ${role(name)}`);
      return role(name);
    },
    urlOf,
    as: (name) => session(urlOf(name)),
    async drop() {
      for (const url of urls) await disconnect(url);
      for (const name of created) {
        await admin.run(`drop owned by ${name}`);
        await admin.run(`drop role ${name}`);
      }
    },
  };
}
