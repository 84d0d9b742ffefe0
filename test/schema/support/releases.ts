import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { committedMigrations, MIGRATIONS_FOLDER } from '../../../src/schema/files.js';

/** Makes `folder` the migrations folder of an earlier release: the one that had so many migrations. */
export function migrationsUpTo(count: number, folder: string): string {
  mkdirSync(folder, { recursive: true });
  cpSync(join(MIGRATIONS_FOLDER, 'committed'), join(folder, 'committed'), { recursive: true });
  for (const { name } of committedMigrations().slice(count)) rmSync(join(folder, 'committed', name));
  return folder;
}
