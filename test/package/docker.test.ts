import { cpSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { remove, repository, succeed, temporaryFolder } from './support/project.js';

const copy = (name: string, to: string): void => cpSync(join(repository, name), to, { recursive: true });

/** Scripts of the extension by name. */
const scripts = (folder: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(folder)
      .filter((name) => name.startsWith('module_cache'))
      .map((name) => [name, readFileSync(join(folder, name), 'utf8')]),
  );

test('the Postgres of docker-compose.yml gets the extension that make install installs', async () => {
  const folder = await temporaryFolder();
  try {
    const [made, copied, installed] = ['made', 'copied', 'installed'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    for (const name of ['Makefile', 'module_cache.control', 'sql', 'src']) copy(name, join(made, name));
    await succeed(made, 'make', ['extension']);

    copy('sql', copied);
    copy('module_cache.control', join(copied, 'module_cache.control'));
    mkdirSync(installed);
    const dockerfile = readFileSync(join(repository, 'docker/postgres.Dockerfile'), 'utf8');
    // The instruction goes on where a line ends in a backslash.
    const [, command = ''] = /^RUN (cd .*(?:(?<=\\)\n.*)*)/m.exec(dockerfile) ?? [];
    const here = command
      .replaceAll('/tmp/module_cache', copied)
      .replaceAll('/usr/share/postgresql/$PG_MAJOR/extension', installed);
    await succeed(folder, 'sh', ['-c', here]);
    expect(scripts(installed)).toEqual(scripts(made));
  } finally {
    await remove(folder);
  }
});
