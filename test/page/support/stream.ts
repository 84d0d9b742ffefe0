import { until } from '../../support/wait.js';

// biome-ignore lint/suspicious/noExplicitAny: JSON of several shapes, looked into by tests alone
export type Event = any;

export interface Stream {
  /** All events since the beginning. */
  readonly events: readonly Event[];
  /** The first event of which this is true. */
  find(what: string, is: (event: Event) => boolean): Promise<Event>;
  readonly ended: Promise<void>;
  close(): Promise<void>;
}

/** Reads a stream of events as a browser would. */
export async function watch(url: string, init: RequestInit = {}): Promise<Stream> {
  const response = await fetch(new URL('events', url), init);
  if (!response.ok || response.body === null) throw new Error(`${response.status} ${await response.text()}`);
  const reader = response.body.getReader();
  const events: Event[] = [];
  let text = '';
  const read = async (): Promise<void> => {
    const decoder = new TextDecoder();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const blocks = (text + decoder.decode(part.value, { stream: true })).split('\n\n');
      text = blocks.pop() as string;
      for (const block of blocks) {
        const lines = block.split('\n').filter((line) => line.startsWith('data: '));
        if (lines.length > 0) events.push(JSON.parse(lines.map((line) => line.slice(6)).join('\n')));
      }
    }
  };
  const ended = read().catch(() => {});
  return {
    events,
    find: (what, is) => until(() => events.find(is), { timeoutMs: 20_000, what }),
    ended,
    close: () => reader.cancel().catch(() => {}),
  };
}
