import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { describeMeasured, type Measured } from '../../src/cli/bench.js';
import { startProxy } from '../client/support/proxy.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { startBouncer } from '../support/pgbouncer.js';
import { cli } from '../support/serve.js';
import { until } from '../support/wait.js';
import { describeWith } from '../support/with-programs.js';
import { createLogin, run } from './support/run.js';

describe('module-cache bench', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase();
  });
  afterAll(() => database.drop());

  const live = () => database.sql`select canonical_path from module_cache.artifacts where status <> 'dead'`;
  const operations = ['select1', 'select', 'get', 'put', 'invalidate', 'notification'];

  test('measures each operation beside the simplest questions, and leaves nothing in the cache', async () => {
    const { code, stdout } = await run(['bench', '--quick', '--json', '--database-url', database.url]);
    expect(code).toBe(0);
    const { operations: rows } = JSON.parse(stdout) as { operations: Measured[] };
    expect(rows.map(({ operation }) => operation)).toEqual(operations);
    for (const { runs, ms, toSelect } of rows) {
      expect([runs > 4, ms > 0, toSelect > 0]).toEqual([true, true, true]);
    }
    expect(await database.sql`select from module_cache.artifacts`).toEqual([]);
  });

  test('Ctrl-C ends it at once, with 130, and cleans up as well; a writer is enough for that', async () => {
    const writer = await createLogin(database, 'writer');
    try {
      const child = spawn(process.execPath, [cli, 'bench', '--database-url', writer.url]);
      const ended = once(child, 'exit');
      await until(async () => (await live()).length > 0, { what: 'it has begun' });
      child.kill('SIGINT');
      expect(await ended).toEqual([130, null]);
      expect(await live()).toEqual([]);
    } finally {
      await writer.drop();
    }
  });

  test('a role that may not write is told so', async () => {
    const reader = await createLogin(database, 'reader');
    try {
      const { code, stderr } = await run(['bench', '--quick', '--database-url', reader.url]);
      expect([code, stderr]).toEqual([1, expect.stringMatching(/^module-cache: permission denied .*\n$/)]);
    } finally {
      await reader.drop();
    }
  });

  test('where notifications do not get through, it says what to add', async () => {
    const proxy = await startProxy(database.url, { deaf: true });
    try {
      const { code, stderr } = await run(['bench', '--quick', '--database-url', proxy.url]);
      expect([code, stderr]).toEqual([1, expect.stringMatching(/^module-cache: .*--listen-url.*\n$/)]);
      expect(await live()).toEqual([]);
    } finally {
      await proxy.close();
    }
  });

  test('says what is normal, and what is not', () => {
    const rows = operations.map((operation) => ({
      ...{ operation, runs: 9, ms: 0.2, toSelect1: 2, toSelect: operation === 'put' ? 20 : 1, usual: [1, 2] },
    })) as unknown as Measured[];
    const lines = describeMeasured(rows, 'nothing');
    expect(lines.join('\n')).toContain('Slower than usual: put, 5 dependencies.');
    expect(describeMeasured(rows.slice(0, 3), 'nothing').join('\n')).toContain('All is as usual.');
    expect(describeMeasured([{ ...(rows[0] as Measured), ms: 30 }], '').join('\n')).toContain(
      'more than a millisecond',
    );
  });

  describeWith('pgbouncer', 'through PgBouncer in transaction mode', () => {
    test('works with --listen-url', async () => {
      const bouncer = await startBouncer(database.url, { poolSize: 2 });
      try {
        const { code, stdout } = await run([
          ...['bench', '--quick', '--json', '--database-url', bouncer.url(database.url)],
          ...['--listen-url', database.url],
        ]);
        expect([code, JSON.parse(stdout).operations.length]).toEqual([0, operations.length]);
      } finally {
        await bouncer.stop();
      }
    });
  });
});
