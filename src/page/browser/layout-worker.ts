import defaults from 'graphology-layout-forceatlas2/defaults.js';
import iterate from 'graphology-layout-forceatlas2/iterate.js';
import type { LayoutOrder, LayoutRequest, LayoutStep } from './layout.js';

/** ForceAtlas2 away from the page's own thread: it goes on until the time is over, and tells the places when asked. */

const NODE_FIELDS = 10;
const EDGE_FIELDS = 3;
/** How long it is deaf, in ms. */
const STEP_MS = 20;
const MAX_STEPS = 600;
/** The mean move of a node in one iteration, against the size of the graph, below which nobody sees it any more. */
const STILL = 2e-4;

interface WorkerScope {
  onmessage: ((event: MessageEvent<LayoutOrder>) => void) | null;
  postMessage(message: LayoutStep, transfer: Transferable[]): void;
}
const scope = self as unknown as WorkerScope;

let isAsked = true;

scope.onmessage = ({ data }) => {
  if (data === 'more') isAsked = true;
  else void run(data);
};

async function run({ positions, edges, budgetMs }: LayoutRequest): Promise<void> {
  const order = positions.length / 2;
  const nodes = new Float32Array(order * NODE_FIELDS);
  for (let node = 0; node < order; node += 1) {
    // x, y, four of its moves, mass, convergence, size, whether it is fixed
    nodes.set(
      [positions[2 * node] as number, positions[2 * node + 1] as number, 0, 0, 0, 0, 1, 1, 1, 0],
      node * NODE_FIELDS,
    );
  }
  const links = new Float32Array((edges.length / 2) * EDGE_FIELDS);
  for (let edge = 0; edge < edges.length / 2; edge += 1) {
    const [from, to] = [edges[2 * edge] as number, edges[2 * edge + 1] as number];
    links.set([from * NODE_FIELDS, to * NODE_FIELDS, 1], edge * EDGE_FIELDS);
    for (const node of [from, to])
      nodes[node * NODE_FIELDS + 6] = (nodes[node * NODE_FIELDS + 6] as number) + 1;
  }
  const settings = {
    ...defaults,
    barnesHutOptimize: order > 300,
    barnesHutTheta: 0.8,
    strongGravityMode: true,
    gravity: 0.05,
    scalingRatio: 10,
    slowDown: 1 + Math.log(order + 1),
  };
  const until = performance.now() + budgetMs;
  let steps = 0;
  let isDone = order === 0;
  while (!isDone) {
    const pauseAt = performance.now() + STEP_MS;
    let move = 0;
    do {
      move = moved(nodes, () => iterate(settings, nodes, links));
      steps += 1;
    } while (performance.now() < pauseAt);
    isDone = performance.now() >= until || steps >= MAX_STEPS || move < STILL;
    if (isAsked || isDone) send(nodes, isDone);
    isAsked = false;
    await new Promise((resolve) => setTimeout(resolve));
  }
}

/** How far a node has come in the mean, against the width of all. */
function moved(nodes: Float32Array, work: () => void): number {
  const before = nodes.slice();
  work();
  let sum = 0;
  let width = 1;
  for (let at = 0; at < nodes.length; at += NODE_FIELDS) {
    const [x, y] = [nodes[at] as number, nodes[at + 1] as number];
    sum += Math.hypot(x - (before[at] as number), y - (before[at + 1] as number));
    width = Math.max(width, Math.abs(x), Math.abs(y));
  }
  return sum / (nodes.length / NODE_FIELDS) / width;
}

function send(nodes: Float32Array, isDone: boolean): void {
  const positions = new Float32Array((nodes.length / NODE_FIELDS) * 2);
  for (let node = 0; node < positions.length / 2; node += 1) {
    positions[2 * node] = nodes[node * NODE_FIELDS] as number;
    positions[2 * node + 1] = nodes[node * NODE_FIELDS + 1] as number;
  }
  scope.postMessage({ positions, isDone }, [positions.buffer]);
}
