import { expect, test } from '@jest/globals';
import { sqlFiles } from '../../../src/schema/files.js';
import { createDatabase, type TestDatabase } from '../../support/database.js';

/** A rule in sql/ that can be taken out: the test that it is there for has to notice. */
export interface Guard {
  /** Start of the file's name, for example `090`. */
  readonly file: string;
  /** Text of that file, exactly as it stands there. */
  readonly text: string;
  readonly without: string;
  /** How often the text stands there, if more than once. */
  readonly count?: number;
}

/** The files of sql/ as one script, with the guards taken out. Throws if one of them is not there. */
export function installScript(guards: readonly Guard[] = []): string {
  const files = sqlFiles().map(({ name, text }) => ({ name, text }));
  for (const { file, text, without, count = 1 } of guards) {
    const target = files.find(({ name }) => name.startsWith(file));
    const found = (target?.text.split(text).length ?? 0) - 1;
    if (target === undefined || found !== count) {
      throw new Error(`sql/${file}… holds this guard ${found} times instead of ${count}: ${text}`);
    }
    target.text = target.text.replaceAll(text, () => without);
  }
  return files.map(({ text }) => text).join('\n');
}

/** A database with the schema, without these guards. */
export async function createUnguardedDatabase(
  guards: readonly Guard[],
  serverUrl = '',
): Promise<TestDatabase> {
  const script = installScript(guards);
  const database = await createDatabase({ template: false, serverUrl });
  try {
    await database.sql.begin((tx) => tx.unsafe(script));
    return database;
  } catch (error) {
    await database.drop();
    throw error;
  }
}

/**
 * A trap (DESIGN.md section 3): a scenario that has to go well, and that is seen to fail once its guard is taken out.
 */
export function trap(
  name: string,
  guard: Guard | readonly Guard[],
  scenario: (database: TestDatabase) => Promise<void>,
): void {
  const guards = Array.isArray(guard) ? (guard as Guard[]) : [guard as Guard];
  test(name, async () => {
    const database = await createDatabase();
    try {
      await scenario(database);
    } finally {
      await database.drop();
    }
  });
  test(`${name} (fails without its guard)`, async () => {
    const database = await createUnguardedDatabase(guards);
    try {
      const error = await scenario(database).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(Error);
      // It fails for what is missing, not because a script with a hole in it cannot run.
      expect(String((error as { code?: unknown }).code)).not.toMatch(/^42/);
      expect((error as Error).name).not.toMatch(/^(Reference|Type|Syntax)Error$/);
    } finally {
      await database.drop();
    }
  });
}
