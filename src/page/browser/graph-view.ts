import Graph from 'graphology';
import Sigma from 'sigma';
import type { NodeHoverDrawingFunction } from 'sigma/rendering';
import { EdgeLineProgram } from 'sigma/rendering';
import { type GraphModel, reach } from '../graph-model.js';
import type { InvalidationRow, ModuleStatus } from '../messages.js';
import { firstPlaces, keepPlaces, type Places } from '../places.js';
import { byId, colour, perFrame, prefersDark, prefersStillness } from './dom.js';
import { createLayout } from './layout.js';
import { createWaves, type Place } from './waves.js';

export interface GraphView {
  show(model: GraphModel): void;
  /** Lets a wave run through the modules that were reached. */
  invalidated(rows: readonly InvalidationRow[]): void;
  select(path: string | null): void;
  close(): void;
}

export interface GraphViewOptions {
  onSelect(realm: string, path: string): void;
  /** The browser has taken the graphics away: nothing is drawn any more. */
  onLost(): void;
  /** They can be had again, by another view. */
  onRestored(): void;
}

const ZOOM_MS = 250;
const STATUS_MS = 250;
const colours: Record<ModuleStatus, string> = { live: 'node-live', error: 'node-error', dead: 'node-dead' };

/**
 * The graph, drawn by WebGL.
 *
 * @throws Error if the browser has none
 */
