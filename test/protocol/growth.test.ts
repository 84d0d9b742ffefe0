import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type ModuleCache, openModuleCache } from '../../src/index.js';
import { sqlFiles } from '../../src/schema/files.js';
import { connect, createDatabase, type TestDatabase } from '../support/database.js';
import { startServer, type TestServer } from '../support/server.js';

/**
 * Tables stay as small under churn as they were after a quarter of it: dead rows, indexes and bodies included. A server
 * of its own, whose autovacuum looks every second instead of every minute, as time is made to pass faster, too.
 */

const SECONDS = Number(process.env.CHURN_SECONDS ?? 48);
const WRITERS = 3;
const MODULES = 500;
/** Of 4 KB that cannot be compressed. */
const body = (): string => randomBytes(3_000).toString('base64');

let server: TestServer;
let db: TestDatabase;
let fleet: ModuleCache[];
beforeAll(async () => {
  server = await startServer({ settings: { autovacuum_naptime: 1 } });
  db = await createDatabase({ template: false, serverUrl: server.url });
  await db.sql.begin(async (tx) => {
    for (const { text } of sqlFiles()) await tx.unsafe(text);
  });
  fleet = await Promise.all(
    [1, 2].map(() => openModuleCache({ connection: db.url, garbage: { everyMs: 200 } })),
  );
}, 60_000);
afterAll(async () => {
  await Promise.all(fleet.map((cache) => cache.close()));
  await db.drop();
  await server.remove();
});

async function sizes(): Promise<Record<string, number>> {
  const rows = await db.sql<{ name: string; bytes: number }[]>`
    select relname as name, pg_total_relation_size(oid)::float8 as bytes from pg_class
    where relnamespace = 'module_cache'::regnamespace and relkind = 'r'`;
  return Object.fromEntries(rows.map(({ name, bytes }) => [name, bytes]));
}

test(
  'tables do not grow, however much is invalidated, stored and cleared',
  async () => {
    let stop = false;
    let written = 0;
    const warnings: unknown[] = [];
    const collected = { artifacts: 0, renewed: 0, generations: 0, invalidations: 0 };
    for (const cache of fleet) {
      cache.events.on('warning', (warning) => {
        if (warning.message.includes('garbage')) warnings.push(warning);
      });
      cache.events.on('collected', (counts) => {
        for (const [name, count] of Object.entries(counts)) collected[name as keyof typeof counts] += count;
      });
    }
    /** Modules come and go: each round has names of its own beside those that stay. */
    const write = async (n: number): Promise<void> => {
      const sql = connect(db.url, { max: 1 });
      const realm = `https://churn-${n}.example/`;
      for (let round = 0; !stop; round += 1) {
        const path = (i: number): string => (i % 5 === 0 ? `once/${round}/${i}.ts` : `m${i}.ts`);
        for (let i = 0; i < MODULES && !stop; i += 1) {
          await sql`
          select p.reason
          from module_cache.get(${realm}, ${path(i)}) g,
            module_cache.put(${realm}, ${path(i)}, 'transpile', '', ${body()}, '{}', array['base.ts'], g.token) p`;
          await sql`select module_cache.invalidate(${realm}, array[${path((i * 7) % MODULES)}])`;
          written += 1;
        }
        await sql`select module_cache.clear_realm(${realm})`;
      }
    };
    const work = Array.from({ length: WRITERS }, (_, n) => write(n));
    const began = performance.now();
    const seconds = (): number => (performance.now() - began) / 1_000;
    const samples: { at: number; written: number; bytes: Record<string, number> }[] = [];
    while (seconds() < SECONDS) {
      await db.sql`update module_cache._snapshots set taken_at = taken_at - interval '3 minutes'`;
      await new Promise((resolve) => setTimeout(resolve, 500));
      samples.push({ at: seconds(), written, bytes: await sizes() });
    }
    stop = true;
    await Promise.all(work);
    const largest = (from: number, to: number): Record<string, number> => {
      const most: Record<string, number> = {};
      for (const { at, bytes } of samples) {
        if (at < from || at >= to) continue;
        for (const [name, size] of Object.entries(bytes)) most[name] = Math.max(most[name] ?? 0, size);
      }
      return most;
    };
    const early = largest(0, SECONDS / 4);
    const late = largest((SECONDS * 3) / 4, SECONDS + 60);
    if (process.env.CHURN_SECONDS) console.log({ written, collected, early, late });
    // What is kept is kept for some time: on a machine that has become faster that is more.
    const writtenUntil = (at: number): number => samples.findLast((sample) => sample.at <= at)?.written ?? 0;
    const faster = (written - writtenUntil((SECONDS * 3) / 4)) / (writtenUntil(SECONDS / 4) || 1);
    const factor = 3 * Math.max(1, faster);
    expect(warnings).toEqual([]);
    expect(collected.invalidations).toBeGreaterThan(written / 2);
    for (const [name, bytes] of Object.entries(late)) {
      expect({ name, bytes, isBounded: bytes < factor * Math.max(early[name] as number, 300_000) }).toEqual({
        name,
        bytes,
        isBounded: true,
      });
    }
  },
  (SECONDS + 60) * 1_000,
);
