/**
 * The database in a few lines: sources with their history, transactions that invalidate, snapshots, artifacts, the log,
 * claims, and the life that a restart ends. It answers like the stored functions (DESIGN.md section 3), one question
 * at a time.
 *
 * What is *right* is told apart from how it is decided. Artifacts remember which version of each source they were made
 * from, in the order in which things really happened; the rules compare that, and never snapshots or cover keys.
 */

export const HOME = 'https://home.example/';
const AWAY = 'https://away.example/';
/** Lies in the URL of HOME. */
export const INNER = `${HOME}inner/`;
/** a.ts may import the others, which live in three realms. */
export const modules = [
  { realm: HOME, path: 'a.ts', url: `${HOME}a.ts` },
  { realm: HOME, path: 'b.ts', url: `${HOME}b.ts` },
  { realm: AWAY, path: 'c.ts', url: `${AWAY}c.ts` },
  { realm: INNER, path: 'index.ts', url: `${INNER}index.ts` },
] as const;
export type Module = (typeof modules)[number];
export type Realm = typeof HOME | typeof INNER;
/** What a transaction changes: a module, all of a realm, or everything. */
export type Scope = Module | Realm | 'everything';

export interface Snapshot {
  readonly xmin: number;
  readonly xmax: number;
  readonly xip: readonly number[];
}

/** A transaction that changes sources and invalidates them, in one. */
export interface Change {
  readonly xid: number;
  readonly token: string;
  readonly urls: ReadonlySet<string>;
  /** What the log and the notification say of it. */
  readonly payload: { readonly k: string; readonly r?: string; readonly m?: string[]; readonly x: string };
  readonly how: 'notified' | 'only in the log' | 'notified without names';
  /** What a.ts imports from now on, if this changes it. */
  readonly imports: readonly string[];
  /** When it committed, counted in things that happened; undefined while it is open. */
  seq: number | undefined;
  /** The volume was set back to before it. */
  undone: boolean;
}

interface Version {
  readonly seq: number;
  readonly ms: number;
  readonly value: number;
  readonly imports: readonly string[];
}

/** What a producer made, and from what. */
export interface Made {
  readonly body: string;
  /** For each source the moment at which it was read, and what it was then. */
  readonly reads: Map<string, { readonly seq: number; readonly value: number }>;
  /** When its life is over, by the server's clock. */
  endsMs: number;
}

interface Artifact {
  readonly body: string;
  readonly headers: Record<string, unknown>;
  readonly urls: readonly string[];
  readonly isError: boolean;
  snapshot: Snapshot;
  readonly putXid: number;
  /** When it got its snapshot. */
  since: number;
  readonly endsMs: number;
}

export interface PutRow {
  readonly body: string;
  readonly headers: Record<string, unknown>;
  readonly dependencyKeys: readonly string[];
  readonly token: string | null;
  readonly expiresInMs: number | null;
  readonly isError: boolean;
}

const sees = (snapshot: Snapshot, xid: number): boolean => xid < snapshot.xmax && !snapshot.xip.includes(xid);

export type Server = ReturnType<typeof createServer>;

/**
 * @param tick counts the things that happen
 * @param now the server's clock in ms
 * @param notify called at commit for who listens
 */
