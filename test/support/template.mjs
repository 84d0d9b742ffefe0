import postgres from 'postgres';
import { sqlFiles } from '../../dist/schema/files.js';

/** A database with the schema of sql/, which is there anew and has no connections. */
export async function createTemplate(serverUrl, name) {
  const admin = postgres(serverUrl, { max: 1, onnotice: () => {} });
  await admin`drop database if exists ${admin(name)}`;
  await admin`create database ${admin(name)}`;
  await admin.end();
  const url = Object.assign(new URL(serverUrl), { pathname: `/${name}` }).href;
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    await sql.begin(async (tx) => {
      for (const file of sqlFiles()) await tx.unsafe(file.text).catch((error) => throwAt(file, error));
    });
  } finally {
    await sql.end();
  }
}

function throwAt({ name, text }, error) {
  const line = text.slice(0, Number(error.position ?? 0)).split('\n').length;
  throw new Error(`sql/${name}:${line}: ${error.message}`, { cause: error });
}

export async function dropTemplate(serverUrl, name) {
  const admin = postgres(serverUrl, { max: 1, onnotice: () => {} });
  await admin`drop database if exists ${admin(name)} with (force)`;
  await admin.end();
}
