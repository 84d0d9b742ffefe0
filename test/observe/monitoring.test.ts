import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { parser } from '@prometheus-io/lezer-promql';
import { parse } from 'yaml';
import { INSTRUMENT_NAMES, type InstrumentName, instrument } from '../../src/observe/instruments.js';

const text = (name: string): string =>
  readFileSync(new URL(`../../docs/monitoring/${name}`, import.meta.url), 'utf8');

interface Rule {
  alert: string;
  expr: string;
  for?: string;
  labels: { severity: string };
  annotations: { summary: string; description: string };
}
interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  datasource?: { type: string; uid: string };
  targets?: { refId: string; expr: string; legendFormat: string }[];
}
interface Variable {
  name: string;
  type: string;
  definition?: string;
}

const alerts = parse(text('alerts.yml'), { strict: true, uniqueKeys: true }) as {
  groups: { name: string; rules: Rule[] }[];
};
const rules = alerts.groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(text('dashboard.json')) as {
  uid: string;
  title: string;
  schemaVersion: number;
  time: { from: string; to: string };
  templating: { list: Variable[] };
  panels: Panel[];
};
const targets = dashboard.panels.flatMap((panel) => panel.targets ?? []);
const queries: [string, string][] = [
  ...rules.map(({ alert, expr }): [string, string] => [alert, expr]),
  ...targets.map(({ expr }): [string, string] => [expr, expr]),
];

/** Series of a histogram have names of their own. */
function measured(name: string): { name: InstrumentName; suffix: string } | undefined {
  for (const known of INSTRUMENT_NAMES) {
    const suffixes = instrument(known).type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
    for (const suffix of suffixes)
      if (name === `module_cache_${known}${suffix}`) return { name: known, suffix };
  }
  return undefined;
}

/** What stands for itself in the syntax tree. */
function find(expr: string, kind: string): string[] {
  const found: string[] = [];
  parser.parse(expr).iterate({
    enter(node) {
      if (node.name === kind) found.push(expr.slice(node.from, node.to));
    },
  });
  return found;
}

/** Grafana puts a duration in the place of its variables before Prometheus sees them. */
const sent = (expr: string): string => expr.replaceAll(/\$__(rate_interval|range)/g, '5m');

describe('every query of the alerts and the dashboard', () => {
  test.each(queries)('%s', (_, expr) => {
    let errors = 0;
    parser.parse(sent(expr)).iterate({
      enter: (node) => {
        if (node.type.isError) errors += 1;
      },
    });
    expect([errors, sent(expr)]).toEqual([0, sent(expr)]);
    const names = find(sent(expr), 'VectorSelector').map(
      (selector) => /^[a-z0-9_]*/.exec(selector)?.[0] ?? '',
    );
    expect(names.length).toBeGreaterThan(0);
    const labels = new Set(['job', 'instance']);
    for (const name of names) {
      const series = measured(name);
      expect([name, series?.name]).toEqual([name, expect.any(String)]);
      for (const label of instrument(series?.name as InstrumentName).labels) labels.add(label);
      if (series?.suffix === '_bucket') labels.add('le');
    }
    for (const used of find(sent(expr), 'LabelName')) expect([...labels]).toContain(used);
  });
});

test('the alerts find what comes through OpenTelemetry as well, whose names are made of units', () => {
  const suffixes: Record<string, string> = { s: '_seconds', By: '_bytes' };
  for (const name of INSTRUMENT_NAMES) {
    const { type, unit } = instrument(name);
    // What is in braces says what is counted; a plain 1 would add _ratio.
    const suffix = /^\{[a-z]+\}$/.test(unit) ? '' : suffixes[unit];
    expect([name, unit, suffix]).toEqual([name, unit, expect.any(String)]);
    const plain = name.replace(/_(total|seconds|bytes)$/, '');
    expect(`${plain}${suffix}${type === 'counter' ? '_total' : ''}`).toBe(name);
  }
});

test('an alert has a name of its own, how bad it is, and what to do', () => {
  expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
  for (const { alert, labels, annotations, for: duration } of rules) {
    expect(alert).toMatch(/^ModuleCache[A-Z][A-Za-z]+$/);
    expect(['warning', 'critical']).toContain(labels.severity);
    expect(annotations.summary).toMatch(/\.$/);
    expect(annotations.description).toMatch(/\.$/);
    expect(duration ?? '1m').toMatch(/^\d+[mh]$/);
  }
});

test('the dashboard shows every metric there is', () => {
  const shown = new Set(
    targets
      .flatMap(({ expr }) => expr.match(/module_cache_[a-z0-9_]+/g) ?? [])
      .map((name) => measured(name)?.name),
  );
  expect([...shown].sort()).toEqual([...INSTRUMENT_NAMES].sort());
});

test('the dashboard is one that Grafana loads: panels with queries, side by side, from a source that can be chosen', () => {
  expect(dashboard).toMatchObject({
    uid: 'pg-module-cache',
    title: 'pg-module-cache',
    schemaVersion: 39,
    time: { from: expect.any(String), to: 'now' },
  });
  const { panels } = dashboard;
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  for (const { type, title, description, datasource, targets: own } of panels) {
    if (type === 'row') continue;
    expect(['timeseries', 'stat']).toContain(type);
    expect([title, description?.at(-1)]).toEqual([title, '.']);
    expect(datasource).toEqual({ type: 'prometheus', uid: '$'.concat('{datasource}') });
    expect(new Set(own?.map(({ refId }) => refId)).size).toBe(own?.length);
  }
  const taken = new Map<string, string>();
  for (const { title, gridPos } of panels) {
    expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
        expect([title, taken.get(`${x},${y}`)]).toEqual([title, undefined]);
        taken.set(`${x},${y}`, title);
      }
    }
  }
  const variables = dashboard.templating.list;
  expect(variables.map(({ name }) => name)).toEqual(['datasource', 'job', 'instance']);
  for (const { definition } of variables) {
    const name = /module_cache_[a-z0-9_]+/.exec(definition ?? 'module_cache_processes')?.[0] ?? '';
    expect(measured(name)).toBeDefined();
  }
  const known = new Set([...variables.map(({ name }) => name), '__rate_interval', '__range']);
  for (const { expr } of targets) {
    for (const [, name] of expr.matchAll(/\$\{?(\w+)/g)) expect([...known]).toContain(name);
  }
});
