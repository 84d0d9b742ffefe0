/** Answers that all who ask for the same get together. */
export interface Shared {
  get(key: string): Promise<string>;
  /** Something has changed: nobody who asks from now on gets what was asked before. */
  outdate(): void;
}

export interface SharedOptions {
  /** How long an answer is given out after it has come, in ms. */
  readonly keepMs: number;
  readonly maxKept: number;
}

interface Entry {
  readonly answer: Promise<string>;
  hasBegun: boolean;
  isOutdated: boolean;
  settledAt?: number;
}

/** Asks one question at a time for each key, however slowly it is answered. */
export function createShared(
  ask: (key: string) => Promise<string>,
  { keepMs, maxKept }: SharedOptions,
): Shared {
  const entries = new Map<string, Entry>();

  const isGood = ({ settledAt, isOutdated }: Entry): boolean =>
    settledAt === undefined ? !isOutdated : performance.now() - settledAt < keepMs;

  function begin(key: string, before: Entry | undefined): Entry {
    const entry: Entry = { answer: run(), hasBegun: before === undefined, isOutdated: false };
    async function run(): Promise<string> {
      if (before !== undefined) {
        await before.answer.catch(() => {});
        entry.hasBegun = true;
      }
      return ask(key);
    }
    entry.answer.then(
      () => {
        entry.settledAt = performance.now();
        trim();
      },
      () => {
        if (entries.get(key) === entry) entries.delete(key);
      },
    );
    return entry;
  }

  function trim(): void {
    let many = entries.size;
    for (const [key, { settledAt }] of entries) {
      if (many <= maxKept) break;
      if (settledAt === undefined) continue;
      entries.delete(key);
      many -= 1;
    }
  }

  return {
    get(key) {
      const known = entries.get(key);
      if (known !== undefined && isGood(known)) return known.answer;
      const entry = begin(key, known?.settledAt === undefined ? known : undefined);
      entries.delete(key);
      entries.set(key, entry);
      return entry.answer;
    },
    outdate() {
      for (const [key, entry] of entries) {
        if (entry.settledAt !== undefined) entries.delete(key);
        else if (entry.hasBegun) entry.isOutdated = true;
      }
    },
  };
}
