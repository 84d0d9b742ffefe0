import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * Builds src/ as it is, and beside it for each guard the files that lack it, in a folder that looks to them like the
 * package. A guard whose text is not there exactly once, or that leaves what does not compile, gets a `problem`.
 *
 * @returns the folder of the whole build
 */
export async function makeBuilds({ root, folder }, guards) {
  for (const name of ['package.json', 'node_modules', 'sql', 'migrations']) {
    symlinkSync(join(root, name), join(folder, name));
  }
  const sources = join(folder, 'sources');
  mkdirSync(sources);
  cpSync(join(root, 'src'), join(sources, '0'), { recursive: true });
  // For browsers: it has a configuration of its own, and no guard of the protocol.
  rmSync(join(sources, '0/page/browser'), { recursive: true });
  for (const [index, guard] of guards.entries()) {
    const number = String(index + 1);
    guard.build = join(folder, number);
    for (const { file, text, without } of [guard, guard.and ?? []].flat()) {
      const parts = readFileSync(join(root, file), 'utf8').split(text);
      const target = join(sources, number, file.replace(/^src\//, ''));
      if (parts.length !== 2) guard.problem = `${file} holds its text ${parts.length - 1} times`;
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, parts.join(without));
    }
  }
  const numbers = ['0', ...guards.map((_, index) => String(index + 1))];
  for (const line of (await compile({ root, folder }, numbers)).split('\n')) {
    const [, number] = /^sources[\\/](\d+)[\\/]/.exec(line) ?? [];
    if (number === '0' || (number === undefined && line.includes('error TS'))) throw new Error(line);
    if (number !== undefined) guards[number - 1].problem ??= `does not compile without it: ${line}`;
  }
  return join(folder, '0');
}

/** All at once, because starting the compiler is what takes long. Resolves to what it complains about. */
function compile({ root, folder }, numbers) {
  const compilerOptions = {
    noEmit: false,
    rootDir: 'sources',
    outDir: '.',
    // What lacks a guard imports all the rest from the first one.
    rootDirs: numbers.map((number) => join('sources', number)),
    // What only the guard needed may be left over.
    noUnusedLocals: false,
    noUnusedParameters: false,
  };
  const config = join(folder, 'tsconfig.json');
  const settings = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions,
    include: ['sources'],
    exclude: [],
  };
  writeFileSync(config, JSON.stringify(settings));
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  return new Promise((resolve, reject) => {
    const options = { cwd: folder, maxBuffer: 2 ** 26 };
    execFile(process.execPath, [compiler, '-p', config, '--pretty', 'false'], options, (error, stdout) => {
      // 1 and 2 are how it says that there is something to complain about.
      if (error !== null && typeof error.code !== 'number') reject(error);
      else resolve(stdout);
    });
  });
}
