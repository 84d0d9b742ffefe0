import type { Message } from './messages.js';

/** The open event streams (Server-Sent Events) of this process. */
export interface Viewers {
  /** There are as many as there may be. */
  readonly isFull: boolean;
  /** @returns the body of a response; there has to be room */
  add(first: () => Message): ReadableStream<Uint8Array<ArrayBuffer>>;
  /** The same bytes to all; who has not read what was sent before is cut off, and comes back for a snapshot. */
  send(message: Message | string): void;
  close(): void;
}

export interface ViewersOptions {
  readonly maxViewers: number;
  /** What may wait for one viewer, in bytes, apart from its first message. */
  readonly maxBytes: number;
  /** A stream ends after so many ms, so that who may no longer look is asked again who it is. */
  readonly maxAgeMs: number;
  readonly onFirst: () => void;
  readonly onNone: () => void;
}

/** How soon a browser comes back, in ms. */
const RETRY_MS = 1_000;

interface Viewer {
  readonly controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;
  /** What may be waiting without its being slow. */
  readonly allowedBytes: number;
  readonly since: number;
}

export function createViewers({ maxViewers, maxBytes, maxAgeMs, onFirst, onNone }: ViewersOptions): Viewers {
  const viewers = new Set<Viewer>();
  const encoder = new TextEncoder();
  // The JSON of Postgres has line breaks.
  const encode = (message: Message | string): Uint8Array<ArrayBuffer> =>
    encoder.encode(
      `data: ${typeof message === 'string' ? message.replaceAll('\n', ' ') : JSON.stringify(message)}\n\n`,
    );

  function remove(viewer: Viewer): void {
    if (viewers.delete(viewer) && viewers.size === 0) onNone();
  }

  function end(viewer: Viewer): void {
    remove(viewer);
    try {
      viewer.controller.close();
    } catch {
      // It has gone by itself.
    }
  }

  return {
    get isFull() {
      return viewers.size >= maxViewers;
    },
    add(first) {
      let viewer: Viewer;
      return new ReadableStream(
        {
          start(controller) {
            // Before the snapshot, which would be of when somebody last watched.
            if (viewers.size === 0) onFirst();
            const begin = encoder.encode(`retry: ${RETRY_MS}\n\n`);
            const snapshot = encode(first());
            controller.enqueue(begin);
            controller.enqueue(snapshot);
            viewer = {
              controller,
              allowedBytes: begin.byteLength + snapshot.byteLength + maxBytes,
              since: performance.now(),
            };
            viewers.add(viewer);
          },
          cancel: () => remove(viewer),
        },
        { highWaterMark: 0, size: (chunk) => chunk?.byteLength ?? 0 },
      );
    },
    send(message) {
      if (viewers.size === 0) return;
      const bytes = encode(message);
      for (const viewer of viewers) {
        const { controller, allowedBytes, since } = viewer;
        const waiting = -(controller.desiredSize ?? 0);
        if (waiting > allowedBytes || performance.now() - since > maxAgeMs) end(viewer);
        else controller.enqueue(bytes);
      }
    },
    close() {
      for (const viewer of viewers) end(viewer);
    },
  };
}
