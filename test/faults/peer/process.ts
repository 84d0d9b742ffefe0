import { setTimeout as sleep } from 'node:timers/promises';
import postgres, { type Sql } from 'postgres';
import type { ModuleCache } from '../../../src/index.js';
import { createClock, createRecorder } from '../support/history.js';
import type { PeerSettings, Report } from '../support/messages.js';
import { createRandom } from '../support/random.js';
import { createWorld } from '../support/world.js';

/** What all that this process does has in common: its settings, its records, its cache. */
export const settings = await new Promise<PeerSettings>((resolve) =>
  process.once('message', (message) => resolve(message as PeerSettings)),
);
process.once('disconnect', () => process.exit(0));

const { peer, variant, boundMs } = settings;
export const clock = createClock(BigInt(settings.origin));
export const recorder = createRecorder(settings.folder, `peer-${peer}`);
export const random = createRandom(settings.seed + peer);
export const world = createWorld(settings.modules);
export const send = (report: Report): void => void process.send?.(report);
export const progress = { operations: 0, ending: false };

// An injected clock: what the process takes for the time of day can be set.
const timeOfDay = Date.now;
let clockOffsetMs = 0;
Date.now = () => timeOfDay() + clockOffsetMs;
export function setClock(offsetMs: number): void {
  clockOffsetMs = offsetMs;
}

const clientFolder = new URL('.', settings.client).pathname;
/** What must not be. */
export const wrong = (what: string): void => recorder.write({ type: 'wrong', at: clock.now(), what });
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    const { stack = String(error), code } = (error ?? {}) as { stack?: string; code?: string };
    // A transaction of postgres.js 3.4 whose connection is lost rejects where nobody listens; but the client's own calls
    // do not.
    const isOfDriver =
      stack.includes('/postgres/') || /CONNECTION_|ECONNRE|EPIPE|57P0|terminating/.test(`${code} ${stack}`);
    if (isOfDriver && !stack.includes(clientFolder)) return;
    wrong(`${event}: ${stack.slice(0, 1000)}`);
  });
}

const { openModuleCache } = (await import(settings.client)) as typeof import('../../../src/index.js');
recorder.write({ type: 'peer', peer, client: settings.client, variant });
export const cache = await open();

async function open(): Promise<ModuleCache> {
  for (;;) {
    try {
      return await openModuleCache({
        connection: settings.pooled ? connectionOf(settings.poolUrl) : settings.poolUrl,
        listenConnection: settings.directUrl,
        maxStalenessMs: boundMs,
        heartbeatMs: settings.heartbeatMs,
        claimPatienceMs: 5_000,
        callTimeoutMs: 2_000,
        deadlineMs: 10_000,
        l1: { maxBytes: settings.l1Bytes },
        broadcast: settings.broadcast,
        name: `peer ${peer}`,
      });
    } catch (error) {
      // It may start while the server is away.
      noteFailedRead(error, 'open: ');
      await sleep(200);
    }
  }
}

function connectionOf(url: string) {
  const { hostname, port, username, password, pathname } = new URL(url);
  return {
    host: hostname,
    port: Number(port),
    username: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database: pathname.slice(1),
    prepare: false,
  };
}

/** A connection of the application's own. */
export function openOwn(purpose: string, max: number): Sql {
  return postgres(settings.directUrl, {
    max,
    onnotice: () => {},
    connect_timeout: 5,
    connection: { application_name: `${purpose} of peer ${peer}` },
  });
}

export function codeOf(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown };
  return String(code ?? name ?? 'unknown');
}

export function messageOf(error: unknown): string {
  return String((error as Error)?.message ?? error).slice(0, 300);
}

export function noteFailedRead(error: unknown, prefix = ''): void {
  const message = `${prefix}${messageOf(error)}`;
  recorder.write({ type: 'failed read', at: clock.now(), code: codeOf(error), message });
}