export function createServer(
  tick: () => number,
  now: () => number,
  notify: (channel: 'invalidated' | 'populated', payload: string) => void,
) {
  const history = new Map<string, Version[]>();
  for (const { url } of modules) {
    const imports = url === modules[0].url ? [modules[1].url] : [];
    history.set(url, [{ seq: tick(), ms: now(), value: 0, imports }]);
  }
  const made = new Map<string, Made>();
  const changes: Change[] = [];
  const artifacts = new Map<string, Artifact>();
  const claims = new Map<string, object>();
  let epoch = 1;
  let start = 1;
  /** Undefined after a restart, until somebody renews it. */
  let life: string | undefined;
  let nextXid = 10;
  let lastCompleted = 9;
  /** Below it the log has been cleared away. */
  let floors = [{ seq: 0, floor: 0 }];
  renew();

  function renew(): void {
    life ??= `${epoch.toString(16).padStart(32, '0')}-${start.toString(16)}`;
  }

  const latest = (url: string): Version => history.get(url)?.at(-1) as Version;
  const open = (): Change[] => changes.filter(({ seq, undone }) => seq === undefined && !undone);
  const committed = (): Change[] => changes.filter(({ seq, undone }) => seq !== undefined && !undone);
  const floor = (): number => floors.at(-1)?.floor ?? 0;

  function snapshot(): Snapshot {
    const xmax = lastCompleted + 1;
    const xip = open()
      .map(({ xid }) => xid)
      .filter((xid) => xid < xmax);
    return { xmin: Math.min(xmax, ...xip), xmax, xip };
  }
  const textOf = ({ xmin, xmax, xip }: Snapshot): string => `${life}/${xmin}:${xmax}:${xip.join(',')}`;
  function parse(token: string): { life: string; snapshot: Snapshot } {
    const [of, text] = token.split('/') as [string, string];
    const [xmin, xmax, xip] = text.split(':') as [string, string, string];
    return {
      life: of,
      snapshot: { xmin: +xmin, xmax: +xmax, xip: xip === '' ? [] : xip.split(',').map(Number) },
    };
  }

  const outdated = (urls: readonly string[], seen: Snapshot): boolean =>
    seen.xmin < floor() ||
    log().some((change) => !sees(seen, change.xid) && urls.some((url) => change.urls.has(url)));
  /** What was invalidated in this life of the tables. */
  let lifeBegan = 0;
  const log = (): Change[] => committed().filter(({ seq }) => (seq as number) > lifeBegan);

  function liveAt(url: string): Artifact | undefined {
    const artifact = artifacts.get(url);
    if (artifact === undefined || life === undefined || artifact.endsMs <= now()) return undefined;
    return outdated(artifact.urls, artifact.snapshot) ? undefined : artifact;
  }

  function newXid(): number {
    nextXid += 1;
    return nextXid - 1;
  }
  function complete(xid: number): void {
    lastCompleted = Math.max(lastCompleted, xid);
  }

  /** All that was there is gone but the sources, or also what came after `seq`. */
  function restart(): void {
    for (const change of open()) change.undone = true;
    claims.clear();
    start += 1;
    life = undefined;
  }

  return {
    made,
    changes,
    committed,
    open,
    latest,
    /** The moment since which it has no longer been what its sources say; undefined while it is. */
    outdatedSinceMs(of: Made): number | undefined {
      const since = [...of.reads].flatMap(([url, read]) => {
        const versions = history.get(url) as Version[];
        const last = versions.findLastIndex(({ value }) => value === read.value);
        const next = versions[last + 1];
        return next === undefined ? [] : [next.ms];
      });
      return since.length === 0 ? undefined : Math.min(...since);
    },

    begin(what: Scope, how: Change['how'], imports: readonly string[]): Change {
      const xid = newXid();
      const x = String(xid);
      const urls = modules.filter(
        (module) => what === 'everything' || module === what || module.realm === what,
      );
      const payload =
        what === 'everything'
          ? { k: 'global', x }
          : typeof what === 'string'
            ? { k: 'realm', r: what, x }
            : { k: 'module', r: what.realm, m: [what.path], x };
      const token = `${life ?? '0'.repeat(32).concat('-0')}@${xid}`;
      const change: Change = {
        xid,
        token,
        urls: new Set(urls.map(({ url }) => url)),
        payload,
        how,
        imports,
        seq: undefined,
        undone: false,
      };
      changes.push(change);
      return change;
    },
    commit(change: Change): void {
      const seq = tick();
      change.seq = seq;
      complete(change.xid);
      for (const url of change.urls) {
        const imports = url === modules[0].url ? change.imports : [];
        history.get(url)?.push({ seq, ms: now(), value: seq, imports });
      }
      if (change.how === 'notified') notify('invalidated', JSON.stringify(change.payload));
      if (change.how === 'notified without names') {
        notify('invalidated', JSON.stringify({ k: 'log', x: String(change.xid) }));
      }
    },
    rollBack(change: Change): void {
      change.undone = true;
      complete(change.xid);
    },

    get(url: string) {
      const artifact = liveAt(url);
      const token = life === undefined ? null : textOf(snapshot());
      const nothing = { body: '', headers: {}, dependencyKeys: [], generation: null, expiresInMs: null };
      if (artifact === undefined) return { ...nothing, status: 'miss' as const, token };
      const { body, headers, urls, isError, endsMs } = artifact;
      return {
        status: isError ? ('error' as const) : ('hit' as const),
        body,
        headers,
        dependencyKeys: urls.slice(1).map((each) => keyOf(realmAt(url), each)),
        generation: null,
        token,
        expiresInMs: endsMs === Number.POSITIVE_INFINITY ? null : endsMs - now(),
      };
    },
    isCurrent(url: string, token: string): boolean {
      const artifact = liveAt(url);
      const seen = parse(token);
      return artifact !== undefined && seen.life === life && sees(seen.snapshot, artifact.putXid);
    },
    put(url: string, row: PutRow): string {
      if (life === undefined || row.token === null || parse(row.token).life !== life) {
        renew();
        return 'epoch';
      }
      const seen = parse(row.token).snapshot;
      const urls = [url, ...row.dependencyKeys.map((key) => urlOf(url, key))];
      if (outdated(urls, seen)) return 'stale';
      const old = liveAt(url);
      const isNewer = (a: Snapshot, b: Snapshot): boolean =>
        a.xmax === b.xmax ? a.xip.length < b.xip.length : a.xmax > b.xmax;
      if (old !== undefined && isNewer(old.snapshot, seen)) return 'older';
      const xid = newXid();
      complete(xid);
      const endsMs = row.expiresInMs === null ? Number.POSITIVE_INFINITY : now() + row.expiresInMs;
      const product = made.get(row.body);
      if (product !== undefined) product.endsMs = endsMs;
      const { body, headers, isError } = row;
      const artifact = { body, headers, isError, urls, snapshot: seen, putXid: xid, endsMs };
      artifacts.set(url, { ...artifact, since: tick() });
      return 'stored';
    },
    changesSince(cursor: string | null) {
      const seen = cursor === null ? undefined : parse(cursor);
      const known = life !== undefined && seen?.life === life;
      renew();
      const complete = known && seen.snapshot.xmin >= floor();
      const missed = complete
        ? log().filter(({ xid }) => xid >= seen.snapshot.xmax || seen.snapshot.xip.includes(xid))
        : [];
      return { cursor: textOf(snapshot()), complete, changes: missed.map(({ payload }) => payload) };
    },
    claim(key: string, holder: object): boolean {
      if (claims.has(key)) return false;
      claims.set(key, holder);
      return true;
    },
    release(key: string, holder: object): boolean {
      if (claims.get(key) !== holder) return false;
      claims.delete(key);
      notify('populated', key);
      return true;
    },
    /** A session ends without a word, and its claims with it. */
    end(holder: object): void {
      for (const [key, by] of claims) if (by === holder) claims.delete(key);
    },

    /** Artifacts that nobody can have are deleted, the others get a new snapshot, and the log is cut off below it. */
    collectGarbage(): void {
      const seen = snapshot();
      for (const [url, artifact] of artifacts) {
        if (liveAt(url) === undefined) artifacts.delete(url);
        else Object.assign(artifact, { snapshot: seen, since: tick() });
      }
      floors.push({ seq: tick(), floor: seen.xmin });
    },
    /** The unlogged tables come back empty. */
    crash(): void {
      restart();
      artifacts.clear();
      floors = [{ seq: tick(), floor: 0 }];
      lifeBegan = tick();
      epoch += 1;
    },
    /** The server comes up from a copy of its volume from before the last `count` changes. */
    setBack(count: number): void {
      const to = (committed().at(-count)?.seq ?? tick()) - 1;
      if (to < lifeBegan) {
        this.crash();
        return;
      }
      for (const change of committed()) if ((change.seq as number) > to) change.undone = true;
      restart();
      for (const [url, { since }] of artifacts) if (since > to) artifacts.delete(url);
      floors = floors.filter(({ seq }) => seq <= to);
      // Transaction ids are used again, from the first that the copy does not know.
      const seen = [...artifacts.values()].flatMap(({ putXid, snapshot }) => [putXid, snapshot.xmax - 1]);
      lastCompleted = Math.max(9, floor(), ...committed().map(({ xid }) => xid), ...seen);
      nextXid = lastCompleted + 1;
      for (const { url } of modules) {
        const then = history.get(url)?.findLast(({ seq }) => seq <= to) as Version;
        if (then !== latest(url)) history.get(url)?.push({ ...then, seq: tick(), ms: now() });
      }
    },
  };
}

/** The key by which a module of the realm declares this URL, as the client normalises it. */
const keyOf = (realm: string, url: string): string =>
  (url.startsWith(realm) ? url.slice(realm.length) : url).replace(/(?:(?<=.)\/index)?\.ts$/, '');
const realmAt = (url: string): string => modules.find((module) => module.url === url)?.realm as string;
/** @param key of the module at `from`, normalised or not */
function urlOf(from: string, key: string): string {
  const realm = realmAt(from);
  return modules.find(({ url }) => keyOf(realm, url) === key || url === `${key}.ts`)?.url as string;
}
