import type { Message } from '../messages.js';

export type StreamState = 'live' | 'connecting';

/** The server speaks every second. */
const SILENCE_MS = 30_000;
const RETRY_MS = 1_000;
const MAX_RETRY_MS = 15_000;

/** Keeps a stream of events open while the page can be seen. */
export function openStream(
  url: string,
  onMessage: (message: Message) => void,
  onState: (state: StreamState) => void,
): void {
  let source: EventSource | undefined;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;

  function close(): void {
    source?.close();
    source = undefined;
    clearTimeout(silence);
    clearTimeout(retry);
  }

  function open(): void {
    close();
    if (document.hidden) return;
    const opened = new EventSource(url);
    source = opened;
    const listen = (): void => {
      clearTimeout(silence);
      silence = setTimeout(reopen, SILENCE_MS);
    };
    listen();
    opened.onmessage = ({ data }: MessageEvent<string>) => {
      listen();
      failures = 0;
      onState('live');
      onMessage(JSON.parse(data) as Message);
    };
    opened.onerror = () => {
      onState('connecting');
      // Otherwise it comes back by itself.
      if (opened.readyState === EventSource.CLOSED) void reopen();
    };
  }

  async function reopen(): Promise<void> {
    close();
    onState('connecting');
    const { status } = await fetch(url, { method: 'HEAD' }).catch(() => ({ status: 0 }));
    // It wants to know again who this is.
    if (status === 401) {
      location.reload();
      return;
    }
    failures += 1;
    retry = setTimeout(open, Math.min(RETRY_MS * 2 ** failures, MAX_RETRY_MS));
  }

  document.addEventListener('visibilitychange', () => {
    if (document.hidden) close();
    else open();
  });
  addEventListener('pagehide', close);
  open();
}
