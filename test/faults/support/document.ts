import { readFileSync, writeFileSync } from 'node:fs';

/** Replaces what stands in a Markdown file between `<!-- name -->` and the next `<!-- end -->`. */
export function putInto(file: string, name: string, text: string): void {
  const [before, rest] = readFileSync(file, 'utf8').split(`<!-- ${name} -->\n`);
  const after = rest?.split('<!-- end -->').slice(1).join('<!-- end -->');
  if (after === undefined) throw new Error(`${file} has no <!-- ${name} --> with an <!-- end --> behind it`);
  writeFileSync(file, `${before}<!-- ${name} -->\n\n${text}\n\n<!-- end -->${after}`);
}

/** The cells of each row of the table that stands there. */
export function rowsIn(file: string, name: string): string[][] {
  const [, rest = ''] = readFileSync(file, 'utf8').split(`<!-- ${name} -->\n`);
  return (rest.split('<!-- end -->')[0] as string)
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}
