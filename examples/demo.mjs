/*
 * The main job from end to end, on real input: four processes serve the TypeScript sources of rxjs from one cache in
 * an embedded Postgres. Each loads the whole module graph, then one module is edited. Run it with `make demo`;
 * `make demo KEEP=1` goes on serving.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { Agent, get } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { init, parse } from 'es-module-lexer';

const WORKERS = 4;
const EDITED = 'internal/Observable.ts';
const MARK = '__edited_by_the_demo__';

const rxjs = join(dirname(createRequire(import.meta.url).resolve('rxjs/package.json')), 'src');
const folder = await mkdtemp(join(tmpdir(), 'module-cache-demo-'));
await cp(rxjs, folder, { recursive: true });
await init;

const server = await startServer();
try {
  await demonstrate();
  if (process.env.KEEP) {
    console.log(`\nStill serving ${folder} at ${server.url}; Ctrl-C stops.`);
    await new Promise((resolve) => process.once('SIGINT', resolve));
  }
} finally {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}

async function demonstrate() {
  const peers = await connectToEach(WORKERS);
  console.log(`\nLoading the module graph through each of the ${WORKERS} processes, all at once …`);
  const cold = newCounts();
  const graphs = await Promise.all(peers.map((peer) => load(peer, cold)));
  const modules = graphs[0].size;
  check(
    graphs.every((graph) => graph.size === modules),
    'all processes serve the same graph',
  );
  check(
    cold.produced === modules,
    `the fleet compiled each of the ${modules} modules once (${cold.produced} productions)`,
  );

  const warm = newCounts();
  for (const peer of peers) await load(peer, warm);
  check(warm.produced === 0, 'the second time nobody compiled anything');

  console.log(`\nEditing ${EDITED} …`);
  const invalidated = server.next('invalidated');
  await appendFile(join(folder, EDITED), `\nexport const ${MARK} = true;\n`);
  const event = await invalidated;
  const after = newCounts();
  const bodies = await Promise.all(peers.map((peer) => fetchModule(peer, `/${EDITED}`, after)));
  check(
    bodies.every(({ body }) => body.includes(MARK)),
    `all ${WORKERS} processes serve the new code`,
  );
  for (const peer of peers) await load(peer, after);
  check(
    after.produced === event.modules.length,
    `the edit outdated ${event.modules.length} modules (it and its importers), and each was compiled once again`,
  );

  print([
    ['', 'modules', 'requests', 'compiled', 'coalesced', 'L1', 'L2'],
    ['first load, cold', modules, ...cells(cold)],
    ['second load', modules, ...cells(warm)],
    ['after the edit', modules, ...cells(after)],
  ]);
  console.log(
    `\nFrom the call that invalidates until the last of ${WORKERS} processes was coherent: ${event.coherentMs.toFixed(1)} ms` +
      ` (the commit itself took ${event.ms.toFixed(1)} ms).`,
  );
}

/** Starts `module-cache serve` as a user would, and follows what it reports. */
async function startServer() {
  const cli = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
  // A group of its own: Ctrl-C in the terminal is for this script, which then stops the server.
  const child = spawn(
    process.execPath,
    [cli, 'serve', folder, '--workers', String(WORKERS), '--port', '0', '--json'],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    },
  );
  process.on('exit', () => child.exitCode ?? child.kill('SIGKILL'));
  const ended = once(child, 'exit');
  const waiting = new Map();
  createInterface(child.stdout).on('line', (line) => {
    const event = JSON.parse(line);
    if (event.event === 'database') {
      const where = event.embedded ? `embedded Postgres ${event.version}` : event.url;
      console.log(`database ${where}${event.embedded ? `, started in ${event.ms} ms` : ''}`);
    }
    if (event.event === 'warning') console.log(`warning: ${event.message}`);
    waiting.get(event.event)?.(event);
    waiting.delete(event.event);
  });
  const next = (name) =>
    Promise.race([
      new Promise((resolve) => waiting.set(name, resolve)),
      ended.then(() => Promise.reject(new Error('the server ended'))),
    ]);
  const { url, workers } = await next('ready');
  console.log(`serving  ${url} from ${workers} processes`);
  return {
    url,
    next,
    async stop() {
      child.kill('SIGINT');
      const [code] = await ended;
      check(code === 0, 'the server stopped cleanly');
    },
  };
}

/** One connection to each process; the operating system's connections are dealt to the processes in turn. */
async function connectToEach(count) {
  const peers = new Map();
  for (let attempt = 0; peers.size < count && attempt < 20 * count; attempt += 1) {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const { peer } = await request(agent, '/which-process-answers');
    if (peers.has(peer)) agent.destroy();
    else peers.set(peer, agent);
  }
  process.on('exit', () => {
    for (const agent of peers.values()) agent.destroy();
  });
  check(peers.size === count, `${count} processes answer on one port`);
  return [...peers.values()];
}

/** Follows the imports from every entry point, as a browser does. Resolves to the canonical URLs of all modules. */
async function load(agent, counts) {
  const entries = (await readdir(folder, { recursive: true })).filter((name) =>
    /(^|\/)(index|umd|Rx\.global)\.[jt]s$/.test(name),
  );
  const seen = new Set();
  const queue = entries.map((name) => `/${name}`);
  const canonical = new Set();
  while (queue.length > 0) {
    const path = queue.shift();
    if (seen.has(path)) continue;
    seen.add(path);
    const { body, etag } = await fetchModule(agent, path, counts);
    canonical.add(etag);
    for (const { specifier } of parse(body)[0]) {
      if (specifier?.startsWith('.'))
        queue.push(new URL(specifier, `${server.url}${path.slice(1)}`).pathname);
    }
  }
  return canonical;
}

async function fetchModule(agent, path, counts) {
  const response = await request(agent, path);
  if (response.status !== 200) throw new Error(`${path}: ${response.status} ${response.body}`);
  counts.requests += 1;
  counts[response.from] += 1;
  return response;
}

function request(agent, path) {
  return new Promise((resolve, reject) => {
    get(new URL(path, server.url), { agent }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () =>
        resolve({
          status: response.statusCode,
          body: Buffer.concat(chunks).toString(),
          etag: response.headers.etag,
          from: response.headers['x-module-cache'],
          peer: response.headers['x-module-cache-peer'],
        }),
      );
    }).on('error', reject);
  });
}

function newCounts() {
  return { requests: 0, produced: 0, coalesced: 0, l1: 0, l2: 0 };
}

function cells({ requests, produced, coalesced, l1, l2 }) {
  return [requests, produced, coalesced, l1, l2];
}

function print(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)));
  console.log();
  for (const row of rows) {
    console.log(
      row
        .map((cell, column) =>
          column === 0 ? String(cell).padEnd(widths[0]) : String(cell).padStart(widths[column]),
        )
        .join('  '),
    );
  }
}

function check(holds, what) {
  if (!holds) {
    console.error(`✗ ${what}`);
    process.exitCode = 1;
    throw new Error(`not so: ${what}`);
  }
  console.log(`✓ ${what}`);
}
