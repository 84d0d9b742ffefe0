const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat('en', { timeStyle: 'medium', hourCycle: 'h23' });
const dated = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23' });

export const count = (value: number | null): string => (value === null ? '–' : whole.format(value));
export const decimal = (value: number): string => tenths.format(value);
export const percent = (value: number | null): string => (value === null ? '–' : `${tenths.format(value)} %`);
/** @param at ms since the epoch */
export const timeOfDay = (at: number): string => clock.format(at);

/** With its date, unless that is today's. */
export function time(at: string): string {
  const date = new Date(at);
  return (date.toDateString() === new Date().toDateString() ? clock : dated).format(date);
}

export function bytes(value: number | null): string {
  if (value === null) return '–';
  if (value < 1e3) return `${value} B`;
  return value < 1e6 ? `${tenths.format(value / 1e3)} kB` : `${tenths.format(value / 1e6)} MB`;
}

export function duration(ms: number): string {
  if (ms < 1e3) return `${whole.format(ms)} ms`;
  if (ms < 120e3) return `${tenths.format(ms / 1e3)} s`;
  return ms < 7_200e3 ? `${whole.format(ms / 60e3)} min` : `${whole.format(ms / 3_600e3)} h`;
}

export const plural = (value: number, one: string): string =>
  `${count(value)} ${one}${value === 1 ? '' : 's'}`;
