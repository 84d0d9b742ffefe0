/*
 * In what order four processes take their turns: nobody follows itself, which would find the caches of the processor
 * warm, and nobody always the same one.
 */
export const ORDERS = [
  [0, 1, 2, 3],
  [1, 3, 0, 2],
  [3, 2, 1, 0],
  [2, 0, 3, 1],
];
