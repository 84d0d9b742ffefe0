import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';

/**
 * Short runs of the fleet with fixed seeds. `npm run soak` runs longer ones.
 */
const SECONDS = Number(process.env.SOAK_SECONDS ?? 20);
const root = fileURLToPath(new URL('../..', import.meta.url));

interface Verdict {
  operations: number;
  faults: number;
  violationCount: number;
  violations: { rule: string; detail: string; history: string[] }[];
  reads: Record<string, number>;
  writes: Record<string, number>;
}

function soak(...args: string[]): Promise<Verdict> {
  const all = ['--import', 'tsx', 'test/faults/run.ts', '--json', '--peers', '4', ...args];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, all, { cwd: root, maxBuffer: 2 ** 28 }, (error, stdout, stderr) => {
      const line = stdout.split('\n').find((each) => each.startsWith('{'));
      if (line === undefined) reject(new Error(`no verdict: ${stderr || error?.message}`));
      else resolve(JSON.parse(line) as Verdict);
    });
  });
}

const window = ['--minutes', String(SECONDS / 60)];

describe('a fleet under faults', () => {
  test.each([
    ['notify', 1],
    ['log', 2],
  ])(
    'broadcast %s: nothing is ever wrong',
    async (broadcast, seed) => {
      const faults = [
        '--faults-per-minute',
        '60',
        '--faults',
        'peer,connections,pg_terminate,backend killed',
      ];
      const verdict = await soak('--seed', String(seed), '--broadcast', broadcast, ...window, ...faults);
      expect(verdict.violations).toEqual([]);
      // It was not idle.
      expect(verdict.faults).toBeGreaterThan(0);
      for (const mode of ['bounded', 'strong', 'causal', 'quiet'])
        expect(verdict.reads[mode]).toBeGreaterThan(0);
      expect(verdict.writes.committed).toBeGreaterThan(0);
    },
    300_000,
  );

  test('without the check at read the checker finds stale answers', async () => {
    const verdict = await soak(
      '--seed',
      '1',
      '--minutes',
      '0.3',
      '--faults',
      'none',
      '--without',
      'CHECK_AT_READ',
    );
    expect(verdict.violations.map(({ rule }) => rule)).toContainEqual(
      expect.stringMatching(/stale|sees what/),
    );
  }, 300_000);
});
