export interface ClientGuard {
  readonly name: string;
  readonly file: string;
  readonly text: string;
  readonly without: string;
  readonly test: { readonly file: string; readonly name: string };
  /** Set by makeBuilds: the folder with the files that lack it, or why there is none. */
  build?: string;
  problem?: string;
}

export const allGuards: readonly ClientGuard[];
