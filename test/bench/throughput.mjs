/*
 * What it costs to be observed, of the throughput that users have: modules over HTTP. `node test/bench/throughput.mjs
 * serve` compares `module-cache serve` with one worker, without page and metrics, with the same that has both, is
 * scraped every 5 s and watched by one browser. `… handler` compares an application that has OpenTelemetry and mounts
 * the handler with the same that also has all there is: metrics for Prometheus and OpenTelemetry, traces, a log, the
 * sampler of staleness and the page, scraped and watched as well. Takes three quarters of an hour each, with nothing but
 * Node, as long as nothing else wants the machine; runs on an embedded Postgres unless DATABASE_URL names one where
 * databases can be created.
 *
 * Two servers of each side are there at a time, each with a database and a copy of the modules (rxjs, 251) of its own.
 * They are loaded in turn, in slices of a quarter of a second: a fifth of the requests say what they have and are
 * answered with 304, and for each second of load there is an edit, of a module that nobody asks for: what is compiled
 * takes many times as long as all that is measured here, and never as long. After as much load as there is time between
 * two scrapes, so that each has one of all that happens, all of them are replaced: two processes that do the same differ
 * for as long as they live, and more servers tell more than more time. Of each such set is taken the ratio of the
 * processor time, of all processes and threads of a server, for a request; and the mean of the sets without the tenth at
 * either end, with its interval of 95 % (bootstrap). 1.02 is 2 % less throughput of a server that is busy. Beside it
 * stand the ratios of two servers that do not differ: what those are away from 1, neither can the other be told from 1
 * by. Requests per second say the same less exactly: the load and the database use the same machine.
 *
 * SETS says how long it takes, OBSERVED names some of "metrics page" or of "sampler prometheus opentelemetry logs
 * traces page".
 */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { get } from 'node:http';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import postgres from 'postgres';
import { startEmbeddedPostgres } from '../../dist/cli/embedded-postgres.js';
import { migrate } from '../../dist/schema/migrate.js';
import { openLoad } from './throughput-load.mjs';
import { ORDERS } from './turns.mjs';

const SETS = Number(process.env.SETS ?? 60);
const BOOTSTRAPS = 10_000;
/** At either end. */
const TRIMMED = 0.1;
const SLICE_MS = 250;
/** Of each server in a set: 5 s, after what makes it warm. */
const SLICES = 20;
const WARM_UP_SLICES = 10;
/** One edit in so many slices. */
const EDIT_SLICES = 4;
const EDITED = 'edited.ts';
const METRICS_PATH = '/-/metrics';
/** Of /proc. */
const TICK_MS = 10;
/** They change places with every set. */
const SIDES = ['plain', 'observed', 'observed', 'plain'];
const OTHER = { plain: 'observed', observed: 'plain' };
const PARTS = {
  serve: ['metrics', 'page'],
  handler: ['sampler', 'prometheus', 'opentelemetry', 'logs', 'traces', 'page'],
};

const kind = process.argv[2] ?? 'serve';
if (!(kind in PARTS)) throw new Error(`serve or handler, not ${kind}`);
const parts = process.env.OBSERVED?.split(/[\s,]+/) ?? PARTS[kind];
const local = (path) => fileURLToPath(new URL(path, import.meta.url));
const rxjs = join(dirname(createRequire(import.meta.url).resolve('rxjs/package.json')), 'src');
const paths = readdirSync(rxjs, { recursive: true })
  .map((path) => path.replaceAll('\\', '/'))
  .filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'))
  .sort();

// The name by which a run of the tests finds, and removes, what a killed one has left.
const folder = mkdtempSync(join(tmpdir(), `module-cache-test-${process.pid}-`));
chmodSync(folder, 0o755);
const embedded = process.env.DATABASE_URL
  ? undefined
  : await startEmbeddedPostgres({ dataDirectory: join(folder, 'server') });
const sql = postgres(process.env.DATABASE_URL ?? embedded.url, { max: 1, onnotice: () => {} });
const places = [];
const sets = [];
try {
  for (const index of SIDES.keys()) places.push(await preparePlace(index));
  for (let set = 0; set < SETS; set += 1) {
    const servers = [];
    try {
      for (const [index, place] of places.entries()) {
        const side = set % 2 === 0 ? SIDES[index] : OTHER[SIDES[index]];
        servers.push(await startServer({ ...place, side }, set));
      }
      for (let slice = 0; slice < WARM_UP_SLICES; slice += 1)
        for (const server of servers) await warmUp(server, slice);
      const figures = sidesOf(await measure(servers, set));
      sets.push(figures);
      tell(set, figures);
    } finally {
      for (const server of servers) await server.stop();
    }
  }
  report();
} finally {
  for (const { database } of places) await sql`drop database if exists ${sql(database)} with (force)`;
  await sql.end();
  await embedded?.stop();
  rmSync(folder, { recursive: true, force: true });
}

