import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { testWith } from '../support/with-programs.js';
import { run } from './support/run.js';

function shell(name: string, script: string, cwd?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(name, ['-c', script], { cwd }, (error, stdout, stderr) =>
      error ? reject(new Error(`${error.message}: ${stderr}`)) : resolve(stdout),
    );
  });
}

describe('module-cache completion', () => {
  let folder: string;
  const scripts = new Map<string, string>();
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'module-cache-completion-'));
    await mkdir(join(folder, 'sources of mine'));
    await mkdir(join(folder, 'serve'));
    await writeFile(join(folder, 'map file.json'), '{}');
    for (const name of ['bash', 'zsh', 'fish']) {
      const { code, stdout } = await run(['completion', name]);
      expect(code).toBe(0);
      scripts.set(name, stdout);
      await writeFile(join(folder, `.${name}`), stdout);
    }
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** What bash itself would offer behind these words. */
  async function offered(...words: string[]): Promise<string[]> {
    const line = ['module-cache', ...words];
    const quoted = line.map((word) => `'${word}'`).join(' ');
    const script = `source .bash; COMP_WORDS=(${quoted}); COMP_CWORD=${line.length - 1}; _module_cache; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return (await shell('bash', script, folder)).split('\n').filter((word) => word !== '');
  }

  test('every command that --help names can be completed, with all of its options', async () => {
    const { stdout } = await run(['--help']);
    const commands = [...stdout.slice(stdout.indexOf('Commands:')).matchAll(/^ {2}([a-z]+)\b/gm)].map(
      ([, name]) => name as string,
    );
    expect(commands).toContain('explain');
    expect((await offered('')).sort()).toEqual(commands.filter((name) => name !== 'help').sort());
    for (const command of commands.filter((name) => name !== 'help')) {
      const help = (await run([command, '--help'])).stdout;
      const options = [...help.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm)].map(([, name]) => name as string);
      const words = await offered(command, '--');
      expect(words.filter((word) => word.startsWith('--')).sort()).toEqual(options.sort());
      for (const script of scripts.values()) {
        for (const option of options) expect(script).toContain(option.slice(2));
      }
    }
  });

  test('bash: beginnings, choices, folders and files, also with blanks and behind other options', async () => {
    expect(await offered('ex')).toEqual(['explain']);
    expect(await offered('--v')).toEqual(['--version']);
    expect(await offered('top', '--json', '--view', 'p')).toEqual(['peers', 'producing']);
    expect(await offered('completion', '')).toEqual(['bash', 'zsh', 'fish']);
    expect(await offered('serve', 's')).toEqual(expect.arrayContaining(['sources of mine', 'serve']));
    expect(await offered('serve', '--imports', 'm')).toEqual(['map file.json']);
    expect(await offered('invalidate', 'https://')).toEqual([]);
    expect(await offered('gc', '--batch', '')).toEqual([]);
  });

  test('bash takes the script as it is, under a strict shell', async () => {
    const script = `set -euo pipefail; eval "$(cat .bash)"; complete -p module-cache`;
    expect(await shell('bash', script, folder)).toContain('_module_cache');
  });

  testWith('zsh', 'zsh takes the script', async () => {
    const script = `autoload -Uz compinit; compinit -D -u; source .zsh; print $_comps[module-cache]`;
    expect(await shell('zsh', script, folder)).toBe('_module_cache\n');
  });

  testWith('fish', 'fish offers commands and options', async () => {
    const offer = (line: string) => shell('fish', `source .fish; complete -C '${line}'`, folder);
    expect(await offer('module-cache ex')).toMatch(/^explain\b/);
    expect(await offer('module-cache top --v')).toMatch(/^--view\b/m);
  });

  test('a shell that is none is misuse', async () => {
    const { code, stderr } = await run(['completion', 'tcsh']);
    expect([code, stderr]).toEqual([2, expect.stringContaining('bash')]);
  });
});
