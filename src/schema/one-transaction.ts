import { createRequire } from 'node:module';

interface Client {
  query(text: unknown, ...rest: unknown[]): Promise<unknown>;
  release(destroy?: boolean): void;
}

interface Pool {
  connect(): Promise<Client>;
}

/** The pg that graphile-migrate uses, whichever copy that is. */
const pg = createRequire(createRequire(import.meta.url).resolve('graphile-migrate'))('pg') as {
  Pool: new (options: object) => Pool;
};

const NESTED: Readonly<Record<string, string>> = {
  begin: 'savepoint migration',
  commit: 'release savepoint migration',
  rollback: 'rollback to savepoint migration',
};

/**
 * graphile-migrate commits its own tables, then each migration: whoever is killed in between leaves a database that was
 * not asked for. Here its one connection is in a transaction from the beginning, and its transactions are savepoints in
 * that. It offers no place for this, so the pool that it opens is replaced: call this in a thread of its own.
 *
 * @param preparation is run first, in the same transaction
 * @throws the error of the query that failed first, in place of those that follow from it
 */
export async function inOneTransaction(preparation: string, work: () => Promise<void>): Promise<void> {
  let failure: unknown;
  let end = async (_statement: string): Promise<void> => {};
  pg.Pool = class extends pg.Pool {
    override async connect(): Promise<Client> {
      const client = await super.connect();
      const query = client.query.bind(client);
      const release = client.release.bind(client);
      end = async (statement) => {
        await query(statement);
        release(true);
      };
      await query(`begin; ${preparation}`);
      client.query = async (text, ...rest) => {
        try {
          return await query((typeof text === 'string' && NESTED[text]) || text, ...rest);
        } catch (error) {
          failure ??= error;
          throw error;
        }
      };
      client.release = () => {};
      return client;
    }
  };
  try {
    await work();
    await end('commit');
  } catch (error) {
    await end('rollback').catch(() => {});
    throw failure ?? error;
  }
}
