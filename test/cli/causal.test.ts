import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createDatabase } from '../support/database.js';
import { type ModuleServer, type ServingProcess, startModuleServer } from '../support/serve.js';

const REALM = 'https://causal.example/';
/** `GETS=100000` by hand for more. */
const GETS = Number(process.env.GETS ?? 10_000);
const PROCESSES = 4;
const GETS_AFTER_A_WRITE = 40;
const MODULES = 8;
/** What the README promises for a read without a token: `maxStalenessMs`. */
const BOUND_MS = 5_000;

describe('reads that begin when a write was acknowledged', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let server: ModuleServer;
  let processes: ServingProcess[];
  let version = 0;

  beforeAll(async () => {
    database = await createDatabase();
    await database.sql`create table files (path text primary key, source text not null)`;
    for (let i = 0; i < MODULES; i += 1) {
      await database.sql`insert into files values (${`m${i}.ts`}, 'export const version: number = 0;')`;
    }
    server = await startModuleServer(
      ['--table', 'files', '--realm', REALM, '--database-url', database.url],
      PROCESSES,
    );
    processes = await server.processes();
  });
  afterAll(async () => {
    await server?.stop();
    await database.drop();
  });

  /** Resolves to the token of the transaction when it is committed. */
  async function write(path: string): Promise<{ version: number; token: string; at: number }> {
    version += 1;
    const source = `export const version: number = ${version};`;
    const [row] = await database.sql`
      with written as (update files set source = ${source} where path = ${path} returning path)
      select module_cache.coherence_token() as token from written`;
    return { version, token: row?.token, at: performance.now() };
  }
  const versionOf = (body: string): number => Number(/version = (\d+)/.exec(body)?.[1]);

  /** Writes and GETs by turns: after each write some GETs at once, spread over all processes. */
  async function race(
    gets: number,
    check: (
      written: Awaited<ReturnType<typeof write>>,
      process: ServingProcess,
      path: string,
    ) => Promise<void>,
  ): Promise<void> {
    for (let done = 0, turn = 0; done < gets; done += GETS_AFTER_A_WRITE, turn += 1) {
      const path = `m${turn % MODULES}.ts`;
      const written = await write(path);
      await Promise.all(
        Array.from({ length: GETS_AFTER_A_WRITE }, (_, index) =>
          check(written, processes[index % PROCESSES] as ServingProcess, path),
        ),
      );
    }
  }

  test(`with the token of the writer ${GETS} of them never get old bytes, from any process`, async () => {
    let answered = 0;
    await race(GETS, async (written, process, path) => {
      const { status, body } = await process.get(`/${path}`, { 'x-module-cache-after': written.token });
      expect([status, versionOf(body)]).toEqual([200, written.version]);
      answered += 1;
    });
    expect(answered).toBeGreaterThanOrEqual(GETS);
  }, 600_000);

  test('without it they are stale for less than the bound, and mostly not at all', async () => {
    /** For each write and process: how long after the commit the last read was sent that still got old bytes. */
    const staleMs: number[] = [];
    let reads = 0;
    for (let turn = 0; turn < GETS / 50; turn += 1) {
      const path = `m${turn % MODULES}.ts`;
      const written = await write(path);
      await Promise.all(
        processes.map(async (process) => {
          let lastOld = 0;
          for (;;) {
            const sentAt = performance.now();
            const { body } = await process.get(`/${path}`);
            reads += 1;
            if (versionOf(body) === written.version) break;
            lastOld = sentAt - written.at;
          }
          staleMs.push(lastOld);
        }),
      );
    }
    staleMs.sort((a, b) => a - b);
    const at = (share: number): string =>
      `${(staleMs[Math.floor(share * staleMs.length)] ?? 0).toFixed(2)} ms`;
    const stale = staleMs.filter((ms) => ms > 0).length;
    process.stdout.write(
      `${reads} reads without a token after ${staleMs.length / PROCESSES} writes: ${stale} of ${staleMs.length} times a process ` +
        `served old bytes after the commit; the last of them ${at(0.5)} after it at the median, ${at(0.99)} at p99, ` +
        `${(staleMs.at(-1) ?? 0).toFixed(2)} ms at most\n`,
    );
    expect(staleMs.at(-1) ?? 0).toBeLessThan(BOUND_MS);
  }, 600_000);

  test('a token that comes with an answer makes the next read at least as new, from any process', async () => {
    for (let turn = 0; turn < 50; turn += 1) {
      const { version: written, token } = await write('m0.ts');
      const [first, ...others] = processes as [ServingProcess, ...ServingProcess[]];
      const { headers } = await first.get('/m0.ts', { 'x-module-cache-after': token });
      const after = String(headers['x-module-cache-token']);
      expect(Buffer.byteLength(after)).toBeLessThan(100);
      for (const process of others) {
        const { body } = await process.get('/m0.ts', { 'x-module-cache-after': after });
        expect(versionOf(body)).toBeGreaterThanOrEqual(written);
      }
    }
  });

  test('trap: the etag is taken from one version and the body from the next', async () => {
    const bodyOf = new Map<string, string>();
    let isWriting = true;
    const writing = (async () => {
      while (isWriting) await write('m1.ts');
    })();
    try {
      await Promise.all(
        processes.map(async (process) => {
          for (let i = 0; i < 150; i += 1) {
            const { headers, body } = await process.get('/m1.ts');
            const etag = String(headers.etag);
            expect(bodyOf.get(etag) ?? body).toBe(body);
            bodyOf.set(etag, body);
          }
        }),
      );
    } finally {
      isWriting = false;
      await writing;
    }
    expect(bodyOf.size).toBeGreaterThan(1);
    expect(new Set(bodyOf.values()).size).toBe(bodyOf.size);
  });
});
