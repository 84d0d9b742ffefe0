export interface LayoutRequest {
  /** x and y of each node. */
  readonly positions: Float32Array;
  readonly edges: Uint32Array;
  readonly budgetMs: number;
}

/** `more`: the places so far, please. */
export type LayoutOrder = LayoutRequest | 'more';

export interface LayoutStep {
  readonly positions: Float32Array;
  readonly isDone: boolean;
}

const BUDGET_MS = 4_000;
/** What has its places already needs less. */
const RENEWED_BUDGET_MS = 1_500;

/** Drawing takes at most such a part of the time, however slow it is: without a graphics card it can be a tenth of a second. */
const DRAWING_SHARE = 0.25;
const MIN_STEP_MS = 50;

/** What neither imports nor is imported would drift to the edge, and all else shrink: it stands in rows below. */
function alignLoners(positions: Float32Array, loners: readonly number[]): void {
  const alone = new Set(loners);
  const box = { left: Infinity, right: -Infinity, bottom: Infinity, top: -Infinity };
  for (let index = 0; index < positions.length / 2; index += 1) {
    if (alone.has(index)) continue;
    const [x, y] = [positions[2 * index] as number, positions[2 * index + 1] as number];
    box.left = Math.min(box.left, x);
    box.right = Math.max(box.right, x);
    box.bottom = Math.min(box.bottom, y);
    box.top = Math.max(box.top, y);
  }
  const width = box.right - box.left;
  if (!(width > 0)) return;
  const gap = Math.min(width / 30, width / Math.sqrt(2 * loners.length));
  const inRow = Math.max(1, Math.floor(width / gap));
  for (const [place, index] of loners.entries()) {
    positions[2 * index] = box.left + (place % inRow) * gap;
    positions[2 * index + 1] = box.bottom - gap * (2 + Math.floor(place / inRow));
  }
}

const askForMore = (worker: Worker, drawingMs: number): unknown =>
  setTimeout(
    () => worker.postMessage('more' satisfies LayoutOrder),
    Math.max(MIN_STEP_MS, drawingMs * (1 / DRAWING_SHARE - 1)),
  );

/** The frame after the next one begins when that has been drawn. */
const whenDrawn = (task: () => void): unknown =>
  requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(task)));

/** Lays the graph out in a worker, one graph at a time. */
export function createLayout(onStep: (positions: Float32Array) => void): {
  run(positions: Float32Array, edges: readonly number[], isRenewed: boolean): void;
  stop(): void;
} {
  let worker: Worker | undefined;
  return {
    run(positions, edges, isRenewed) {
      worker?.terminate();
      const started = new Worker('assets/layout-worker.js');
      worker = started;
      const joined = new Set(edges);
      const loners = Array.from({ length: positions.length / 2 }, (_, index) => index).filter(
        (index) => !joined.has(index),
      );
      started.onmessage = ({ data }: MessageEvent<LayoutStep>) => {
        if (worker !== started) return;
        const began = performance.now();
        alignLoners(data.positions, loners);
        onStep(data.positions);
        if (data.isDone) started.terminate();
        else whenDrawn(() => askForMore(started, performance.now() - began));
      };
      const request: LayoutOrder = {
        positions,
        edges: Uint32Array.from(edges),
        budgetMs: isRenewed ? RENEWED_BUDGET_MS : BUDGET_MS,
      };
      started.postMessage(request);
    },
    stop() {
      worker?.terminate();
      worker = undefined;
    },
  };
}
