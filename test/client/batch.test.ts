import { expect, test } from '@jest/globals';
import { type BatchContext, createBatchReads } from '../../src/batch.js';
import { createEmitter } from '../../src/events.js';
import { createJournal } from '../../src/journal.js';

test('a batch of which not all can begin leaves nothing on its way', async () => {
  const reads: Promise<unknown>[] = [];
  let seats = 0;
  const unexpected = (): never => {
    throw new Error('not to be called');
  };
  const context: Partial<BatchContext> = {
    pool: { run: unexpected },
    journal: createJournal(),
    events: createEmitter(),
    deadlineMs: 1_000,
    requireOpen: () => {},
    isStrong: async () => false,
    fromMemory: () => undefined,
    inGrace: () => undefined,
    board(_id, _alone, firstRead) {
      if (reads.length === 2) throw new Error('too many');
      reads.push(firstRead(new AbortController().signal).catch((error: unknown) => error));
      const join = () => {
        seats += 1;
        const leave = () => {
          seats -= 1;
        };
        return { result: new Promise<never>(() => {}), leave };
      };
      return [{ join } as unknown as ReturnType<BatchContext['board']>[0], false];
    },
  };
  const getMany = createBatchReads(context as BatchContext);
  const named = ['a.ts', 'b.ts', 'c.ts'].map((path) => ({ realm: 'https://a.example/', path }));
  const error = { message: 'too many' };
  await expect(getMany(named)).rejects.toMatchObject(error);
  expect(seats).toBe(0);
  expect(await Promise.all(reads)).toMatchObject([error, error]);
});
