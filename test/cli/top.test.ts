import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import {
  type ClaimRow,
  type InvalidationRow,
  PEER_COLUMNS,
  type PeerRow,
  type RealmRow,
  type Sample,
} from '../../src/cli/fleet.js';
import type { Style } from '../../src/cli/style.js';
import { extentOf, renderPlain, renderScreen } from '../../src/cli/top/frame.js';
import { type Key, press, startState, type TopState } from '../../src/cli/top/state.js';
import { closePeers, openPeer } from '../client/support/peers.js';
import { startProxy } from '../client/support/proxy.js';
import { type Session, session } from '../sql/support/session.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { cli } from '../support/serve.js';
import { until } from '../support/wait.js';
import { describeWith } from '../support/with-programs.js';
import { createLogin, type Login, run } from './support/run.js';
import { closeTerminals, startInTerminal } from './support/terminal.js';

const REALM = 'https://top.example/';

const peer = (name: string, more: Partial<PeerRow> = {}): PeerRow => ({
  ...{
    name,
    status: 'listening',
    behind: 0,
    lagMs: 0,
    hitRate: 90,
    reads: 100,
    entries: 3,
    bytes: 2_048,
    silentForMs: 400,
  },
  ...{ version: '0.2.0', since: '', host: 'web', processId: 7, role: 'app', application: name },
  ...{ clientAddress: null, backendPid: 70, ...more },
});
const realm = (url: string, more: Partial<RealmRow> = {}): RealmRow => ({
  ...{
    realm: url,
    kind: 'transpile',
    artifacts: 1,
    bytes: 10,
    hits: 5,
    misses: 1,
    productions: 2,
    productionMs: 30,
  },
  ...{ coalesced: 0, rejected: 0, failures: 0, invalidations: 4, ...more },
});
const claim: ClaimRow = {
  ...{
    ageMs: 3_200,
    producer: 'web',
    realm: REALM,
    path: 'slow.ts',
    kind: 'transpile',
    variant: '',
    waiting: ['b'],
  },
  backendPid: 71,
};
const invalidation: InvalidationRow = {
  ...{ at: '', agoMs: 900, xid: '99', scope: 'module', realm: REALM, named: ['a.ts'], modules: 12 },
  ...{ role: 'app', application: 'editor', clientAddress: '10.0.0.1' },
};
const sample: Sample = {
  ...{
    at: '2026-11-21T20:01:02.3+00:00',
    server: '18.4',
    database: 'app',
    queue: 0.001,
    invalidationsPerSecond: 1.25,
  },
  peers: [
    peer('beta', { hitRate: 50, reads: 300 }),
    peer('alpha'),
    peer('gamma', { status: 'silent', lagMs: 12_000 }),
  ],
  ...{
    claims: [claim],
    realms: [realm(REALM), realm('https://b.example/', { hits: 7 })],
    invalidations: [invalidation],
  },
  oldestTransaction: { ageMs: 3_000, pid: 42, application: 'psql' },
  hiddenTransactions: false,
};
const size = { columns: 100, rows: 24 };
const plain: Style = (_, text) => text;
const screen = (state: TopState, shown: Partial<Sample> = {}, at = size): string[] =>
  renderScreen({ sample: { ...sample, ...shown }, intervalMs: 2_000 }, state, at, plain);
/** Presses keys one after the other, by name or as typed. */
const pressing = (shown: Partial<Sample>, ...keys: (string | Key)[]): TopState =>
  keys.reduce<TopState>((state, key) => {
    const pressed = press(
      state,
      typeof key === 'string' ? { name: key.length > 1 ? key : key.toLowerCase(), sequence: key } : key,
      extentOf({ ...sample, ...shown }, state, size),
    );
    if (typeof pressed === 'string') throw new Error(`${JSON.stringify(key)} ended it`);
    return pressed;
  }, startState());
const having = (...keys: (string | Key)[]): TopState => pressing({}, ...keys);
const names = (lines: readonly string[]): string[] =>
  lines.flatMap((line) => /^(alpha|beta|gamma)\b/.exec(line)?.[1] ?? []);

