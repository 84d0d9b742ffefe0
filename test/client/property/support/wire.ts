import type * as calls from '../../../../src/calls.js';
import type { ArtifactId } from '../../../../src/keys.js';
import type { Pool } from '../../../../src/pool.js';
import type { Session, SessionOptions } from '../../../../src/session.js';
import { withDeadline } from '../../../../src/waiting.js';
import {
  type Change,
  type createServer,
  type Module,
  modules,
  type PutRow,
  type Realm,
  type Server,
} from '../support/model.js';

/**
 * What lies between the client and the server: every question is asked, handled by the server and answered at three
 * moments that the schedule chooses, and so is every notification. The pool's questions overtake each other. On the
 * dedicated connection answers stay in order and so do notifications, but not the ones with the others.
 */

interface Question {
  readonly n: number;
  readonly about: string;
  readonly via: 'pool' | 'session';
  readonly asked: { readonly monotonic: number; readonly wall: number };
  readonly handle: () => unknown;
  readonly settle: (error: Error | undefined, answer?: unknown) => void;
  /** Not there before the server has handled it. */
  answer?: { readonly value: unknown; readonly known: Change[] };
}

/**
 * Stands in for a connection: what the stored functions are called on. `holder` is what holds its claims, `at` when
 * the question was asked, in things that happened.
 */
interface Line {
  ask<T>(about: string, handle: (server: Server, holder: object, at: number) => T): Promise<T>;
}

const THE_LOG = 'the log';

export class ConnectionLost extends Error {}

/** What the client was told of, one way or another; asked by the rules. */
export interface Hearing {
  /** The client has been told of these changes. */
  told(changes: readonly Change[]): void;
  /** The log has been asked and its answer is here. */
  caughtUp(asked: Question['asked']): void;
  /** The log did not reach back, so that everything has to be dropped. */
  droppedAll(): void;
  lost(): void;
  connected(): void;
}

export type Wire = ReturnType<typeof createWire>;

export function createWire(
  tick: () => number,
  hearing: Hearing,
  makeServer: (notify: Parameters<typeof createServer>[2]) => Server,
) {
  let questions: Question[] = [];
  let asked = 0;
  let notifications: { channel: string; payload: string; about: Change[] }[] = [];
  let hooks: SessionOptions | undefined;
  let generation = 0;
  /** Identity of the dedicated connection, for the claims that it holds; undefined while there is none. */
  let link: object | undefined;
  let closed = false;

  const server = makeServer((channel, payload) => {
    if (link === undefined) return;
    const { x, k } = channel === 'invalidated' ? JSON.parse(payload) : {};
    const about = k === 'log' ? [] : server.committed().filter(({ xid }) => String(xid) === x);
    notifications.push({ channel, payload, about });
  });

  const line = (via: Question['via']): Line => ({
    ask: <T>(about: string, handle: (server: Server, holder: object, at: number) => T) =>
      new Promise<T>((resolve, reject) => {
        const holder = link ?? {};
        if (closed || (via === 'session' && link === undefined)) throw new ConnectionLost('no connection');
        asked += 1;
        const at = tick();
        questions.push({
          n: asked,
          about,
          via,
          asked: { monotonic: performance.now(), wall: Date.now() },
          handle: () => handle(server, holder, at),
          settle: (error, answer) => (error === undefined ? resolve(answer as T) : reject(error)),
        });
      }),
  });
  const [poolLine, sessionLine] = [line('pool'), line('session')];

  function fail(which: (question: Question) => boolean): void {
    const failed = questions.filter(which);
    questions = questions.filter((question) => !which(question));
    for (const { settle } of failed) settle(new ConnectionLost('the connection is lost'));
  }

  function lose(error: unknown): void {
    if (link === undefined) return;
    server.end(link);
    link = undefined;
    generation += 1;
    notifications = [];
    hearing.lost();
    hooks?.onDisconnected(error);
    fail(({ via }) => via === 'session');
  }

  const session: Session = {
    get generation() {
      return generation;
    },
    get connected() {
      return link !== undefined;
    },
    async run(call, timeoutMs) {
      const asking = link;
      if (asking === undefined) throw new ConnectionLost('no connection');
      try {
        const late = () => new Error(`no answer for ${timeoutMs} ms`);
        return await withDeadline(call(sessionLine as never), timeoutMs, late);
      } catch (error) {
        if (link === asking) lose(error);
        throw error;
      }
    },
    replace: lose,
    async close() {
      if (link !== undefined) server.end(link);
      link = undefined;
      notifications = [];
      fail(({ via }) => via === 'session');
    },
  };
  const pool: Pool = {
    run: async (call) => call(poolLine as never),
    look: async () => {},
    size: 10,
    async close() {
      closed = true;
      fail(() => true);
    },
  };

  /** The dedicated connection is one after the other; the pool is not. */
  const first = (of: Question[]): Question[] =>
    of.filter((question) => question.via === 'pool' || question === of.find(({ via }) => via === 'session'));
  const unhandled = (): Question[] => first(questions.filter(({ answer }) => answer === undefined));
  const onTheWay = (): Question[] => first(questions.filter(({ answer }) => answer !== undefined));

  return {
    server,
    pool,
    /** Of the session that the client opens. */
    async openSession(options: SessionOptions): Promise<Session> {
      hooks = options;
      this.connect();
      return session;
    },
    connect(): void {
      link = {};
      generation += 1;
      hearing.connected();
      hooks?.onConnected();
    },
    get link() {
      return link;
    },
    get generation() {
      return generation;
    },
    /** How many questions were asked until now. */
    get asked() {
      return asked;
    },
    unhandled,
    onTheWay,
    asksTheLog: () => questions.some(({ about }) => about === THE_LOG),
    notifications: () => notifications,
    /** The server handles a question; the answer is on its way. */
    handle(question: Question): unknown {
      const value = question.handle();
      question.answer = { value, known: server.committed() };
      return value;
    },
    /** An answer reaches the client. */
    deliver(question: Question): void {
      questions = questions.filter((other) => other !== question);
      const { value, known } = question.answer as NonNullable<Question['answer']>;
      if (question.about === THE_LOG) {
        hearing.told(known);
        hearing.caughtUp(question.asked);
        if (!(value as calls.ChangesRow).complete) hearing.droppedAll();
      }
      const token = typeof value === 'string' ? value : (value as { token?: unknown } | null)?.token;
      hearing.told(server.changes.filter((change) => change.token === token));
      question.settle(undefined, value);
    },
    /** The next notification reaches the client, and perhaps once more later. */
    deliverNotification(again: boolean): string {
      const next = notifications[0] as (typeof notifications)[number];
      notifications = notifications.slice(1);
      if (again) notifications.push(next);
      hearing.told(next.about.filter(({ undone }) => !undone));
      hooks?.onNotification(`module_cache_${next.channel}`, next.payload);
      return next.payload;
    },
    lose,
    /** The connection of one question breaks; whether the server had handled it stays unknown to the client. */
    break: (question: Question) => fail((other) => other === question),
    breakAll(): void {
      lose(new ConnectionLost('the server has gone'));
      fail(() => true);
    },
    hand: (payload: object) => hooks?.onNotification('module_cache_invalidated', JSON.stringify(payload)),
  };
}

