import type { Verdict } from '../checker.js';

/** What a run has shown, as text for people. */
export function reportOf(verdict: Verdict, command: string): string {
  const lines: string[] = [];
  const say = (line = ''): void => void lines.push(line);
  const n = (value: number): string => value.toLocaleString('en');
  const { reads, writes } = verdict;
  say(
    `seed ${verdict.seed}, ${n(Math.round(verdict.seconds))} s, ${n(verdict.operations)} operations, ${n(verdict.faults)} faults, ${n(verdict.violationCount)} violations`,
  );
  say();
  say(
    `reads        ${n(reads.bounded)} bounded, ${n(reads.strong)} strong, ${n(reads.causal)} causal, ${n(reads.quiet)} after quiet; of an older client: ${n(verdict.ofReleases)}; in memory, in vain: ${n(verdict.inVain)}`,
  );
  say(
    `writes       ${n(writes.committed)} committed, ${n(writes.rolledBack)} rolled back, ${n(writes.refused)} refused by Postgres, ${n(writes.unknown)} without an answer`,
  );
  say(
    `productions  ${n(verdict.productions)}; two of one module at once: ${verdict.duplicates.unexplained} (after an invalidation or a fault: ${verdict.duplicates.explained})`,
  );
  say();
  say('bounded reads by how long their answer had been outdated when they began');
  let sum = 0;
  const all = reads.bounded || 1;
  for (const { upToMs, reads: count } of verdict.staleness) {
    sum += count;
    const label =
      upToMs === 0 ? 'not at all' : upToMs === Number.POSITIVE_INFINITY ? 'longer' : `up to ${n(upToMs)} ms`;
    const rest = all - sum;
    // How many nines hold: 99.9 % are three.
    const nines = rest <= 0 ? 'all' : `${Math.max(0, -Math.log10(rest / all)).toFixed(1)} nines`;
    say(
      `  ${label.padEnd(16)} ${n(count).padStart(14)}   ${((100 * sum) / all).toFixed(5).padStart(9)} %   ${nines}`,
    );
  }
  say(`  longest          ${verdict.maxStalenessMs.toFixed(1)} ms`);
  if (verdict.recovery.size > 0) {
    say();
    say(`${'fault'.padEnd(56)} ${'times'.padStart(5)} ${'recovered p50'.padStart(14)} ${'max'.padStart(9)}`);
    for (const [kind, { count, recovered, failed }] of [...verdict.recovery].sort(([a], [b]) =>
      a.localeCompare(b),
    )) {
      recovered.sort((a, b) => a - b);
      const ms = (value: number | undefined): string =>
        value === undefined ? '-' : `${value.toFixed(0)} ms`;
      say(
        `${kind.padEnd(56)} ${String(count).padStart(5)} ${ms(recovered[recovered.length >> 1]).padStart(14)} ${ms(recovered.at(-1)).padStart(9)}${failed > 0 ? `   (not caused: ${failed})` : ''}`,
      );
    }
  }
  for (const [title, map] of [
    ['writes that Postgres refused', verdict.refused],
    ['reads that failed', verdict.failedReads],
  ] as const) {
    if (map.size === 0) continue;
    say();
    say(title);
    for (const [what, count] of [...map].sort(([, a], [, b]) => b - a).slice(0, 15))
      say(`  ${n(count).padStart(8)}  ${what.slice(0, 140)}`);
  }
  if (verdict.violationCount > 0) {
    say();
    say(`VIOLATIONS (${n(verdict.violationCount)}; the first ${verdict.violations.length} are shown)`);
    for (const { rule, at, detail, history } of verdict.violations) {
      say();
      say(`${rule}: at ${at.toFixed(2)} ms: ${detail}`);
      for (const line of history) say(`    ${line}`);
    }
    say();
    say(`once more: ${command}`);
  }
  return lines.join('\n');
}
