import type { Reached } from '../graph-model.js';
import { colour, prefersDark, prefersStillness } from './dom.js';

/** Where a node is on the canvas, in CSS pixels. */
export interface Place {
  readonly x: number;
  readonly y: number;
}

/** How long a wave takes from one module to its importers, and how long a module fades, in ms. */
const STEP_MS = 220;
const FADE_MS = 900;
/** Nodes of about the same brightness are drawn at once. */
const SHADES = 6;
const RADIUS_PX = 4;
const NAMED_RADIUS_PX = 8;

interface Lit {
  readonly from: number;
  readonly through: number;
  readonly isNamed: boolean;
}

/**
 * Lights nodes up on a canvas above the graph, which itself is not drawn anew for it. A node that several waves run
 * through is drawn once, so however many there are, a frame costs no more than the graph has nodes.
 */
export function createWaves(
  canvas: HTMLCanvasElement,
  placeOf: (index: number) => Place | undefined,
): { add(reached: readonly Reached[]): void; clear(): void } {
  const context = canvas.getContext('2d') as CanvasRenderingContext2D;
  const lit = new Map<number, Lit>();
  let isDrawing = false;
  let shade = colour('wave');
  prefersDark.addEventListener('change', () => {
    shade = colour('wave');
  });
  new ResizeObserver(fit).observe(canvas);

  function fit(): void {
    canvas.width = canvas.clientWidth * devicePixelRatio;
    canvas.height = canvas.clientHeight * devicePixelRatio;
  }

  function draw(now: number): void {
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    const shades: { readonly dots: Path2D; readonly lines: Path2D }[] = [];
    for (const [index, { from, through, isNamed }] of lit) {
      const age = (now - from) / FADE_MS;
      if (age >= 1) {
        lit.delete(index);
        continue;
      }
      const place = age < 0 ? undefined : placeOf(index);
      if (place === undefined) continue;
      const brightness = prefersStillness.matches ? SHADES - 1 : Math.floor((1 - age) * SHADES - 1e-9);
      shades[brightness] ??= { dots: new Path2D(), lines: new Path2D() };
      const { dots, lines } = shades[brightness];
      const radius = isNamed ? NAMED_RADIUS_PX : RADIUS_PX;
      dots.moveTo(place.x + radius, place.y);
      dots.arc(place.x, place.y, radius, 0, 2 * Math.PI);
      const origin = through < 0 ? undefined : placeOf(through);
      if (origin === undefined) continue;
      lines.moveTo(origin.x, origin.y);
      lines.lineTo(place.x, place.y);
    }
    context.fillStyle = shade;
    context.strokeStyle = shade;
    for (const [brightness, paths] of shades.entries()) {
      if (paths === undefined) continue;
      context.globalAlpha = (brightness + 1) / SHADES;
      context.stroke(paths.lines);
      context.fill(paths.dots);
    }
    context.globalAlpha = 1;
    isDrawing = lit.size > 0;
    if (isDrawing) requestAnimationFrame(draw);
  }

  function start(): void {
    if (isDrawing) return;
    isDrawing = true;
    requestAnimationFrame(draw);
  }

  return {
    add(reached) {
      const now = performance.now();
      for (const { index, distance, through } of reached) {
        const known = lit.get(index);
        // One that is about to light up does so, or waves in quick succession would put it off for ever.
        if (known !== undefined && known.from > now) continue;
        const from = prefersStillness.matches ? now : now + distance * STEP_MS;
        if (known !== undefined && from - known.from < FADE_MS && from > now) continue;
        lit.set(index, { from, through, isNamed: through < 0 });
      }
      start();
    },
    clear() {
      lit.clear();
      start();
    },
  };
}
