/*
 * First measurements, each beside the simplest thing that could do the same job, in one run: `make bench`. Without
 * DATABASE_URL it starts an embedded Postgres of its own. Batches of both sides take turns and the medians are
 * compared, so that what else the machine does falls on both. Figures of one machine say little; ratios last.
 */
import { randomUUID } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import postgres from 'postgres';
import { startEmbeddedPostgres } from '../../dist/cli/embedded-postgres.js';
import { openModuleCache } from '../../dist/index.js';
import { migrate } from '../../dist/schema/migrate.js';

const ROUNDS = Number(process.env.ROUNDS ?? 15);
const MODULES = 1000;
const BODY = Array.from({ length: 250 }, () => randomUUID().replaceAll('-', '')).join('');
const realm = `https://bench-${randomUUID()}.example/`;
const path = (i) => `src/module${((i % MODULES) + MODULES) % MODULES}.ts`;

// The name by which a run of the tests finds, and removes, what a killed one has left.
const folder = mkdtempSync(join(tmpdir(), `module-cache-test-${process.pid}-`));
// As root the server's own user has to pass through.
chmodSync(folder, 0o755);
const embedded = process.env.DATABASE_URL
  ? undefined
  : await startEmbeddedPostgres({ dataDirectory: join(folder, 'server') });
const databaseUrl = process.env.DATABASE_URL ?? embedded.url;
await migrate({ databaseUrl });
const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} });
const peers = [];
let putToken;
try {
  await prepare();
  const rows = [
    await l1Hit(),
    await compare('L2 hit, 5 dependencies', 'primary-key select, same body', 200, l2Hit, rawSelect),
    await compare(
      'invalidate one module, no importers',
      'update + pg_notify',
      100,
      invalidateOne,
      updateAndNotify,
    ),
    await compare(
      'update a row of a tracked table',
      'update and invalidate in a transaction',
      50,
      tracked,
      byHand,
    ),
    await compare('put', 'upsert of the same body', 100, put, upsert),
    ...(await broadcast()),
  ];
  console.log(
    `\nPostgres ${(await sql`show server_version`)[0].server_version}, Node ${process.version}, medians of ${ROUNDS} rounds\n`,
  );
  print([['what', 'median', 'against', 'median', 'ratio'], ...rows]);
} finally {
  for (const peer of peers) await peer.close();
  await sql`drop table if exists bench_raw, bench_tracked, bench_untracked`;
  await sql`select module_cache.clear_realm(${realm})`;
  await sql.end();
  await embedded?.stop();
  rmSync(folder, { recursive: true, force: true });
}

async function prepare() {
  await sql`drop table if exists bench_raw`;
  await sql`
    create unlogged table bench_raw (
      realm text collate "C", path text collate "C", kind text collate "C", variant text collate "C",
      body text not null, version integer not null default 0,
      primary key (realm, path, kind, variant))`;
  await sql`
    insert into bench_raw (realm, path, kind, variant, body)
    select ${realm}, 'src/module' || i || '.ts', 'transpile', 'v1', ${BODY} from generate_series(0, ${MODULES - 1}) i`;
  // After a restart of the server the first to ask the log confirms the epoch; until then there are no tokens.
  await sql`select from module_cache.changes_since(null)`;
  const [{ token }] = await sql`select token from module_cache.get(${realm}, ${path(0)})`;
  for (let i = 0; i < MODULES; i += 1) {
    const keys = [1, 2, 3, 4, 5].map((step) => `src/module${(i + step) % MODULES}`);
    await sql`select stored from module_cache.put(${realm}, ${path(i)}, 'transpile', 'v1', ${BODY}, '{}', ${keys}, ${token})`;
  }
  await sql`analyze bench_raw`;
  for (const name of ['bench_tracked', 'bench_untracked']) {
    await sql`drop table if exists ${sql(name)}`;
    await sql`create table ${sql(name)} (path text primary key, source text not null)`;
    await sql`insert into ${sql(name)} select 'src/module' || i || '.ts', '' from generate_series(0, ${MODULES - 1}) i`;
    await sql`analyze ${sql(name)}`;
  }
  await sql`select module_cache.track_table('bench_tracked', ${`${realm}tracked/`}, 'path')`;
}

function l2Hit(i) {
  return sql`select * from module_cache.get(${realm}, ${path(i)}, 'transpile', 'v1')`;
}

function rawSelect(i) {
  return sql`select body from bench_raw where realm = ${realm} and path = ${path(i)} and kind = 'transpile' and variant = 'v1'`;
}

function invalidateOne(i) {
  return sql`select * from module_cache.invalidate(${`${realm}other/`}, array[${path(i)}])`;
}

function updateAndNotify(i) {
  const payload = JSON.stringify({ k: 'module', r: `${realm}other/`, m: [path(i)] });
  return sql`
    with changed as (update bench_raw set version = version + 1 where realm = ${realm} and path = ${path(i)})
    select pg_notify('bench', ${payload})`;
}

function tracked(i) {
  return sql`update bench_tracked set source = ${String(i)} where path = ${path(i)}`;
}

function byHand(i) {
  return sql.begin(async (tx) => {
    await tx`update bench_untracked set source = ${String(i)} where path = ${path(i)}`;
    await tx`select * from module_cache.invalidate(${`${realm}tracked/`}, array[${path(i)}])`;
  });
}

