import { appendFile, cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { init, parse } from 'es-module-lexer';
import { createDatabase } from '../support/database.js';
import { type Answer, type ModuleServer, type ServingProcess, startModuleServer } from '../support/serve.js';

/** Real packages with deep import graphs, their TypeScript sources as they are published. */
describe.each(['rxjs', 'effect'])('the sources of %s, served by four processes', (name) => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let folder: string;
  let server: ModuleServer;
  let processes: ServingProcess[];
  let modules: string[];

  beforeAll(async () => {
    await init;
    database = await createDatabase();
    folder = await mkdtemp(join(tmpdir(), `module-cache-${name}-`));
    const root = dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
    await cp(join(root, 'src'), folder, { recursive: true });
    modules = (await readdir(folder, { recursive: true }))
      .map((file) => file.replaceAll('\\', '/'))
      .filter((file) => /\.[jt]s$/.test(file) && !file.endsWith('.d.ts'))
      .sort();
    server = await startModuleServer([folder, '--database-url', database.url]);
    processes = await server.processes();
  });
  afterAll(async () => {
    await server?.stop();
    await database.drop();
    await rm(folder, { recursive: true });
  });

  /** Every module through every process, each in another order. */
  async function load(): Promise<Map<string, Answer>[]> {
    return Promise.all(
      processes.map(async (process, index) => {
        const answers = new Map<string, Answer>();
        const first = Math.floor((index * modules.length) / processes.length);
        for (const path of [...modules.slice(first), ...modules.slice(0, first)]) {
          answers.set(path, await process.get(`/${path}`));
        }
        return answers;
      }),
    );
  }

  let loaded: Map<string, Answer>[];
  beforeEach(async () => {
    loaded ??= await load();
  });
  const count = (answers: Map<string, Answer>[], from: string): number =>
    answers.flatMap((each) => [...each.values()]).filter(({ headers }) => headers['x-module-cache'] === from)
      .length;

  test('each module is compiled once for all of them, and all serve the same bytes', () => {
    const [first, ...others] = loaded as [Map<string, Answer>, ...Map<string, Answer>[]];
    expect(modules.length).toBeGreaterThan(200);
    for (const [path, { status, headers, body }] of first) {
      expect([path, status]).toEqual([path, 200]);
      for (const other of others) {
        expect(other.get(path)).toMatchObject({ status: 200, body, headers: { etag: headers.etag } });
      }
    }
    expect(count(loaded, 'produced')).toBe(modules.length);
  });

  test('every import leads to a module, under the one URL that it has', () => {
    const served = new Set(modules);
    for (const [path, imports] of importsOf(loaded[0] as Map<string, Answer>)) {
      for (const target of imports) expect([path, target, served.has(target)]).toEqual([path, target, true]);
    }
  });

  test('an edit of the most imported module outdates exactly it and its transitive importers', async () => {
    const importers = new Map<string, Set<string>>();
    for (const [path, imports] of importsOf(loaded[0] as Map<string, Answer>)) {
      for (const target of imports) importers.set(target, (importers.get(target) ?? new Set()).add(path));
    }
    const [most] = [...importers].sort(([, a], [, b]) => b.size - a.size)[0] as [string, Set<string>];
    const reached = new Set([most]);
    for (const path of reached) for (const importer of importers.get(path) ?? []) reached.add(importer);

    const from = server.events.length;
    await appendFile(join(folder, most), '\nexport const edited = true;\n');
    const event = await server.next('invalidated', from);
    expect(event.changed).toEqual([most]);
    expect([...event.modules].sort()).toEqual([...reached].sort());
    expect(reached.size).toBeLessThan(modules.length);

    const again = await load();
    expect(count(again, 'produced')).toBe(reached.size);
    for (const answers of again) expect(answers.get(most)?.body).toContain('edited = true');
    expect(await readFile(join(folder, most), 'utf8')).toContain('edited = true');
  });
});

/** The graph as an engine sees it: by a lexer of JavaScript, from what was served. Paths without leading slash. */
function importsOf(answers: Map<string, Answer>): Map<string, string[]> {
  return new Map(
    [...answers].map(([path, { body }]) => [
      path,
      parse(body)[0].flatMap(({ specifier }) =>
        specifier?.startsWith('.') ? [posix.join(posix.dirname(path), decodeURIComponent(specifier))] : [],
      ),
    ]),
  );
}
