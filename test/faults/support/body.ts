/** The text of an artifact says what it was made of, so that whoever gets it can tell. */
export interface Body {
  artifact: number;
  module: number;
  /** [thing, version] of everything that was read. */
  parts: [number, number][];
  /** Whether the parts were read in more than one snapshot. */
  split: boolean;
}

const filler = (artifact: number, length: number): string =>
  String(artifact)
    .repeat(Math.ceil(length / 6))
    .slice(0, length);

export function bodyOf({ artifact, module, parts, split }: Body, length: number): string {
  const list = parts.map((part) => part.join(':')).join(',');
  return [artifact, module, split ? 's' : '', list, length, filler(artifact, length)].join(';');
}

/** Without reading all of it. */
export const idOf = (body: string): number => Number.parseInt(body, 10);

/** Undefined if it is not whole. */
export function parseBody(body: string): Body | undefined {
  const [artifact, module, split, list, length, rest] = body.split(';');
  if (rest === undefined || rest !== filler(Number(artifact), Number(length))) return undefined;
  return {
    artifact: Number(artifact),
    module: Number(module),
    split: split === 's',
    parts: (list as string).split(',').map((part) => part.split(':').map(Number) as [number, number]),
  };
}