export function createGraphView({ onSelect, onLost, onRestored }: GraphViewOptions): GraphView {
  const container = byId('graph');
  let model: GraphModel | undefined;
  let statuses: ModuleStatus[] = [];
  let selected: string | null = null;
  const places: Places = new Map();
  const changed = new Set<number>();
  const closing = new AbortController();
  const { signal } = closing;

  /** A graph is laid out about as wide as it is high; what it is shown in is not. */
  const stretch = Math.min(2, Math.max(1, container.clientWidth / container.clientHeight));
  const stretched = ({ x, y }: Place = { x: 0, y: 0 }): Place => ({ x: x * stretch, y });

  const palette = () => ({
    labelColor: { color: colour('text') },
    defaultEdgeColor: colour('edge'),
    defaultNodeColor: colour('node-live'),
  });
  const sigma: Sigma = new Sigma(new Graph(), container, {
    ...palette(),
    allowInvalidContainer: true,
    defaultEdgeType: 'line',
    edgeProgramClasses: { line: EdgeLineProgram },
    defaultDrawNodeHover: drawHover,
    labelFont: 'system-ui, sans-serif',
    labelSize: 12,
    labelRenderedSizeThreshold: 7,
    zIndex: true,
    edgeReducer: (edge, data) => {
      const isOfSelected = selected !== null && sigma.getGraph().hasExtremity(edge, selected);
      return isOfSelected ? { ...data, color: colour('accent'), zIndex: 1 } : data;
    },
    nodeReducer: (node, data) => (node === selected ? { ...data, highlighted: true, zIndex: 1 } : data),
  });
  const canvas = document.createElement('canvas');
  canvas.className = 'waves';
  container.append(canvas);
  const waves = createWaves(canvas, (index) => {
    const place = places.get(model?.paths[index] ?? '');
    return place && sigma.graphToViewport(stretched(place));
  });

  const layout = createLayout((positions) => {
    if (model === undefined) return;
    keepPlaces(model.paths, positions, places);
    sigma.getGraph().updateEachNodeAttributes(
      (path, attributes) => Object.assign(attributes, stretched(places.get(path))),
      // The reducers need not run again, nor anything but the places be read.
      { attributes: ['x', 'y'] },
    );
  });
  const drawStatuses = perFrame(() => {
    for (const index of changed) {
      const path = model?.paths[index];
      const status = statuses[index];
      if (path !== undefined && status !== undefined)
        sigma.getGraph().setNodeAttribute(path, 'color', colour(colours[status]));
    }
    changed.clear();
  }, STATUS_MS);

  function draw(): void {
    if (model === undefined) return;
    const graph = new Graph({ type: 'directed' });
    const shades = Object.fromEntries(
      Object.entries(colours).map(([status, name]) => [status, colour(name)]),
    );
    for (const [index, path] of model.paths.entries()) {
      const importers = model.dependents[index]?.length ?? 0;
      graph.addNode(path, {
        ...stretched(places.get(path)),
        label: path,
        size: 2 + 0.9 * Math.log2(1 + importers),
        color: shades[statuses[index] as ModuleStatus],
      });
    }
    const { paths, edges } = model;
    for (let edge = 0; edge < edges.length; edge += 2)
      graph.mergeDirectedEdge(paths[edges[edge] as number], paths[edges[edge + 1] as number]);
    sigma.setGraph(graph);
  }

  prefersDark.addEventListener(
    'change',
    () => {
      sigma.setSettings(palette());
      draw();
    },
    { signal },
  );
  const onContextLost = (event: Event): void => {
    // Or it would never be restored.
    event.preventDefault();
    onLost();
  };
  container.addEventListener('webglcontextlost', onContextLost, { capture: true, signal });
  container.addEventListener('webglcontextrestored', onRestored, { capture: true, signal });
  // The wheel, and one finger, move the page as anywhere else; with Ctrl, and with two, the graph.
  const leaveToPage = (event: WheelEvent | TouchEvent): void => {
    const isMeant = event instanceof WheelEvent ? event.ctrlKey : event.touches.length > 1;
    if (!isMeant) event.stopPropagation();
  };
  for (const name of ['wheel', 'touchstart', 'touchmove'] as const)
    container.addEventListener(name, leaveToPage, { capture: true, passive: true, signal });
  sigma.on('clickNode', ({ node }) => model !== undefined && onSelect(model.realm, node));
  const camera = sigma.getCamera();
  const move = () => ({ duration: prefersStillness.matches ? 0 : ZOOM_MS });
  byId('zoom-in').addEventListener('click', () => camera.animatedZoom(move()), { signal });
  byId('zoom-out').addEventListener('click', () => camera.animatedUnzoom(move()), { signal });
  byId('zoom-reset').addEventListener('click', () => camera.animatedReset(move()), { signal });

  function pathsOf(row: InvalidationRow, shown: GraphModel): readonly number[] {
    return row.named.flatMap((path) => shown.indexOf(path) ?? []);
  }

  function wave(row: InvalidationRow, shown: GraphModel): void {
    const isOfRealm = row.realm === shown.realm;
    if (row.scope !== 'module') {
      if (row.scope !== 'global' && !isOfRealm) return;
      const all = shown.paths.map((_, index) => ({ index, distance: 0, through: -1 }));
      for (const { index } of all) kill(index);
      waves.add(all);
      return;
    }
    if (!isOfRealm) return;
    const isWhole = row.reached.length === row.modules;
    const told = row.reached.flatMap((path) => shown.indexOf(path) ?? []);
    const named = pathsOf(row, shown);
    // A change of another realm, or of a module that has no artifact, begins at whoever it reached.
    const origins = named.length > 0 ? named : told;
    const reached = reach(shown, origins, isWhole ? new Set(told) : undefined);
    for (const { index } of reached) kill(index);
    waves.add(reached);
  }

  function kill(index: number): void {
    if (statuses[index] === 'dead') return;
    statuses[index] = 'dead';
    changed.add(index);
  }

  return {
    show(shown) {
      const hasSameNodes = model?.realm === shown.realm && isEqual(model.paths, shown.paths);
      if (model?.realm !== shown.realm) places.clear();
      if (!hasSameNodes) {
        // Both are by the positions of the nodes.
        waves.clear();
        changed.clear();
      }
      if (hasSameNodes && isEqual(model?.edges ?? [], shown.edges)) {
        for (const [index, status] of shown.statuses.entries())
          if (statuses[index] !== status) changed.add(index);
        model = shown;
        statuses = [...shown.statuses];
        drawStatuses();
        return;
      }
      const isRenewed = places.size > 0;
      model = shown;
      statuses = [...shown.statuses];
      const positions = firstPlaces(shown, places);
      draw();
      if (shown.paths.length === 0) layout.stop();
      else layout.run(positions, shown.edges, isRenewed);
    },
    invalidated(rows) {
      if (model === undefined) return;
      for (const row of rows) wave(row, model);
      if (changed.size > 0) drawStatuses();
    },
    select(path) {
      selected = path;
      sigma.refresh({ schedule: true });
    },
    close() {
      closing.abort();
      layout.stop();
      sigma.kill();
      container.replaceChildren();
    },
  };
}

const isEqual = (one: readonly unknown[], other: readonly unknown[]): boolean =>
  one.length === other.length && one.every((value, index) => value === other[index]);

/** The library's own is white, whatever the scheme. */
const drawHover: NodeHoverDrawingFunction = (context, { x, y, size, label, color }, settings) => {
  context.font = `600 ${settings.labelSize}px ${settings.labelFont}`;
  context.beginPath();
  context.arc(x, y, size + 3, 0, 2 * Math.PI);
  context.strokeStyle = colour('accent');
  context.lineWidth = 2;
  context.stroke();
  context.fillStyle = color;
  context.beginPath();
  context.arc(x, y, size, 0, 2 * Math.PI);
  context.fill();
  if (typeof label !== 'string') return;
  const width = context.measureText(label).width + 10;
  const height = settings.labelSize + 8;
  context.fillStyle = colour('surface');
  context.fillRect(x + size + 4, y - height / 2, width, height);
  context.strokeStyle = colour('line');
  context.strokeRect(x + size + 4, y - height / 2, width, height);
  context.fillStyle = colour('text');
  context.fillText(label, x + size + 9, y + settings.labelSize / 3);
};