describe('what top draws', () => {
  test('the header answers: who is there, hits, invalidations, production, queue, oldest transaction', () => {
    const [title, figures, more, views] = screen(startState());
    expect(title).toBe('module-cache top   2026-11-21 20:01:02, every 2.0 s   app on PostgreSQL 18.4');
    expect(figures).toBe('peers 3 (2 listening, 1 silent)   hits 66.0 %   invalidations 1.3/s');
    expect(more).toBe('producing 1 (longest 3.2 s)   queue 0.1 %   oldest transaction 3.0 s (psql 42)');
    expect(views).toContain('[1 peers]');
  });

  test('that there is no old transaction is not said of those that this role cannot see', () => {
    const [, , figures] = screen(startState(), { oldestTransaction: null, hiddenTransactions: true });
    expect(figures).toMatch(/oldest transaction - \(others hidden: pg_read_all_stats\)$/);
  });

  test('keys 1 to 4 switch the views', () => {
    expect(screen(having('2'))[5]).toMatch(/^realm +kind +artifacts/);
    expect(screen(having('3'))[6]).toMatch(/^3\.2 s +https:\/\/top\.example\/slow\.ts +transpile +web +1/);
    expect(screen(having('4'))[6]).toMatch(/https:\/\/top\.example\/a\.ts +12 +app +editor +10\.0\.0\.1 +99/);
    expect(screen(having('4', '1'))[5]).toMatch(/^peer/);
  });

  test('s goes through the columns and back to the order of the database, r turns it round', () => {
    expect(names(screen(having()))).toEqual(['beta', 'alpha', 'gamma']);
    expect(names(screen(having('s')))).toEqual(['alpha', 'beta', 'gamma']);
    expect(names(screen(having('s', 'r')))).toEqual(['gamma', 'beta', 'alpha']);
    const byLag = having('s', 's', 's', 's');
    expect([names(screen(byLag))[0], screen(byLag)[3]]).toEqual([
      'gamma',
      expect.stringContaining('sorted by lag'),
    ]);
    expect(names(screen(having(...Array(PEER_COLUMNS.length + 1).fill('s'))))).toEqual([
      'beta',
      'alpha',
      'gamma',
    ]);
    expect(names(screen(having('left', 'left', 'right', 'right')))).toEqual(['beta', 'alpha', 'gamma']);
  });

  test('/ filters as it is typed, also by letters that are keys otherwise, and Esc clears it', () => {
    expect(names(screen(having('/', 'S', 'i', 'l')))).toEqual(['gamma']);
    expect(having('/', 'q', '1').filter).toBe('q1');
    expect(names(screen(having('/', 'a', 'l', 'x', 'backspace', 'p', 'return', 's')))).toEqual(['alpha']);
    expect(names(screen(having('/', 'x', 'escape')))).toHaveLength(3);
    expect(names(screen(having('/', 'x', 'return', 'escape')))).toHaveLength(3);
    expect(screen(having('/', 'x')).join('\n')).toContain('nothing with "x"');
  });

  test('q and Ctrl-C quit, also Ctrl-C while typing; p pauses', () => {
    const pressed = (state: TopState, key: Key) => press(state, key, { columns: 5, rows: 5, page: 5 });
    expect(pressed(having(), { name: 'q', sequence: 'q' })).toBe('quit');
    expect(pressed(having('/'), { name: 'c', ctrl: true, sequence: '\x03' })).toBe('quit');
    expect([having('p').isPaused, having('p', 'p').isPaused]).toEqual([true, false]);
    expect(screen(having('p'))[0]).toContain('paused');
    expect(having({ name: 'q', ctrl: true }, { name: 'p', ctrl: true }, { name: 's', meta: true })).toEqual(
      having(),
    );
    expect(having('/', 'x', 'return', { name: 'escape', meta: true, sequence: '\x1b' }).filter).toBe('');
  });

  test.each([
    [100, 24],
    [40, 8],
    [20, 3],
  ])('%i columns and %i rows are filled and never exceeded, also by wide characters', (columns, rows) => {
    const many = Array.from({ length: 100 }, (_, index) => peer(`工作者 ${index} ${'x'.repeat(80)}`));
    for (const view of ['1', '2', '3', '4']) {
      const lines = screen(having(view), { peers: many }, { columns, rows });
      expect(lines).toHaveLength(rows);
      // Each of these characters takes two columns.
      const width = (line: string) =>
        [...line].reduce((sum, char) => sum + (/\p{Script=Han}/u.test(char) ? 2 : 1), 0);
      for (const line of lines) expect(width(line)).toBeLessThanOrEqual(columns);
    }
  });

  test('what does not fit is counted, and scrolled to, but not beyond', () => {
    const peers = Array.from({ length: 30 }, (_, index) => peer(`peer-${String(index).padStart(2, '0')}`));
    const screenAfter = (...keys: string[]) => screen(pressing({ peers }, ...keys), { peers });
    expect(screenAfter().at(-1)).toContain('13 more below');
    expect(screenAfter('down')[6]).toContain('peer-01');
    const end = screenAfter('end');
    expect([end[6], end.findLast((line) => line.startsWith('peer-'))]).toEqual([
      expect.stringContaining('peer-13'),
      expect.stringContaining('peer-29'),
    ]);
    expect(screenAfter('pagedown', 'pagedown', 'pagedown')).toEqual(end);
    expect(screenAfter('end', 'down', 'down', 'up')[6]).toContain('peer-12');
    expect(screenAfter('end', 'home')).toEqual(screenAfter());
  });

  test('where fewer rows are left than were scrolled over, the next key moves from what is shown', () => {
    const many = Array.from({ length: 30 }, (_, index) => peer(`peer-${index}`));
    const peers = many.slice(0, 20);
    const pressed = press(
      pressing({ peers: many }, 'end'),
      { name: 'up' },
      extentOf({ ...sample, peers }, startState(), size),
    );
    expect(screen(pressed as TopState, { peers })[6]).toContain('peer-2');
  });

  test('escape sequences in names are shown, not obeyed', () => {
    const lines = screen(having(), { peers: [peer('\x1b]0;evil\x07\x1b[2J')] });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
    expect(lines.join('')).not.toMatch(/[\u0000-\u001f]/);
  });

  test('in a pipe nothing is cut', () => {
    const long = `https://${'x'.repeat(300)}.example/`;
    const lines = renderPlain(
      { sample: { ...sample, realms: [realm(long)] }, intervalMs: 2_000 },
      startState('realms'),
    );
    expect(lines.join('\n')).toContain(long);
  });
});

