import { readFileSync, statSync } from 'node:fs';

/** The unprivileged user that the server runs as when this process is root, as which Postgres refuses to run. */
export interface ServerUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

const candidates = ['postgres', '_postgres', 'nobody'];

/**
 * The owner of an existing data folder, else a user that the machine has: accounts are the administrator's business,
 * so none is created. Null if this process is not root and the server can run as whoever runs it.
 */
export function chooseServerUser(dataFolder: string): ServerUser | null {
  if (process.getuid?.() !== 0) return null;
  const accounts = readAccounts();
  const owner = statSync(dataFolder, { throwIfNoEntry: false });
  if (owner !== undefined && owner.uid !== 0) {
    const name = accounts.find((account) => account.uid === owner.uid)?.name ?? String(owner.uid);
    return { name, uid: owner.uid, gid: owner.gid };
  }
  for (const name of candidates) {
    const account = accounts.find((each) => each.name === name);
    if (account !== undefined && account.uid !== 0) return account;
  }
  return { name: 'nobody', uid: 65534, gid: 65534 };
}

function readAccounts(): ServerUser[] {
  let passwd = '';
  try {
    passwd = readFileSync('/etc/passwd', 'utf8');
  } catch {
    // A minimal container may have none; numbers do as well.
  }
  return passwd.split('\n').flatMap((line) => {
    const [name, , uid, gid] = line.split(':');
    // macOS writes nobody as -2.
    return name && uid && gid ? [{ name, uid: Number(uid) >>> 0, gid: Number(gid) >>> 0 }] : [];
  });
}

/** Options for spawning as that user, from a folder and with an environment that it can use. */
export function spawnOptions(user: ServerUser | null): {
  uid?: number;
  gid?: number;
  cwd: string;
  env: NodeJS.ProcessEnv;
} {
  // PG* settings of the caller are meant for clients. A fixed locale keeps messages and sort order the same everywhere.
  const env: NodeJS.ProcessEnv = { LC_ALL: 'C' };
  for (const [name, value] of Object.entries(process.env)) {
    if (!/^(PG|LC_|LANG|NODE_)/.test(name)) env[name] = value;
  }
  return {
    ...(user === null ? {} : { uid: user.uid, gid: user.gid }),
    cwd: process.platform === 'win32' ? process.cwd() : '/',
    env,
  };
}
