import { styleText } from 'node:util';

type Format = Parameters<typeof styleText>[0];

/** Puts colour around a text, or leaves it as it is. */
export type Style = (format: Format, text: string) => string;

export const plain: Style = (_, text) => text;

const coloured: Style = (format, text) => styleText(format, text, { validateStream: false });

interface Output {
  readonly isTTY?: boolean | undefined;
}

/**
 * Colours only on a terminal. As in Node itself FORCE_COLOR (0 or false: none) counts for more than NO_COLOR, and that
 * for more than the terminal. Not left to `styleText`, which asks differently in each version of Node.
 */
export function styleFor(output: Output, env: NodeJS.ProcessEnv = process.env): Style {
  const { FORCE_COLOR: forced, NO_COLOR: refused, TERM: terminal } = env;
  if (forced !== undefined) return forced === '0' || forced === 'false' ? plain : coloured;
  if (refused !== undefined && refused !== '') return plain;
  return output.isTTY === true && terminal !== 'dumb' ? coloured : plain;
}
