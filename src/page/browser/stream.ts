import type { Message } from '../messages.js';
import { reasonOf } from './ask.js';

/** The server speaks every second. */
const SILENCE_MS = 30_000;
const RETRY_MS = 1_000;
const MAX_RETRY_MS = 15_000;

/**
 * Keeps a stream of events open while the page can be seen.
 *
 * @param onLost told why, if the server says so
 */
export function openStream(
  url: string,
  onMessage: (message: Message) => void,
  onLost: (reason: string | null) => void,
): void {
  let source: EventSource | undefined;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;
  let reason: string | null = null;

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
      reason = null;
      onMessage(JSON.parse(data) as Message);
    };
    opened.onerror = () => {
      onLost(reason);
      // Otherwise it comes back by itself.
      if (opened.readyState === EventSource.CLOSED) void reopen();
    };
  }

  async function reopen(): Promise<void> {
    close();
    onLost(reason);
    const { status } = await fetch(url, { method: 'HEAD' }).catch(() => ({ status: 0 }));
    // It wants to know again who this is.
    if (status === 401) {
      location.reload();
      return;
    }
    reason = status === 403 || status === 503 ? await askWhy() : null;
    onLost(reason);
    failures += 1;
    retry = setTimeout(open, Math.min(RETRY_MS * 2 ** failures, MAX_RETRY_MS));
  }

  /** The answer to HEAD has no words. */
  async function askWhy(): Promise<string | null> {
    const stop = new AbortController();
    try {
      const answer = await fetch(url, { signal: stop.signal });
      return answer.ok ? null : await reasonOf(answer);
    } catch {
      return null;
    } finally {
      stop.abort();
    }
  }

  document.addEventListener('visibilitychange', () => {
    if (document.hidden) close();
    else open();
  });
  addEventListener('pagehide', close);
  open();
}