/** A database, so that no server hears of another's changes, and a copy of the modules. */
async function preparePlace(index) {
  const database = `bench_${randomUUID().replaceAll('-', '')}`;
  await sql`create database ${sql(database)}`;
  const url = new URL(process.env.DATABASE_URL ?? embedded.url);
  url.pathname = `/${database}`;
  await migrate({ databaseUrl: url.href });
  const modules = join(folder, `modules${index}`);
  cpSync(rxjs, modules, { recursive: true });
  return { index, database, databaseUrl: url.href, modules };
}

async function startServer(place, set) {
  const meters = join(folder, `${set}-${place.index}`);
  mkdirSync(meters);
  const program = (kind === 'serve' ? commandOf : applicationOf)(place);
  const child = spawn(
    process.execPath,
    ['--import', pathToFileURL(local('throughput-meter.mjs')).href, ...program],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, BENCH_METERS: meters },
    },
  );
  const lines = createInterface(child.stdout);
  const url = await new Promise((resolve, reject) => {
    lines.on('line', (line) => {
      const { event, url, message } = JSON.parse(line);
      if (event === 'ready') resolve(url);
      if (event === 'warning') console.log(`${place.side}: ${message}`);
    });
    child.once('exit', () => reject(new Error('a server ended')));
  });
  const load = await openLoad(url, paths);
  await load.askForAll();
  const watched = place.side === 'observed' && parts.includes('page') ? watchPage(url) : undefined;
  const sockets = await Promise.all(readdirSync(meters).map((name) => connectTo(join(meters, name))));
  return {
    place,
    load,
    url,
    isScraped: place.side === 'observed' && (parts.includes('metrics') || parts.includes('prometheus')),
    async scrape() {
      const response = await fetch(new URL(METRICS_PATH, url));
      const text = await response.text();
      if (!text.includes('module_cache_hits_total')) throw new Error(`no metrics: ${text}`);
    },
    /** Of the processor, in ms. */
    async used() {
      const used = await Promise.all(sockets.map((socket) => askMeter(socket)));
      return used.reduce((sum, time) => sum + time, 0) / 1000;
    },
    async stop() {
      watched?.destroy();
      load.close();
      for (const socket of sockets) socket.destroy();
      child.kill('SIGINT');
      if (child.exitCode === null) await once(child, 'exit');
    },
  };
}

function commandOf({ side, databaseUrl, modules }) {
  const args = ['serve', modules, '--database-url', databaseUrl, '--workers', '1', '--port', '0', '--json'];
  const has = (part) => side === 'observed' && parts.includes(part);
  if (has('metrics')) args.push('--metrics');
  args.push(has('page') ? '--page' : '--no-page');
  return [local('../../dist/cli/main.js'), ...args];
}

function applicationOf({ side, databaseUrl, modules }) {
  const realm = 'https://bench.example/';
  const own = side === 'observed' ? parts : [];
  return [local('throughput-app.mjs'), databaseUrl, modules, realm, METRICS_PATH, ...own];
}

/** What a browser does that shows the page: it reads on. */
function watchPage(url) {
  const request = get(new URL('/-/events', url), { agent: false }, (response) => {
    if (response.statusCode !== 200) throw new Error(`the page answered with ${response.statusCode}`);
    response.on('error', () => {}).resume();
  });
  return request.on('error', () => {});
}

async function connectTo(path) {
  const socket = connect(path);
  await once(socket, 'connect');
  return socket;
}

async function askMeter(socket) {
  socket.write('?');
  const [answer] = await once(socket, 'data');
  return Number(answer);
}

/** Of what happens once in a slice here the first time takes many times as long as the others. */
async function warmUp(server, slice) {
  edit(server.place.modules, -slice);
  await server.load.run(SLICE_MS, slice);
  if (server.isScraped) await server.scrape();
}

