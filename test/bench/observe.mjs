/*
 * What it costs to be observed: `node test/bench/observe.mjs`. Processes with one cache each, half of them with metrics for
 * Prometheus and OpenTelemetry, traces, logs and the sampler of staleness, take turns in one run. The ratio is the median
 * over rounds; 1.02 is 2 % less throughput of a loop that does nothing else, which says where a cost is: of what users
 * have, modules over HTTP, it is a small part (throughput.mjs). Beside it stands the same ratio for two processes that do
 * not differ: what it is away from 1 the machine cannot tell apart. FEATURES names some of "sampler prometheus
 * opentelemetry logs traces", ONLY some of the work. CPU time says more than elapsed time where others use the machine.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbeddedPostgres } from '../../dist/cli/embedded-postgres.js';
import { migrate } from '../../dist/schema/migrate.js';
import { ORDERS } from './turns.mjs';

const ROUNDS = Number(process.env.ROUNDS ?? 60);
const WARM_UP = 10;
/** Each pair is compared with itself by turns, and with the other one. */
const SIDES = ['plain', 'observed', 'observed', 'plain'];
const WORK = [
  { what: 'L1 hit, peek', name: 'peek', times: 20_000, unit: 'ns' },
  { what: 'L1 hit, get', name: 'get', times: 10_000, unit: 'ns' },
  { what: 'L1 hit, getOrProduce', name: 'getOrProduce', times: 10_000, unit: 'ns' },
  { what: '1,000 reads and a change', name: 'change', times: 4, unit: 'µs' },
  { what: 'L2 hit', name: 'read', times: 50, unit: 'µs' },
  { what: 'produce and put', name: 'produce', times: 20, unit: 'µs' },
];

const folder = mkdtempSync(join(tmpdir(), `module-cache-test-${process.pid}-`));
chmodSync(folder, 0o755);
const embedded = process.env.DATABASE_URL
  ? undefined
  : await startEmbeddedPostgres({ dataDirectory: join(folder, 'server') });
const databaseUrl = process.env.DATABASE_URL ?? embedded.url;
await migrate({ databaseUrl });
const peers = [];
try {
  for (const side of SIDES) peers.push(await startPeer(side));
  const rows = [];
  for (const work of WORK.filter(({ what }) => what.includes(process.env.ONLY ?? ''))) {
    rows.push(await compare(work));
  }
  console.log(`\nNode ${process.version}, medians of ${ROUNDS} rounds\n`);
  const head = ['what', 'plain', 'observed', 'ratio', 'control', 'CPU ratio', 'control'];
  for (const [what, ...cells] of [head, ...rows]) {
    console.log(what.padEnd(26) + cells.map((cell) => cell.padStart(11)).join(''));
  }
} finally {
  for (const { child } of peers) {
    child.send({ name: 'end' });
    await once(child, 'exit');
  }
  await embedded?.stop();
  rmSync(folder, { recursive: true, force: true });
}

async function startPeer(side) {
  const child = fork(new URL('observe-peer.mjs', import.meta.url), [side, databaseUrl]);
  await once(child, 'message');
  return { side, child };
}

async function compare({ what, name, times, unit }) {
  const rounds = [];
  for (let round = 0; round < WARM_UP + ROUNDS; round += 1) {
    const took = peers.map(() => ({ elapsed: 0, cpu: 0 }));
    for (const index of [0, 1].flatMap((turn) => ORDERS[(2 * round + turn) % ORDERS.length])) {
      const { child } = peers[index];
      child.send({ name, times });
      const [{ elapsed, cpu }] = await once(child, 'message');
      took[index].elapsed += elapsed / 2 / times;
      took[index].cpu += cpu / 2 / times;
    }
    if (round >= WARM_UP) rounds.push(took);
  }
  const medianOf = (figure) => median(rounds.map(figure));
  const scale = unit === 'ns' ? 1e6 : 1e3;
  const shown = (figure) => `${(medianOf(figure) * scale).toFixed(0)} ${unit}`;
  const ratios = (key) => [
    medianOf(([a, b, c, d]) => (b[key] + c[key]) / (a[key] + d[key])).toFixed(3),
    medianOf(([a, b, c, d]) => (a[key] + b[key]) / (c[key] + d[key])).toFixed(3),
  ];
  return [
    what,
    shown(([a, , , d]) => (a.elapsed + d.elapsed) / 2),
    shown(([, b, c]) => (b.elapsed + c.elapsed) / 2),
    ...ratios('elapsed'),
    ...ratios('cpu'),
  ];
}

function median(values) {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
}
