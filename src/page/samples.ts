import type { RateSample } from './messages.js';

const SAMPLES_MS = 15 * 60_000;

/** Those of the last 15 minutes. @param now ms since the epoch, by the clock of the samples */
export const recentSamples = (samples: readonly RateSample[], now: number): readonly RateSample[] =>
  samples.filter(({ at }) => at > now - SAMPLES_MS);
