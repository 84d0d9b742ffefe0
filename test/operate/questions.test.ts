import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import postgres, { type Sql } from 'postgres';
import { createLogin, type Login } from '../cli/support/run.js';
import { startProxy, type TcpProxy } from '../client/support/proxy.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type Child, startChild } from '../support/process.js';
import { until } from '../support/wait.js';
import { testWith } from '../support/with-programs.js';

/** docs/operating.md, asked of a fleet under load of which one process was killed and another cut off. */

type Message = { type: 'ready' } | { type: 'done'; command: string };

const file = new URL('../../docs/operating.md', import.meta.url);
const text = readFileSync(file, 'utf8');
const blocks = [...text.matchAll(/^## (\d+)\. (.*?)\n\n```sql\n(.*?)```\n\n```text\n(.*?)```/gms)].map(
  ([, number, title, query, output]) => ({
    number: Number(number),
    title: title as string,
    query: query as string,
    output: output as string,
  }),
);
const WORKER = new URL('children/worker.mjs', import.meta.url);
const COLUMNS = 80;

let database: TestDatabase;
/** With no other rights than those of module_cache_operator. */
let login: Login;
let operator: Sql;
let proxy: TcpProxy;
const workers: Child<Message>[] = [];

/** As an operator sees it. */
function psql(query: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const looks = ['pager=off', 'footer=off', 'format=wrapped', `columns=${COLUMNS}`].flatMap((look) => [
      '-P',
      look,
    ]);
    const args = ['-X', '-q', ...looks, '-v', 'ON_ERROR_STOP=1', login.url];
    const child = spawn('psql', args, { env: { ...process.env, PGAPPNAME: 'psql' } });
    let output = '';
    let errors = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
    });
    child.stderr.on('data', (chunk) => {
      errors += chunk;
    });
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve(output.replace(/[ ]+$/gm, '').trimEnd());
      else reject(new Error(errors));
    });
    child.stdin.end(query);
  });
}

const asked = async <Row>(query: string): Promise<Row[]> =>
  (await operator.unsafe(query.replace(/\\gx/, ''))) as unknown as Row[];

async function startWorker(name: string, listenUrl: string): Promise<Child<Message>> {
  const worker = startChild<Message>(WORKER, { args: [name, database.url, listenUrl] });
  workers.push(worker);
  await worker.next('ready');
  return worker;
}

interface PeerRow {
  name: string;
  status: string;
  behind: string;
  hit_rate: string | null;
}
const peers = () => asked<PeerRow>('select * from module_cache.peers');

beforeAll(async () => {
  database = await createDatabase();
  login = await createLogin(database, 'operator');
  operator = postgres(login.url, { max: 1 });
  proxy = await startProxy(database.url);
  const [first, second, third] = await Promise.all(
    [1, 2, 3].map((n) => startWorker(`web ${n}`, database.url)),
  );
  await startWorker('web 4', proxy.url);
  await until(async () => (await peers()).length === 4, {
    timeoutMs: 30_000,
    what: 'all four have reported',
  });
  await until(async () => (await peers()).every((peer) => Number(peer.hit_rate) > 50), {
    timeoutMs: 30_000,
    what: 'all four answer from their memory',
  });
  // Nobody asks for this one, so that it stays what the invalidation below makes of it.
  await database.sql`
    select p.reason from module_cache.get('https://app.example/', 'admin.ts') g, lateral module_cache.put(
      'https://app.example/', 'admin.ts', 'transpile', '', 'export {}', null, '{models/team}', g.token) p`;
  first?.send({ command: 'slow' });
  await until(
    async () => (await asked("select from module_cache.claims where kind = 'definition'")).length === 1,
    {
      what: 'a long production has begun',
    },
  );
  second?.send({ command: 'slow' });
  second?.send({ command: 'inVain' });
  second?.send({ command: 'fail' });
  await second?.next('done');
  await second?.next('done');
  await until(async () => (await asked('select from module_cache.claims where waiting = 1')).length === 1, {
    timeoutMs: 30_000,
    what: 'the other one has waited for a second',
  });
  await third?.kill('SIGKILL');
  proxy.silence();
  await until(
    async () =>
      (await asked('select from module_cache.stats where failures > 0 and rejected > 0')).length > 0,
    {
      timeoutMs: 30_000,
      what: 'what was in vain is reported',
    },
  );
  await until(async () => (await peers()).some(({ status }) => status === 'silent'), {
    timeoutMs: 60_000,
    what: 'the one that is cut off is silent',
  });
  // As somebody at a prompt, and in the name of an application that releases.
  const [shell, release] = await Promise.all(
    ['psql', 'release'].map((name) =>
      database.sql.reserve().then(async (sql) => {
        await sql`select set_config('application_name', ${name}, false)`;
        return sql;
      }),
    ),
  );
  await release?.unsafe(`select module_cache.invalidate('https://app.example/', '{ui/theme.ts}')`);
  await shell?.unsafe(`select module_cache.invalidate('https://app.example/', '{models/base.ts}')`);
  release?.release();
  shell?.release();
}, 180_000);
afterAll(async () => {
  await Promise.all(workers.map((worker) => worker.kill('SIGKILL')));
  await proxy.close();
  await operator.end();
  await login.drop();
  await database.drop();
});

