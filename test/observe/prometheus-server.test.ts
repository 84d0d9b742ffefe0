import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { freePort } from '../client/support/proxy.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type ModuleServer, startModuleServer } from '../support/serve.js';
import { until } from '../support/wait.js';
import { describeWith } from '../support/with-programs.js';

/** The alerts and the dashboard, as Prometheus itself reads them: its checks, and a server that scrapes a real fleet. */

const monitoring = (name: string): string =>
  fileURLToPath(new URL(`../../docs/monitoring/${name}`, import.meta.url));
const run = promisify(execFile);
/** What need not happen within seconds to a fleet that is well, and whose labels are not known before. */
const isRare = /garbage_collected|put_rejections|staleness_(rechecks|nines)/;

describeWith('promtool', 'promtool', (promtool) => {
  test('takes the alerts', async () => {
    const { stdout } = await run(promtool, ['check', 'rules', monitoring('alerts.yml')]);
    expect(stdout).toContain('SUCCESS: 10 rules found');
  });

  test('each alert is raised when it should be, with its words, and else not', async () => {
    const { stdout } = await run(promtool, ['test', 'rules', monitoring('alerts.test.yml')]);
    expect(stdout).toContain('SUCCESS');
  });

  test('no alert is without such a test', () => {
    const names = (file: string, key: string): string[] => [
      ...new Set(
        [...readFileSync(monitoring(file), 'utf8').matchAll(new RegExp(`${key}: (\\w+)$`, 'gm'))].map(
          ([, name]) => name as string,
        ),
      ),
    ];
    expect(names('alerts.test.yml', 'alertname').sort()).toEqual(names('alerts.yml', 'alert').sort());
  });
});

describeWith('prometheus', 'a Prometheus server', (prometheus) => {
  let database: TestDatabase;
  let folder: string;
  let server: ModuleServer;
  let stop: () => Promise<void>;
  let api: (path: string, query?: Record<string, string>) => Promise<unknown>;

  beforeAll(async () => {
    database = await createDatabase();
    folder = await mkdtemp(join(tmpdir(), 'module-cache-test-'));
    for (const name of ['a', 'b', 'c'])
      await writeFile(join(folder, `${name}.ts`), `export const ${name} = 1;`);
    server = await startModuleServer([folder, '--database-url', database.url, '--metrics'], 2);
    const port = await freePort();
    const config = join(folder, 'prometheus.yml');
    // JSON is YAML.
    await writeFile(
      config,
      JSON.stringify({
        global: { scrape_interval: '1s', evaluation_interval: '1s' },
        rule_files: [monitoring('alerts.yml')],
        scrape_configs: [
          {
            job_name: 'modules',
            metrics_path: '/-/metrics',
            static_configs: [{ targets: [new URL(server.url).host] }],
          },
        ],
      }),
    );
    const child = spawn(
      prometheus,
      [
        `--config.file=${config}`,
        `--storage.tsdb.path=${join(folder, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      { stdio: 'ignore' },
    );
    const exited = once(child, 'exit');
    stop = async () => {
      child.kill('SIGTERM');
      await exited;
    };
    api = async (path, query = {}) => {
      const answer = await fetch(`http://127.0.0.1:${port}/api/v1/${path}?${new URLSearchParams(query)}`);
      const { status, data, error } = (await answer.json()) as {
        status: string;
        data: unknown;
        error?: string;
      };
      if (status !== 'success') throw new Error(error);
      return data;
    };
    await until(
      () =>
        fetch(`http://127.0.0.1:${port}/-/ready`).then(
          ({ ok }) => ok,
          () => false,
        ),
      {
        timeoutMs: 30_000,
        what: 'Prometheus is ready',
      },
    );
  });
  afterAll(async () => {
    await stop?.();
    await server?.stop();
    await database.drop();
    await rm(folder, { recursive: true, force: true });
  });

  type Series = { value: [number, string] };
  async function hasAnswer(query: string): Promise<boolean> {
    const { result } = (await api('query', { query })) as { result: Series[] };
    return result.some(({ value: [, figure] }) => Number.isFinite(Number(figure)));
  }

  test('scrapes the fleet and answers every panel of the dashboard', async () => {
    const { panels } = JSON.parse(readFileSync(monitoring('dashboard.json'), 'utf8')) as {
      panels: { targets?: { expr: string }[] }[];
    };
    // As Grafana fills in its variables.
    const queries = panels.flatMap(({ targets = [] }) =>
      targets.map(({ expr }) =>
        expr
          .replaceAll('$__rate_interval', '10s')
          .replaceAll('$__range', '1m')
          .replaceAll(/\$(job|instance)/g, '.*'),
      ),
    );
    const unanswered = new Set(queries.filter((query) => !isRare.test(query)));
    const get = (name: string): Promise<unknown> =>
      fetch(new URL(`/${name}.ts`, server.url)).then((answer) => answer.text());
    let edits = 0;
    await until(
      async () => {
        edits += 1;
        await writeFile(join(folder, 'a.ts'), `export const a = ${edits};`);
        await writeFile(join(folder, 'b.ts'), edits % 2 === 0 ? 'export const b = 1;' : 'no module at all');
        for (const name of ['a', 'b', 'c', 'missing']) await get(name);
        for (const query of unanswered) if (await hasAnswer(query)) unanswered.delete(query);
        return unanswered.size === 0;
      },
      { timeoutMs: 45_000, what: 'all panels had an answer' },
    ).catch((error: Error) => {
      throw new Error(`${error.message}, but not for ${[...unanswered].join('\n')}`);
    });
    for (const query of queries) await api('query', { query });
  });

  test('evaluates every alert', async () => {
    const rules = await until(
      async () => {
        const { groups } = (await api('rules')) as {
          groups: { rules: { name: string; health: string; lastError?: string }[] }[];
        };
        const all = groups.flatMap((group) => group.rules);
        return all.every(({ health }) => health !== 'unknown') && all;
      },
      { timeoutMs: 30_000, what: 'all alerts were evaluated' },
    );
    expect(rules.length).toBe(10);
    expect(rules.filter(({ health }) => health !== 'ok')).toEqual([]);
  });
});