/** The stored functions as the client calls them (src/calls.ts), put to the model. */
export const modelCalls: Record<keyof typeof calls, unknown> = {
  get: (line: Line, { realm, path }: ArtifactId) =>
    line.ask(`get ${path}`, ({ get }, _, at) => {
      const row = get(realm + path);
      // Memory shows by it how old an entry is.
      return { ...row, headers: { ...row.headers, at } };
    }),
  getMany: (line: Line, ids: readonly ArtifactId[]) =>
    line.ask(`get ${ids.map(({ path }) => path)}`, ({ get }, _, at) =>
      ids.map(({ realm, path }) => {
        const row = get(realm + path);
        return { ...row, headers: { ...row.headers, at } };
      }),
    ),
  getDigest: async () => ({ token: null }),
  isCurrent: (line: Line, { realm, path }: ArtifactId, token: string) =>
    line.ask(`is ${path} current`, ({ isCurrent }) => isCurrent(realm + path, token)),
  areCurrent: (line: Line, entries: readonly { id: ArtifactId; token: string }[]) =>
    line.ask(`are ${entries.map(({ id }) => id.path)} current`, ({ isCurrent }) =>
      entries.map(({ id, token }) => isCurrent(id.realm + id.path, token)),
    ),
  put: (line: Line, { realm, path }: ArtifactId, row: PutRow) =>
    line.ask(`put ${path}`, ({ put }) => put(realm + path, row)),
  changesSince: (line: Line, cursor: string | null) =>
    line.ask(THE_LOG, ({ changesSince }) => changesSince(cursor)),
  claim: (line: Line, { realm, path }: ArtifactId) =>
    line.ask(`claim ${path}`, ({ claim }, holder) => ({
      claimed: claim(realm + path, holder),
      key: realm + path,
    })),
  release: (line: Line, { realm, path }: ArtifactId) =>
    line.ask(`release ${path}`, ({ release }, holder) => release(realm + path, holder)),
  invalidate: (line: Line, realm: string, paths: readonly string[]) =>
    line.ask(`invalidate ${paths}`, (server) => {
      const module = modules.find(({ url }) => url === realm + paths[0]) as Module;
      const { token } = invalidateAt(server, module);
      return { token, modules: [{ realm, path: module.path }] };
    }),
  clearRealm: (line: Line, realm: Realm) =>
    line.ask(`clear ${realm}`, (server) => invalidateAt(server, realm).token),
  clearAll: (line: Line) =>
    line.ask('clear everything', (server) => invalidateAt(server, 'everything').token),
  mayCall: async () => false,
  reportPeer: async () => false,
  showWaiting: async () => false,
  electCollector: async () => false,
  resignCollector: async () => {},
  collectForFleet: async () => {},
  notify: async () => {},
  only: () => [],
};

function invalidateAt(server: Server, what: Parameters<Server['begin']>[0]): Change {
  const change = server.begin(what, 'notified', []);
  server.commit(change);
  return change;
}
