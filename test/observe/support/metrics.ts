/** Figures of a scrape, from the text that Prometheus reads. */
export interface Figures {
  readonly names: readonly string[];
  /** Undefined if there is no such series. */
  get(name: string, labels?: Record<string, string>): number | undefined;
  all(name: string): { labels: Record<string, string>; value: number }[];
}

const line = /^([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (\S+)$/i;
const label = /([a-z_][a-z0-9_]*)="((?:[^"\\]|\\.)*)"/gi;

/** @throws if a line is neither a comment nor a series */
export function parseMetrics(text: string): Figures {
  const series = text
    .split('\n')
    .filter((row) => row !== '' && !row.startsWith('#'))
    .map((row) => {
      const parts = line.exec(row);
      if (parts === null) throw new Error(`not a line of metrics: ${row}`);
      const labels: Record<string, string> = {};
      for (const [, key, value] of (parts[2] ?? '').matchAll(label)) labels[key as string] = value as string;
      return { name: parts[1] as string, labels, value: Number(parts[3]) };
    });
  const key = (labels: Record<string, string>): string => JSON.stringify(Object.entries(labels).sort());
  return {
    names: [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name as string),
    get: (name, labels = {}) =>
      series.find((one) => one.name === name && key(one.labels) === key(labels))?.value,
    all: (name) => series.filter((one) => one.name === name).map(({ labels, value }) => ({ labels, value })),
  };
}
