import type { ClientGuard } from './guards.mjs';

export function makeBuilds(
  where: { root: string; folder: string },
  guards: readonly ClientGuard[],
): Promise<string>;