describe('module-cache top', () => {
  let database: TestDatabase;
  let cache: Session;
  let operator: Login;
  let writer: Login;
  beforeAll(async () => {
    database = await createDatabase();
    cache = session(database, { application_name: 'an editor' });
    operator = await createLogin(database, 'operator');
    writer = await createLogin(database, 'writer');
    await cache.publish('a.ts', 'a', { realm: REALM, dependencies: ['b'] });
    await cache.invalidate(['b.ts'], REALM);
  });
  afterEach(() => {
    closeTerminals();
    return closePeers();
  });
  afterAll(async () => {
    await operator.drop();
    await writer.drop();
    await database.drop();
  });

  test('an operator without a terminal gets one plain frame', async () => {
    const { code, stdout } = await run(['top', '--view', 'invalidations', '--database-url', operator.url]);
    expect(code).toBe(0);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
    expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
    expect(stdout).toMatch(/https:\/\/top\.example\/b\.ts +2 +postgres +an editor/);
  });

  test('--json prints a line each time, says when the database is away and when it is back, and ends with Ctrl-C', async () => {
    const proxy = await startProxy(operator.url);
    const child = spawn(process.execPath, [
      cli,
      'top',
      '--json',
      '--interval',
      '0.1',
      '--database-url',
      proxy.url,
    ]);
    const ended = once(child, 'exit');
    try {
      const lines: { error?: string; hitRate?: number | null; realms?: object[] }[] = [];
      createInterface(child.stdout).on('line', (line) => lines.push(JSON.parse(line)));
      await until(() => lines.length > 2, { what: 'three lines' });
      expect(lines[0]).toMatchObject({ realms: [{ realm: REALM, artifacts: 1 }], peers: [], hitRate: null });
      proxy.door = 'close';
      proxy.cut();
      await until(() => lines.at(-1)?.error !== undefined, { what: 'it says that the database is away' });
      proxy.door = 'accept';
      await until(() => lines.at(-1)?.realms !== undefined, { what: 'it is back' });
    } finally {
      child.kill('SIGINT');
      expect(await ended).toEqual([0, null]);
      await proxy.close();
    }
  });

  test.each([
    ['a role that may not look', () => writer.url, 'permission denied'],
    ['a database that was never there', () => 'postgres://127.0.0.1:1/none', 'cannot be reached'],
  ])('%s: one clear line, and exit 1', async (_, url, message) => {
    const { code, stderr } = await run(['top', '--database-url', url()]);
    expect([code, stderr]).toEqual([1, expect.stringContaining(message)]);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });

  describeWith('python3', 'in a terminal', () => {
    const top = (url: string, ...more: string[]) =>
      startInTerminal(['top', '--interval', '0.1', '--database-url', url, ...more]);

    test('it is live: what happens is seen, keys act, and q gives the terminal back', async () => {
      const terminal = top(operator.url);
      await terminal.shows('no process uses the cache now');
      await openPeer({ connection: database.url, name: 'renderer 1' });
      await terminal.shows(/^renderer 1 +listening/);
      terminal.type('3');
      await terminal.shows('nothing is being produced');
      await cache.claim('slow.ts', { realm: REALM });
      await terminal.shows(/slow\.ts +transpile +an editor/);
      await cache.release('slow.ts', { realm: REALM });
      terminal.type('4');
      await cache.invalidate(['seen.ts'], REALM);
      await terminal.shows('seen.ts');
      terminal.type('/b.ts\r');
      await until(() => !terminal.screen.join().includes('seen.ts'), { what: 'it is filtered' });
      terminal.type('\x1b');
      await terminal.shows('seen.ts');
      terminal.type('p');
      await terminal.shows('paused');
      await cache.invalidate(['unseen.ts'], REALM);
      terminal.resize(12, 60);
      await until(() => terminal.screen.length === 12, { what: 'it is drawn anew' });
      expect(terminal.screen.filter((line) => line.length > 60)).toEqual([]);
      expect(terminal.screen.join()).not.toContain('unseen.ts');
      terminal.type('p');
      await terminal.shows('unseen.ts');
      terminal.type('q');
      expect(await terminal.ended()).toEqual({ code: 0, restored: true });
    });

    test('a line that fills the screen keeps its last character: nothing is erased behind it', async () => {
      const terminal = top(operator.url);
      await terminal.shows('q quit');
      // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is looked for
      expect(terminal.output).not.toMatch(/[^\nH]\x1b\[[JK]/);
    });

    test('Ctrl-Z where no shell could let it go on goes on at once', async () => {
      const terminal = top(operator.url);
      await terminal.shows('q quit');
      terminal.type('\x1a');
      await until(() => terminal.output.split('\x1b[?1049h').length > 2, { what: 'the screen is back' });
      terminal.type('2');
      await terminal.shows('[2 realms]');
      terminal.type('q');
      expect(await terminal.ended()).toEqual({ code: 0, restored: true });
    });

    test('a database that goes away is said, and asked again until it is back', async () => {
      const proxy = await startProxy(operator.url);
      try {
        const terminal = top(proxy.url, '--view', 'realms');
        await terminal.shows(REALM);
        proxy.door = 'close';
        proxy.cut();
        await terminal.shows(/no answer for .*asking again/);
        await terminal.shows(REALM);
        proxy.door = 'accept';
        await until(() => !terminal.screen.join().includes('no answer'), { what: 'it is back' });
        terminal.type('\x03');
        expect(await terminal.ended()).toEqual({ code: 0, restored: true });
      } finally {
        await proxy.close();
      }
    });

    test('trap: what was asked before p was pressed does not change what is being read', async () => {
      const proxy = await startProxy(operator.url);
      try {
        const terminal = top(proxy.url, '--view', 'invalidations');
        await terminal.shows('q quit');
        proxy.hold('late.ts');
        await cache.invalidate(['late.ts'], REALM);
        await until(() => proxy.held.includes('late.ts'), { what: 'the answer is on its way' });
        terminal.type('p');
        await terminal.shows('paused');
        const drawn = terminal.output.length;
        proxy.release();
        await until(() => terminal.output.length > drawn, { what: 'the answer has come' });
        expect(terminal.screen.join()).not.toContain('late.ts');
        terminal.type('p');
        await terminal.shows('late.ts');
      } finally {
        await proxy.close();
      }
    });

    test.each(['SIGTERM', 'SIGHUP', 'SIGINT'])('%s gives the terminal back as well', async (name) => {
      const terminal = top(operator.url);
      await terminal.shows('q quit');
      terminal.signal(name);
      expect((await terminal.ended()).restored).toBe(true);
    });

    test('an error that nobody expected gives the terminal back before it is written', async () => {
      const terminal = startInTerminal(['top', '--database-url', operator.url], {
        env: {
          NODE_OPTIONS: `--import data:text/javascript,process.on('SIGUSR2',()=>{throw%20Error('unexpected')})`,
        },
      });
      await terminal.shows('q quit');
      terminal.signal('SIGUSR2');
      expect(await terminal.ended()).toEqual({ code: 1, restored: true });
      expect(terminal.output.slice(terminal.output.lastIndexOf('\x1b[?1049l'))).toContain(
        'Error: unexpected',
      );
    });

    test('colours are for terminals, and NO_COLOR is heeded', async () => {
      const coloured = top(operator.url);
      const without = startInTerminal(['top', '--database-url', operator.url], { env: { NO_COLOR: '1' } });
      for (const terminal of [coloured, without]) {
        await terminal.shows('q quit');
        terminal.type('q');
        await terminal.ended();
      }
      expect(coloured.output).toContain('\x1b[1m');
      // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are what is looked for
      expect(without.output).not.toMatch(/\x1b\[\d+m/);
    });
  });
});
