import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { repository, succeed } from './support/project.js';

test('make help has one line for every target, also for those of PGXS', async () => {
  const makefile = readFileSync(join(repository, 'Makefile'), 'utf8');
  const targets = [
    ...[...makefile.matchAll(/^\.PHONY: (.*)$/gm)].flatMap(([, names]) => names?.split(' ') ?? []),
    ...(/^ifneq \(\$\(filter (.*),\$\(MAKECMDGOALS\)\),\)$/m.exec(makefile)?.[1]?.split(' ') ?? []),
  ];
  expect(targets).toEqual(expect.arrayContaining(['demo', 'help', 'install', 'uninstall']));
  const lines = (await succeed(repository, 'make', ['--no-print-directory', 'help'])).trimEnd().split('\n');
  const listed = lines.flatMap(
    (line) => /^ {2}(\S+(?:, \S+)*) {2,}\S/.exec(line)?.[1]?.split(', ') ?? [line],
  );
  expect(listed.sort()).toEqual(targets.sort());
});
