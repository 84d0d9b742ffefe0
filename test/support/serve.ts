import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get, type IncomingHttpHeaders } from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { until } from '../support/wait.js';

export const cli = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

export interface ServerEvent {
  readonly event: string;
  readonly url: string;
  readonly realm: string;
  readonly message: string;
  readonly changed: string[];
  readonly modules: string[];
  readonly coherentMs: number | null;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** One of the processes behind the port. */
export interface ServingProcess {
  readonly number: string;
  get(path: string, headers?: Record<string, string>): Promise<Answer>;
}

export interface ModuleServer {
  readonly pid: number;
  readonly url: string;
  readonly events: readonly ServerEvent[];
  /** The first event of this name from position `from` on. */
  next(event: string, from?: number): Promise<ServerEvent>;
  /** A connection of its own to each process. */
  processes(): Promise<ServingProcess[]>;
  /** Ctrl-C; resolves to the exit code. */
  stop(): Promise<number | null>;
}

/** Runs `module-cache serve --json` with these arguments as a user would, on any free port. */
export async function startModuleServer(
  args: readonly string[],
  workers = 4,
  env: Record<string, string> = {},
): Promise<ModuleServer> {
  const child = spawn(
    process.execPath,
    [cli, 'serve', ...args, '--workers', String(workers), '--port', '0', '--json'],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } },
  );
  const exited = once(child, 'exit');
  const events: ServerEvent[] = [];
  const agents: Agent[] = [];
  const connections = new Map<string, Agent>();
  let complaint = '';
  createInterface(child.stdout).on('line', (line) => events.push(JSON.parse(line)));
  child.stderr.on('data', (chunk) => {
    complaint += chunk;
  });
  const next = (event: string, from = 0): Promise<ServerEvent> =>
    until(
      () => {
        if (child.exitCode !== null) throw new Error(`the server ended: ${complaint}`);
        return events.slice(from).find((candidate) => candidate.event === event);
      },
      { timeoutMs: 30_000, what: `the server says ${event}` },
    );

  /** An idle connection is closed by the server, and the next one may lead to another process. */
  async function ask(number: string, url: URL, headers?: Record<string, string>): Promise<Answer> {
    for (;;) {
      const agent = connections.get(number) as Agent;
      const answer = await request(agent, url, headers).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ECONNRESET' || child.exitCode !== null) throw error;
        return undefined;
      });
      if (answer?.headers['x-module-cache-peer'] === number) return answer;
      const another = new Agent({ keepAlive: true, maxSockets: 1 });
      agents.push(another);
      connections.set(number, another);
    }
  }

  async function stop(): Promise<number | null> {
    for (const agent of agents) agent.destroy();
    child.kill('SIGINT');
    const [code] = await exited;
    return code;
  }

  try {
    const { url } = await next('ready');
    return {
      pid: child.pid as number,
      url,
      events,
      next,
      stop,
      async processes() {
        const found = new Map<string, ServingProcess>();
        await until(
          async () => {
            // New connections are dealt to the processes in turn.
            const agent = new Agent({ keepAlive: true, maxSockets: 1 });
            const { headers } = await request(agent, new URL('/which', url));
            const number = String(headers['x-module-cache-peer']);
            if (found.has(number)) agent.destroy();
            else {
              agents.push(agent);
              found.set(number, { number, get: (path, more) => ask(number, new URL(path, url), more) });
              connections.set(number, agent);
            }
            return found.size === workers;
          },
          { timeoutMs: 30_000, what: `${workers} processes answer` },
        );
        return [...found.values()];
      },
    };
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}

function request(agent: Agent, url: URL, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    get(url, { agent, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString(),
        }),
      );
    }).on('error', reject);
  });
}
