import { type DatabaseOptions, print, withDatabase } from './database.js';

interface GcOptions extends DatabaseOptions {
  olderThan: string;
  batch: number;
}

export async function gcCommand(options: GcOptions): Promise<void> {
  await withDatabase(options, async (database) => {
    const total = { artifacts: 0n, renewed: 0n, generations: 0n, invalidations: 0n };
    for (let complete = false; !complete; ) {
      const [row] = await database.run(
        (sql) => sql`
        select artifacts, renewed, generations, invalidations, complete
        from module_cache.collect_garbage(${options.olderThan}::text::interval, ${options.batch})`,
      );
      if (row === undefined) break;
      let found = 0n;
      for (const name of Object.keys(total) as (keyof typeof total)[]) {
        total[name] += BigInt(row[name]);
        found += BigInt(row[name]);
      }
      // Not complete and nothing found: somebody else is collecting.
      complete = row.complete || found === 0n;
    }
    if (options.json) {
      print(JSON.stringify(total, (_, value) => (typeof value === 'bigint' ? Number(value) : value)));
      return;
    }
    print(
      `removed ${total.artifacts} artifacts, ${total.generations} generations, ${total.invalidations} log rows`,
    );
    print(`moved ${total.renewed} live artifacts to a newer snapshot`);
  });
}
