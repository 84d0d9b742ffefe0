import uPlot from 'uplot';
import type { RateSample } from '../messages.js';
import { recentSamples } from '../samples.js';
import { byId, colour, perFrame, prefersDark } from './dom.js';
import { percent, timeOfDay } from './format.js';

const HEIGHT_PX = 190;
const LABEL_PX = 70;
const MIN_PERIOD_S = 60;

/** A line for what memory has answered, and one for what memory or the database has. */
export function createRates(): { show(samples: readonly RateSample[]): void; add(sample: RateSample): void } {
  const place = byId('rates');
  const now = byId('rates-now');
  let samples: readonly RateSample[] = [];

  /** A minute at least, which ends now if nothing is known yet; in s since the epoch. (One sample is years to uPlot.) */
  function period(): [number, number] {
    const [first, last] = [samples[0]?.at ?? Date.now(), samples.at(-1)?.at ?? Date.now()];
    return [Math.min(first / 1000, last / 1000 - MIN_PERIOD_S), last / 1000];
  }

  const axis = (): uPlot.Axis => ({
    stroke: () => colour('quiet'),
    grid: { stroke: () => colour('line'), width: 1 },
    ticks: { show: false },
  });
  const line = (label: string, name: string): uPlot.Series => ({
    label,
    stroke: () => colour(name),
    width: 2,
    points: { size: 5 },
  });
  const chart = new uPlot(
    {
      width: place.clientWidth || 300,
      height: HEIGHT_PX,
      scales: { x: { range: period }, y: { range: [0, 100] } },
      legend: { show: false },
      cursor: { show: false },
      axes: [
        { ...axis(), space: LABEL_PX, values: (_, times) => times.map((at) => timeOfDay(at * 1000)) },
        { ...axis(), size: 46, values: (_, values) => values.map((value) => `${value} %`) },
      ],
      series: [{ label: 'Time' }, line('Memory', 'memory'), line('Memory or database', 'cache')],
    },
    [[], [], []],
    place,
  );
  const draw = perFrame(() => {
    chart.setData([
      samples.map(({ at }) => at / 1000),
      samples.map(({ memory }) => memory),
      samples.map(({ cache }) => cache),
    ]);
    const last = samples.findLast(({ memory }) => memory !== null);
    now.textContent =
      last === undefined
        ? 'No reads yet since somebody watches.'
        : `${percent(last.memory)} from memory, ${percent(last.cache)} from memory or the database.`;
  });
  new ResizeObserver(() => chart.setSize({ width: place.clientWidth, height: HEIGHT_PX })).observe(place);
  prefersDark.addEventListener('change', () => chart.redraw());

  return {
    show(all) {
      samples = recentSamples(all, all.at(-1)?.at ?? 0);
      draw();
    },
    add(sample) {
      samples = recentSamples([...samples, sample], sample.at);
      draw();
    },
  };
}