async function put(i) {
  putToken ??= (await sql`select token from module_cache.get(${realm}, 'none.ts')`)[0].token;
  const keys = [1, 2, 3, 4, 5].map((step) => `src/module${i + step}`);
  await sql`select stored from module_cache.put(${`${realm}put/`}, ${path(i)}, 'transpile', 'v1', ${BODY}, '{}', ${keys}, ${putToken})`;
}

function upsert(i) {
  return sql`
    insert into bench_raw (realm, path, kind, variant, body)
    values (${`${realm}put/`}, ${path(i)}, 'transpile', 'v1', ${BODY})
    on conflict (realm, path, kind, variant) do update set body = excluded.body`;
}

async function compare(what, against, perBatch, ours, theirs) {
  const ourTimes = [];
  const theirTimes = [];
  for (let round = -2; round < ROUNDS; round += 1) {
    for (const [work, times] of round % 2
      ? [
          [ours, ourTimes],
          [theirs, theirTimes],
        ]
      : [
          [theirs, theirTimes],
          [ours, ourTimes],
        ]) {
      for (let i = 0; i < perBatch; i += 1) {
        const began = performance.now();
        await work(round * perBatch + i);
        if (round >= 0) times.push((performance.now() - began) * 1000);
      }
    }
  }
  return row(what, median(ourTimes), against, median(theirTimes), 'µs');
}

/** A hit in memory against a bare Map, in batches, because one of them is shorter than the clock can tell. */
async function l1Hit() {
  const cache = await open();
  for (let i = 0; i < MODULES; i += 1) await cache.get({ realm, path: path(i), variant: 'v1' });
  const map = new Map(Array.from({ length: MODULES }, (_, i) => [path(i), i]));
  const requests = Array.from({ length: MODULES }, (_, i) => ({ realm, path: path(i), variant: 'v1' }));
  const ours = [];
  const theirs = [];
  let hits = 0;
  for (let round = 0; round < 20 * ROUNDS; round += 1) {
    let began = performance.now();
    for (const request of requests) if (cache.peek(request) !== undefined) hits += 1;
    ours.push(((performance.now() - began) * 1e6) / MODULES);
    began = performance.now();
    for (const request of requests) if (map.get(request.path) !== undefined) hits += 1;
    theirs.push(((performance.now() - began) * 1e6) / MODULES);
    // Heartbeats need a turn, or memory would rightly not be trusted any more.
    if (round % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  if (hits !== 2 * MODULES * 20 * ROUNDS) throw new Error(`some peeks were misses: ${hits}`);
  // A peer that listens would be woken by what is measured next.
  await cache.close();
  return row('L1 hit (peek)', median(ours), 'Map.get', median(theirs), 'ns');
}

/**
 * From the commit of a transaction that invalidates, and from the call that begins one, until a peer has dropped its
 * entry; against a notification on its way to a listener of the same driver.
 */
async function broadcast() {
  const peer = await open();
  let heard;
  const listener = postgres(databaseUrl, { max: 1 });
  await listener.listen('bench_raw', () => heard());
  const told = () => new Promise((resolve) => (heard = resolve));
  const dropped = () => new Promise((resolve) => peer.events.once('invalidated', resolve));
  const requests = Array.from({ length: 40 * ROUNDS }, (_, i) => ({
    realm: `${realm}broadcast/`,
    path: `m${i}.ts`,
  }));
  for (const request of requests) await peer.getOrProduce(request, () => ({ body: BODY }));
  const times = { ourCommit: [], ourCall: [], theirCommit: [], theirCall: [] };

  async function measure(key, arrival, statement, inTransaction) {
    const arrived = arrival();
    let began = performance.now();
    const done = inTransaction
      ? sql.begin(async (transaction) => {
          await statement(transaction);
          began = performance.now();
        })
      : statement(sql).execute();
    await arrived;
    times[key].push((performance.now() - began) * 1000);
    await done;
  }
  for (const [i, request] of requests.entries()) {
    const invalidate = (on) =>
      on`select * from module_cache.invalidate(${request.realm}, array[${request.path}])`;
    const notify = (on) => on`
      with changed as (update bench_raw set version = version + 1 where realm = ${realm} and path = ${path(i)})
      select pg_notify('bench_raw', ${JSON.stringify(request)})`;
    await measure(i % 2 ? 'ourCommit' : 'ourCall', dropped, invalidate, i % 2 === 1);
    if (peer.peek(request) !== undefined) throw new Error('the peer still holds the module');
    await measure(i % 2 ? 'theirCommit' : 'theirCall', told, notify, i % 2 === 1);
  }
  await listener.end();
  return [
    row(
      'commit until a peer has dropped it',
      median(times.ourCommit),
      'commit until a listener is told',
      median(times.theirCommit),
      'µs',
    ),
    row(
      'invalidate until a peer has dropped it',
      median(times.ourCall),
      'update + pg_notify until it is told',
      median(times.theirCall),
      'µs',
    ),
  ];
}

async function open() {
  const cache = await openModuleCache({ connection: databaseUrl, l1: { maxBytes: 256e6 } });
  peers.push(cache);
  return cache;
}

function median(values) {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

function row(what, ours, against, theirs, unit) {
  return [
    what,
    `${ours.toFixed(0)} ${unit}`,
    against,
    `${theirs.toFixed(0)} ${unit}`,
    (ours / theirs).toFixed(2),
  ];
}

function print(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((cells) => cells[column].length)));
  for (const cells of rows)
    console.log(
      cells.map((cell, i) => (i % 2 ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join('  '),
    );
}
