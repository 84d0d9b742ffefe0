import { sqlFiles } from '../../src/schema/files.js';

/** A rule in sql/ that can be taken out: the test that it is there for has to notice. */
export interface Guard {
  /** Start of the file's name, for example `090`. */
  readonly file: string;
  /** Text of that file, exactly as it stands there. */
  readonly text: string;
  readonly without: string;
  /** How often the text stands there, if more than once. */
  readonly count?: number;
}

/** The files of sql/ as one script, with the guards taken out. Throws if one of them is not there. */
export function installScript(guards: readonly Guard[] = []): string {
  const files = sqlFiles().map(({ name, text }) => ({ name, text }));
  for (const { file, text, without, count = 1 } of guards) {
    const target = files.find(({ name }) => name.startsWith(file));
    const found = (target?.text.split(text).length ?? 0) - 1;
    if (target === undefined || found !== count) {
      throw new Error(`sql/${file}… holds this guard ${found} times instead of ${count}: ${text}`);
    }
    target.text = target.text.replaceAll(text, () => without);
  }
  return files.map(({ text }) => text).join('\n');
}
