import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Verdict } from '../checker.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));

/** Runs `npm run soak` with these arguments; rejects if it ends without a verdict. */
export function soak(...args: readonly string[]): Promise<Verdict> {
  const all = ['--import', 'tsx', 'test/faults/run.ts', '--json', ...args];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, all, { cwd: root, maxBuffer: 2 ** 28 }, (error, stdout, stderr) => {
      const line = stdout.split('\n').find((each) => each.startsWith('{'));
      if (line === undefined)
        reject(new Error(`the run ended without a verdict: ${stderr || error?.message}`));
      else resolve(JSON.parse(line) as Verdict);
    });
  });
}
