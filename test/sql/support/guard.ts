import { expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../../support/database.js';
import { type Guard, installScript } from '../../support/install-script.js';

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