async function measure(servers, set) {
  const sums = servers.map(() => ({ count: 0, unchanged: 0, ms: 0, cpu: 0 }));
  const began = performance.now();
  const before = await backendTimes();
  for (let slice = 0; slice < SLICES; slice += 1) {
    const seed = set * SLICES + slice;
    for (const index of ORDERS[slice % ORDERS.length]) {
      const server = servers[index];
      const cpu = await server.used();
      const loaded = server.load.run(SLICE_MS, seed);
      if ((set + slice) % EDIT_SLICES === 0) edit(server.place.modules, seed);
      if (slice === set % SLICES) {
        await sleep(SLICE_MS / 4);
        // So that the request of a scrape is no other than what all get.
        await (await fetch(server.url)).text();
        if (server.isScraped) await server.scrape();
      }
      const { count, unchanged, ms } = await loaded;
      const sum = sums[index];
      sum.count += count;
      sum.unchanged += unchanged;
      sum.ms += ms;
      sum.cpu += (await server.used()) - cpu;
    }
  }
  const after = await backendTimes();
  const elapsed = performance.now() - began;
  return sums.map(({ count, unchanged, ms, cpu }, index) => ({
    side: servers[index].place.side,
    unchanged: unchanged / count,
    perSecond: (count / ms) * 1000,
    cpu: cpu / count,
    database: (after[index] - before[index]) / elapsed,
  }));
}

function edit(modules, number) {
  writeFileSync(join(modules, EDITED), `export const edited = ${number};\n`);
}

/** Of the processor, in ms, by the backends of each server; NaN where that cannot be seen. */
async function backendTimes() {
  const rows = await sql`select datname, pid from pg_stat_activity where datname is not null`;
  return places.map(({ database }) => {
    if (embedded === undefined || process.platform !== 'linux') return Number.NaN;
    return rows.filter(({ datname }) => datname === database).reduce((sum, { pid }) => sum + timeOf(pid), 0);
  });
}

function timeOf(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  } catch {
    return 0;
  }
}

/** Of one set: the servers of each side, in the order of their places. */
function sidesOf(figures) {
  const of = (side) => figures.filter((server) => server.side === side);
  return { plain: of('plain'), observed: of('observed') };
}

function mean(servers, key) {
  return servers.reduce((sum, server) => sum + server[key], 0) / servers.length;
}

function tell(set, { plain, observed }) {
  const ratio = mean(observed, 'cpu') / mean(plain, 'cpu');
  const times = (servers) => servers.map(({ cpu }) => (cpu * 1000).toFixed(1)).join(' ');
  console.log(
    `set ${set + 1}: ${ratio.toFixed(3)} (µs for a request: plain ${times(plain)}, observed ${times(observed)})`,
  );
}

function report() {
  console.log(`\n${kind}: ${parts.join(', ')}. Node ${process.version}, ${SETS} sets\n`);
  const lines = [['mean [95 %]', 'observed/plain', 'plain/plain', 'observed/observed']];
  for (const [what, key] of [
    ['processor time for a request', 'cpu'],
    ['requests per second', 'perSecond'],
  ]) {
    lines.push([
      what,
      estimate(({ plain, observed }) => mean(observed, key) / mean(plain, key)),
      estimate(({ plain: [one, other] }) => one[key] / other[key]),
      estimate(({ observed: [one, other] }) => one[key] / other[key]),
    ]);
  }
  for (const cells of lines)
    console.log(cells.map((cell, i) => (i === 0 ? cell.padEnd(30) : cell.padStart(24))).join(''));
  for (const side of ['plain', 'observed']) {
    const [cpu, perSecond, unchanged, database] = ['cpu', 'perSecond', 'unchanged', 'database'].map((key) =>
      trimmedMean(sets.map((set) => mean(set[side], key))),
    );
    console.log(
      `\n${side}: ${(cpu * 1000).toFixed(1)} µs for a request, ${perSecond.toFixed(0)} requests per second, ` +
        `${(unchanged * 100).toFixed(0)} % of them 304; its database: ${(database * 100).toFixed(1)} % of a core`,
    );
  }
}

/** Of a ratio that each set has, with its interval of 95 %. */
function estimate(ratioOf) {
  const logs = sets.map((set) => Math.log(ratioOf(set)));
  const pick = () => logs[Math.floor(Math.random() * logs.length)];
  const resampled = Array.from({ length: BOOTSTRAPS }, () => trimmedMean(logs.map(pick))).sort(
    (a, b) => a - b,
  );
  const at = (share) => resampled[Math.floor(share * (BOOTSTRAPS - 1))];
  const [ratio, low, high] = [trimmedMean(logs), at(0.025), at(0.975)].map((log) => Math.exp(log).toFixed(3));
  return `${ratio} [${low} ${high}]`;
}

function trimmedMean(values) {
  const cut = Math.floor(values.length * TRIMMED);
  const kept = [...values].sort((a, b) => a - b).slice(cut, values.length - cut);
  return kept.reduce((sum, value) => sum + value, 0) / kept.length;
}
