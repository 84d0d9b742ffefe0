import { afterEach, expect, test } from '@jest/globals';
import type { PageDatabase } from '../../src/page/database.js';
import type { Message, StatsRow } from '../../src/page/messages.js';
import { createPoller, type Poller } from '../../src/page/poller.js';
import { createViewers } from '../../src/page/viewers.js';
import { until } from '../support/wait.js';

/** What a viewer is told first, of a database that is none. */

const row = (l1Hits: number) => ({ l1Hits, l2Hits: 0, misses: 0 }) as StatsRow;

const invalidation = { id: '1', named: ['a.ts'] };

function open(): { poller: Poller; sent: (Message | string)[] } {
  const sent: (Message | string)[] = [];
  let counted = 0;
  const database = {
    fleet: async () => '{"peers":[],"claims":[]}',
    stats: async () => {
      counted += 1;
      return [row(counted)];
    },
    changesSince: async () => ({ cursor: 'c', complete: true, xids: [] }),
    invalidations: async () => [invalidation],
  } as unknown as PageDatabase;
  const poller = createPoller({ database, send: (message) => sent.push(message), onError: () => {} });
  stop = poller.stop;
  return { poller, sent };
}

let stop: (() => Promise<void>) | undefined;
const now = Date.now;
afterEach(async () => {
  Date.now = now;
  await stop?.();
});

test('who watches first after a while gets nothing of when somebody last did', async () => {
  const { poller, sent } = open();
  const viewers = createViewers({
    ...{ maxViewers: 10, maxBytes: 1_000, maxAgeMs: 60_000 },
    onFirst: poller.start,
    onNone: () => {},
  });
  const first = viewers.add(poller.snapshot).getReader();
  await until(() => sent.some((message) => (message as Message).type === 'stats'), { what: 'it has begun' });
  expect(poller.snapshot()).toMatchObject({ fleet: { peers: [] }, invalidations: [invalidation] });
  await first.cancel();
  await poller.stop();

  const again = viewers.add(poller.snapshot).getReader();
  let text = '';
  while (!text.includes('data: ')) text += new TextDecoder().decode((await again.read()).value);
  // No invalidation that is known is not the same as none.
  expect(JSON.parse(text.slice(text.indexOf('{')))).toMatchObject({
    ...{ type: 'snapshot', fleet: null, stats: null, invalidations: null, trouble: null },
  });
});

test('hit rates from long ago are not told', async () => {
  const { poller, sent } = open();
  poller.start();
  const isSample = (message: Message | string): boolean =>
    typeof message !== 'string' && message.type === 'stats' && message.sample !== null;
  await until(() => sent.some(isSample), { what: 'there is a sample' });
  const samples = (): number => (poller.snapshot() as { samples?: unknown[] }).samples?.length ?? 0;
  expect(samples()).toBe(1);
  await poller.stop();
  Date.now = () => now() + 16 * 60_000;
  poller.start();
  expect(samples()).toBe(0);
});