test('there are ten questions', () => {
  expect(blocks.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
});

/** Names of the columns, or of the fields where a row stands by itself. */
const heads = (output: string): string[] =>
  output.startsWith('-[')
    ? output
        .split('\n')
        .slice(1)
        .map((line) => (line.split('|')[0] as string).trim())
        .filter((name) => name !== '')
    : (output.split('\n')[0] as string).split('|').map((name) => name.trim());

describe.each(blocks)('$number. $title', ({ number, query, output }) => {
  test('is answered', async () => {
    const rows = await asked<Record<string, unknown>>(query.replace(/^(begin|rollback);$/gm, ''));
    expect(rows.length).toBeGreaterThan(0);
    answers[number]?.(rows);
  });

  testWith('psql', `within ${COLUMNS} columns of psql, as the page shows it`, async () => {
    const shown = await psql(query);
    expect(Math.max(...shown.split('\n').map((line) => line.length))).toBeLessThanOrEqual(COLUMNS);
    if (process.env.WRITE) {
      const now = readFileSync(file, 'utf8');
      const from = now.indexOf('```text\n', now.indexOf(`## ${number}. `)) + '```text\n'.length;
      writeFileSync(file, `${now.slice(0, from)}${shown}\n${now.slice(now.indexOf('```', from))}`);
    } else expect(heads(shown)).toEqual(heads(output));
  });
});

/** What each answer has to tell of this fleet. */
const answers: Record<number, (rows: Record<string, unknown>[]) => void> = {
  1: (rows) => {
    expect(rows.map(({ name, status }) => [name, status])).toEqual([
      ['web 1', 'listening'],
      ['web 2', 'listening'],
      ['web 4', 'silent'],
    ]);
    expect(Number(rows[2]?.behind)).toBeGreaterThan(0);
  },
  2: (rows) => {
    expect(Number(rows[0]?.hit_rate)).toBeGreaterThan(50);
    expect(Number(rows[0]?.reads)).toBeGreaterThan(100);
  },
  3: (rows) => {
    const transpiled = rows.find(({ kind }) => kind === 'transpile');
    expect(Number(transpiled?.artifacts)).toBeGreaterThanOrEqual(7);
    expect(Number(transpiled?.hits)).toBeGreaterThan(Number(transpiled?.misses));
  },
  4: ([row]) => {
    expect(row?.reason).toMatch(
      /^miss: invalidated .* from psql .*, through models\/team\.ts, models\/person\.ts, models\/base\.ts$/,
    );
  },
  5: ([row]) => {
    expect(row).toMatchObject({ scope: 'module', first_named: 'models/base.ts', application_name: 'psql' });
  },
  6: (rows) => {
    const long = rows.filter(({ canonical_path }) => canonical_path === 'report.ts');
    expect(long).toMatchObject([{ producer: 'web 1', waiting: 1, waiting_peers: ['web 2'] }]);
  },
  7: (rows) => {
    expect(rows.map((row) => row.canonical_path)).toEqual(
      expect.arrayContaining(['admin.ts', 'app.ts', 'models/base.ts', 'models/person.ts', 'models/team.ts']),
    );
  },
  8: ([row]) => {
    expect(Number(row?.failures)).toBe(1);
    expect(row?.rejected_by).toMatchObject({ stale: expect.any(Number) });
  },
  9: ([row]) => {
    expect(row).toMatchObject({
      status: 'error',
      canonical_path: 'broken.ts',
      begins: 'Unexpected token (3:14)',
    });
  },
  10: ([row]) => {
    expect(Number(row?.log_rows)).toBeGreaterThan(0);
    expect(Number(row?.queue_percent)).toBe(0);
  },
};
