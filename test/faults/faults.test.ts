import { describe, expect, test } from '@jest/globals';
import { soak } from './support/soak.js';

/**
 * Short runs of the fleet with fixed seeds. `npm run soak` runs longer ones.
 */
const SECONDS = Number(process.env.SOAK_SECONDS ?? 20);
const window = ['--peers', '4', '--minutes', String(SECONDS / 60)];

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
      for (const mode of ['bounded', 'strong', 'causal', 'quiet'] as const)
        expect(verdict.reads[mode]).toBeGreaterThan(0);
      expect(verdict.writes.committed).toBeGreaterThan(0);
    },
    300_000,
  );

  test('without the check at read the checker finds stale answers', async () => {
    const verdict = await soak(
      '--seed',
      '1',
      '--peers',
      '4',
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
