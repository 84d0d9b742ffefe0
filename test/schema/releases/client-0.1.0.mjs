// The client of 0.1.0 as it was built, in one file. Not to be changed: tests run it against newer schemas.
var ModuleCacheError = class extends Error {
  code;
  detail;
  hint;
  constructor(code, message, extra = {}) {
    super(message, extra.cause === void 0 ? void 0 : { cause: extra.cause });
    this.name = "ModuleCacheError";
    this.code = code;
    this.detail = extra.detail;
    this.hint = extra.hint;
  }
};
var MAX_KEY_BYTES = 2e3;
var MAX_KIND_BYTES = 64;
var MAX_VARIANT_BYTES = 500;
var realmPattern = /^([a-z][a-z0-9+.-]*:\/\/[^/?#@\\]*)\/([^?#]*\/)?$/i;
var urlPattern = /^[a-z][a-z0-9+.-]*:\/\//i;
var dotSegment = /(^|\/)\.\.?(\/|$)/;
var extensionsAndIndex = /((?<=[^/])(?<!\.d)\.ts|(?<=[^/])\.(?:tsx|mts|js|jsx|mjs|gts|gjs)|(?<=.)\/index)+$/s;
var extensions = /((?<=[^/])(?<!\.d)\.ts|(?<=[^/])\.(?:tsx|mts|js|jsx|mjs|gts|gjs))+$/;
var finalSlashes = /\/+$/;
function normalizeRealm(realm) {
  const parts = realmPattern.exec(realm);
  if (parts === null || hasControl(realm) || dotSegment.test(parts[2] ?? "") || !fits(realm))
    return null;
  return asciiLower(parts[1]) + realm.slice(parts[1].length);
}
function normalizePath(realm, path) {
  const valid = path !== "" && !path.startsWith("/") && !/[?#]/.test(path) && !dotSegment.test(path) && isText(path) && fits(realm + path);
  return valid ? path : null;
}
function dependencyKeyOf(path) {
  return path.replace(extensionsAndIndex, "");
}
function normalizeDependency(realm, key) {
  if (!urlPattern.test(key)) {
    const path2 = normalizePath(realm, key.replace(finalSlashes, ""));
    return path2 === null ? null : dependencyKeyOf(path2);
  }
  const authorityEnd = key.indexOf("/", key.indexOf("://") + 3) + 1;
  if (authorityEnd === 0)
    return null;
  const host = normalizeRealm(key.slice(0, authorityEnd));
  if (host === null)
    return null;
  const path = normalizePath(host, key.slice(authorityEnd).replace(finalSlashes, ""));
  if (path === null)
    return null;
  const url = host + path;
  if (url.startsWith(realm)) {
    const own = url.slice(realm.length);
    if (!urlPattern.test(own) && !own.startsWith("/"))
      return own === "" ? null : dependencyKeyOf(own);
  }
  const bare = path.replace(extensions, "");
  const folder = /^(.+)\/index$/s.exec(bare)?.[1];
  return host + (folder !== void 0 && dependencyKeyOf(folder) === folder ? folder : bare);
}
var moduleCover = (realm, path) => `m${realm}${dependencyKeyOf(path)}`;
var realmCover = (realm) => `r${realm}`;
var GLOBAL_COVER = "g";
function coversOf(realm, path, dependencyKeys) {
  const covers = /* @__PURE__ */ new Set([moduleCover(realm, path), realmCover(realm), GLOBAL_COVER]);
  for (const key of dependencyKeys) {
    if (!urlPattern.test(key)) {
      covers.add(`m${realm}${key}`);
      continue;
    }
    const index = `${key}/index`;
    for (let end = index.indexOf("/", index.indexOf("://") + 3); end >= 0; end = index.indexOf("/", end + 1)) {
      const prefix = index.slice(0, end + 1);
      covers.add(realmCover(prefix));
      covers.add(moduleCover(prefix, index.slice(end + 1)));
    }
  }
  return [...covers];
}
function requireRealm(realm) {
  const normal = typeof realm === "string" ? normalizeRealm(realm) : null;
  if (normal !== null)
    return normal;
  throw new ModuleCacheError("MC001", "not a realm URL", {
    detail: `realm: ${show(realm)}`,
    hint: 'A realm is a URL such as https://example.com/app/: it has a host part, ends in "/", and has no user, query or fragment.'
  });
}
function requireArtifactId(request) {
  const realm = requireRealm(request.realm);
  const path = typeof request.path === "string" ? normalizePath(realm, request.path) : null;
  if (path === null) {
    throw new ModuleCacheError("MC001", "not a canonical path", {
      detail: `path: ${show(request.path)}`,
      hint: `A canonical path is not empty, has no leading "/", no "?" or "#", no "." or ".." segment, no NUL, and takes at most ${MAX_KEY_BYTES} bytes together with its realm.`
    });
  }
  const kind = request.kind ?? "transpile";
  if (kind === "" || !isText(kind) || Buffer.byteLength(kind) > MAX_KIND_BYTES) {
    throw new ModuleCacheError("MC001", "not a kind", {
      detail: `kind: ${show(kind)}`,
      hint: `A kind is 1 to ${MAX_KIND_BYTES} bytes of text without NUL.`
    });
  }
  const variant = request.variant ?? "";
  if (!isText(variant) || Buffer.byteLength(variant) > MAX_VARIANT_BYTES) {
    throw new ModuleCacheError("MC001", "not a variant", {
      detail: `variant: ${show(variant)}`,
      hint: `A variant is at most ${MAX_VARIANT_BYTES} bytes of text without NUL.`
    });
  }
  return { realm, path, kind, variant };
}
var isText = (text) => typeof text === "string" && !text.includes("\0") && text.isWellFormed();
var hasControl = (text) => /[\u0000-\u0020\u007f]/.test(text) || !text.isWellFormed();
var fits = (text) => text.length <= MAX_KEY_BYTES && Buffer.byteLength(text) <= MAX_KEY_BYTES;
var asciiLower = (text) => text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
function show(value) {
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > 200 ? `${text.slice(0, 200)}\u2026 (${text.length} characters)` : text;
}
var only = (rows) => rows[rows.length - 1];
async function get(sql, id) {
  const rows = await sql`
    select status, body, headers::text, array_to_json(dependency_keys)::text, generation::text, token,
      (extract(epoch from expires_in) * 1000)::text
    from module_cache.get(${id.realm}, ${id.path}, ${id.kind}, ${id.variant})`.values();
  const [status, body, headers, keys, generation, token, expires] = only(rows);
  return {
    status,
    body: body ?? "",
    headers: headers == null ? {} : JSON.parse(headers),
    dependencyKeys: keys == null ? [] : JSON.parse(keys),
    generation: generation ?? null,
    token: token ?? null,
    expiresInMs: expires == null ? null : Number(expires)
  };
}
async function isCurrent(sql, id, token) {
  const rows = await sql`
    select module_cache.is_current(${id.realm}, ${id.path}, ${id.kind}, ${id.variant}, ${token})::text`.values();
  return only(rows)[0] === "true";
}
async function put(sql, id, product) {
  const rows = await sql`
    select reason
    from module_cache.put(
      ${id.realm}, ${id.path}, ${id.kind}, ${id.variant}, ${product.body},
      ${JSON.stringify(product.headers)}::text::jsonb,
      array(select jsonb_array_elements_text(${JSON.stringify(product.dependencyKeys)}::text::jsonb)),
      ${product.token},
      ${intervalOf(product.expiresInMs)}::text::interval,
      ${String(product.isError)}::text::boolean)`.values();
  return only(rows)[0];
}
var intervalOf = (ms) => ms === null ? null : `${Math.min(Math.max(ms, 1e-3), 1e15).toFixed(3)} milliseconds`;
var muting = (sql, mute) => sql`
  muted as materialized (
    select case when ${String(mute)}::text::boolean then set_config('module_cache.notify', 'off', true) else '' end as setting
  )`;
async function invalidate(sql, realm, paths, mute = false) {
  const sendable = paths.map((path) => isText(path) ? path : "");
  const rows = await sql`
    with ${muting(sql, mute)}
    select module_cache.coherence_token(), i.modules
    from muted, lateral (
      select coalesce(json_agg(json_build_array(m.realm_url, m.canonical_path)), '[]')::text as modules
      from module_cache.invalidate(
        case when muted.setting is not null then ${realm} end,
        array(select jsonb_array_elements_text(${JSON.stringify(sendable)}::text::jsonb))) m
    ) i`.values();
  const [token, list] = only(rows);
  const modules = JSON.parse(list);
  return {
    token,
    modules: modules.map(([realmUrl, path]) => ({ realm: realmUrl, path }))
  };
}
async function clearRealm(sql, realm, mute = false) {
  const rows = await sql`
    with ${muting(sql, mute)}
    select module_cache.coherence_token(), module_cache.clear_realm(case when muted.setting is not null then ${realm} end)::text
    from muted`.values();
  return only(rows)[0];
}
async function clearAll(sql, mute = false) {
  const rows = await sql`
    with ${muting(sql, mute)}
    select module_cache.coherence_token(), case when muted.setting is not null then module_cache.clear_all()::text end
    from muted`.values();
  return only(rows)[0];
}
async function changesSince(sql, cursor) {
  const rows = await sql`
    select cursor, complete::text, changes::text from module_cache.changes_since(${cursor})`.values();
  const [next, complete, changes] = only(rows);
  return { cursor: next ?? null, complete: complete === "true", changes: JSON.parse(changes ?? "[]") };
}
async function claim(sql, id) {
  const rows = await sql`
    select
      module_cache.claim(${id.realm}, ${id.path}, ${id.kind}, ${id.variant})::text,
      module_cache._claim_key(${id.realm}, ${id.path}, ${id.kind}, ${id.variant})::text`.values();
  const [claimed, key] = only(rows);
  return { claimed: claimed === "true", key };
}
async function release(sql, id) {
  const rows = await sql`
    select module_cache.release(${id.realm}, ${id.path}, ${id.kind}, ${id.variant})::text`.values();
  return only(rows)[0] === "true";
}
async function notify(sql, channel) {
  await sql`select pg_notify(${channel}, '')`;
}
function withDeadline(work, ms, onTimeout) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => setImmediate(() => setImmediate(() => reject(onTimeout()))), ms);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
var MAX_TIMER_MS = 2 ** 31 - 1;
function createPatience(deadlineMs, signal) {
  let giveUp = () => {
  };
  const given = new Promise((_, reject) => {
    giveUp = reject;
  });
  given.catch(() => {
  });
  const timer = setTimeout(() => giveUp(new ModuleCacheError("MC102", "the deadline passed", {
    detail: `deadlineMs: ${deadlineMs}`,
    hint: "The module is still being produced here or in another process; ask again, or allow more time."
  })), Math.min(deadlineMs, MAX_TIMER_MS));
  const onAbort = () => giveUp(signal?.reason);
  if (signal?.aborted)
    onAbort();
  signal?.addEventListener("abort", onAbort, { once: true });
  return {
    wait: (work) => Promise.race([given, work]),
    close() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    }
  };
}
function sleep(ms, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted)
      return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done, { once: true });
  });
}
function orAborted(work, signal) {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted)
      onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
var CALL_TIMEOUT_MS = 5e3;
function createClaims(session, events) {
  const waiters = /* @__PURE__ */ new Map();
  function wait(key) {
    let populated = false;
    let wake = () => {
    };
    const onPopulated2 = () => {
      populated = true;
      wake();
    };
    const registered = waiters.get(key) ?? /* @__PURE__ */ new Set();
    waiters.set(key, registered.add(onPopulated2));
    return {
      held: false,
      async next(pollMs, signal) {
        if (!populated) {
          const woken2 = new AbortController();
          wake = () => woken2.abort();
          const onAbort = () => woken2.abort();
          signal.addEventListener("abort", onAbort, { once: true });
          if (signal.aborted)
            woken2.abort();
          await sleep(pollMs, woken2.signal);
          signal.removeEventListener("abort", onAbort);
        }
        const woken = populated;
        populated = false;
        return woken;
      },
      close() {
        registered.delete(onPopulated2);
        if (registered.size === 0 && waiters.get(key) === registered)
          waiters.delete(key);
      }
    };
  }
  function onPopulated(key) {
    for (const wake of [...waiters.get(key) ?? []])
      wake();
  }
  return {
    async acquire(id) {
      const { generation } = session();
      const { claimed, key } = await session().run((sql) => claim(sql, id), CALL_TIMEOUT_MS);
      if (!claimed)
        return wait(key);
      return {
        held: true,
        async release() {
          if (session().generation !== generation)
            return;
          try {
            await session().run((sql) => release(sql, id), CALL_TIMEOUT_MS);
          } catch (error) {
            events.emit("warning", { message: "a claim could not be released", error });
            if (session().generation === generation)
              session().replace(error);
          }
          onPopulated(key);
        }
      };
    },
    onPopulated,
    wakeAll() {
      for (const key of [...waiters.keys()])
        onPopulated(key);
    }
  };
}
var noTransactions = /* @__PURE__ */ new Set();
var snapshotToken = /^([0-9a-f]{32}-[0-9a-f]{1,16})\/(\d{1,20}):(\d{1,20}):([\d,]*)$/;
var coherenceToken = /^([0-9a-f]{32}-[0-9a-f]{1,16})@(\d{1,20})$/;
function parseSnapshotToken(token) {
  const parts = snapshotToken.exec(token);
  if (parts === null)
    throw notAToken(token, "get, changes_since");
  const xip = parts[4];
  return {
    life: parts[1],
    snapshot: {
      xmin: BigInt(parts[2]),
      xmax: BigInt(parts[3]),
      xip: xip === "" ? noTransactions : new Set(xip.split(",").map(BigInt))
    }
  };
}
function parseCoherenceToken(token) {
  const parts = coherenceToken.exec(token);
  if (parts === null)
    throw notAToken(token, "invalidate, coherence_token");
  return { life: parts[1], xid: BigInt(parts[2]) };
}
function isVisible(xid, snapshot) {
  if (xid < snapshot.xmin)
    return true;
  return xid < snapshot.xmax && !snapshot.xip.has(xid);
}
function notAToken(token, from) {
  return new ModuleCacheError("MC002", "not a token", {
    detail: `token: ${String(token).slice(0, 200)}`,
    hint: `Pass a token exactly as it was returned (${from}).`
  });
}
var PER_SECOND = { byHand: 50, ofTransactions: 1e3 };
var OVERFLOW_MS = 50;
var RECENT = 1e3;
function createCoherence(options) {
  const { l1, journal, events } = options;
  const askTimeoutMs = Math.min(Math.max(options.maxStalenessMs, 2e3), 1e4);
  let cursor;
  let freshUntil = { monotonic: Number.NEGATIVE_INFINITY, wall: Number.NEGATIVE_INFINITY };
  let running;
  let queued;
  let heartbeat;
  let overflow;
  let stopped = false;
  let reconnected = false;
  const recent = /* @__PURE__ */ new Set();
  let budget = { since: 0, byHand: 0, ofTransactions: 0 };
  function announced(change) {
    if (change.x === void 0)
      return false;
    const name = [change.x, change.k, change.r, change.m?.[0]].join(" ");
    if (recent.has(name))
      return true;
    recent.add(name);
    if (recent.size > RECENT)
      recent.delete(recent.values().next().value);
    return false;
  }
  function dropAll(reason) {
    l1.clear();
    journal.recordDropAll();
    options.onDroppedAll();
    events.emit("dropped", { reason });
  }
  function apply(change, sameLife) {
    if (change.k === "log") {
      void catchUp();
      return;
    }
    const xid = change.x === void 0 || !sameLife ? void 0 : BigInt(change.x);
    const covers = coversOfChange(change);
    journal.record(covers, xid);
    const dropped = l1.drop(covers, xid);
    options.onApplied(covers, xid);
    if (!announced(change)) {
      events.emit("invalidated", {
        scope: change.k,
        dropped,
        ...change.r === void 0 ? {} : { realm: change.r },
        ...change.m === void 0 ? {} : { paths: change.m },
        ...change.x === void 0 ? {} : { xid: change.x }
      });
    }
  }
  async function ask() {
    const began = { monotonic: performance.now(), wall: Date.now() };
    const row = await options.session().run((sql) => changesSince(sql, cursor?.text ?? null), askTimeoutMs);
    if (stopped || row.cursor === null)
      return false;
    if (row.complete)
      for (const change of row.changes)
        apply(change, true);
    else
      dropAll(cursor === void 0 ? "start" : "the log does not reach back to the cursor");
    cursor = { text: row.cursor, seen: parseSnapshotToken(row.cursor) };
    freshUntil = {
      monotonic: began.monotonic + options.maxStalenessMs,
      wall: began.wall + options.maxStalenessMs
    };
    if (reconnected || !row.complete) {
      reconnected = false;
      const ms = performance.now() - began.monotonic;
      events.emit("caught-up", { changes: row.changes.length, complete: row.complete, ms });
    }
    return true;
  }
  const askQuietly = () => ask().catch((error) => {
    if (!stopped)
      events.emit("warning", { message: "the log could not be asked", error });
    return false;
  });
  function catchUp() {
    if (stopped)
      return Promise.resolve(false);
    if (running === void 0) {
      running = askQuietly().finally(() => {
        running = void 0;
      });
      return running;
    }
    queued ??= running.then(() => {
      queued = void 0;
      return catchUp();
    });
    return queued;
  }
  function scheduleHeartbeat() {
    if (stopped)
      return;
    heartbeat = setTimeout(() => {
      void catchUp().finally(scheduleHeartbeat);
    }, options.heartbeatMs);
  }
  function mayTake(kind) {
    const now = performance.now();
    if (now - budget.since > 1e3)
      budget = { since: now, byHand: 0, ofTransactions: 0 };
    budget[kind] += 1;
    return budget[kind] <= PER_SECOND[kind];
  }
  return {
    isFresh: () => performance.now() < freshUntil.monotonic && Date.now() < freshUntil.wall,
    life: () => cursor?.seen.life,
    catchUp,
    async satisfies(token) {
      const { life, xid } = parseCoherenceToken(token);
      const seen = () => cursor?.seen.life === life && isVisible(xid, cursor.seen.snapshot);
      if (seen())
        return true;
      await catchUp();
      return seen();
    },
    apply: (change) => apply(change, true),
    onNotification(payload) {
      const change = parseChange(payload);
      if (change === void 0) {
        if (!mayTake("byHand"))
          return;
        events.emit("warning", { message: `a malformed notification was ignored: ${payload.slice(0, 200)}` });
      } else if (mayTake(change.x === void 0 ? "byHand" : "ofTransactions")) {
        apply(change, !reconnected);
      } else {
        overflow ??= setTimeout(() => {
          overflow = void 0;
          void catchUp();
        }, OVERFLOW_MS);
      }
    },
    onConnected() {
      reconnected = true;
      void catchUp();
    },
    async start() {
      await ask();
      reconnected = false;
      scheduleHeartbeat();
    },
    stop() {
      stopped = true;
      clearTimeout(heartbeat);
      clearTimeout(overflow);
      freshUntil = { monotonic: Number.NEGATIVE_INFINITY, wall: Number.NEGATIVE_INFINITY };
      l1.clear();
    }
  };
}
function coversOfChange(change) {
  if (change.k === "global")
    return [GLOBAL_COVER];
  const realm = change.r;
  if (change.k === "realm")
    return [realmCover(realm)];
  return [...new Set((change.m ?? []).map((path) => moduleCover(realm, path)))];
}
function parseChange(payload) {
  let value;
  try {
    value = JSON.parse(payload);
  } catch {
    return void 0;
  }
  if (typeof value !== "object" || value === null)
    return void 0;
  const { k, r, m, x } = value;
  if (x !== void 0 && !(typeof x === "string" && /^\d{1,20}$/.test(x)))
    return void 0;
  const xid = x === void 0 ? {} : { x };
  if (k === "global" || k === "log")
    return { k, ...xid };
  const realm = typeof r === "string" ? normalizeRealm(r) : null;
  if (realm === null)
    return void 0;
  if (k === "realm")
    return { k, r: realm, ...xid };
  if (k !== "module" || !Array.isArray(m) || !m.every((path) => typeof path === "string"))
    return void 0;
  return { k, r: realm, m, ...xid };
}
import postgres, {} from "postgres";
import { connect } from "node:net";
import { Duplex } from "node:stream";
var SILENCE_MS = 1e3;
function createDialer({ given, first = 0, onLost = () => {
} } = {}) {
  const sockets = /* @__PURE__ */ new Set();
  let next = first;
  let silent = 0;
  let stopped = false;
  function watch(socket) {
    const opened = performance.now();
    const listen = () => {
      socket.on("error", onLost);
      socket.once("close", () => {
        if (!sockets.delete(socket))
          return;
        const heard = socket.bytesRead > 0 || performance.now() - opened > SILENCE_MS;
        silent = heard ? 0 : silent + 1;
        if (!socket.writableEnded)
          onLost();
      });
    };
    sockets.add(socket);
    listen();
    const remove = socket.removeAllListeners.bind(socket);
    socket.removeAllListeners = (...event) => {
      remove(...event);
      if (sockets.has(socket))
        listen();
      return socket;
    };
  }
  return {
    async open(target) {
      if (stopped)
        return refusing(new Error("the connection is closed"));
      if (silent >= target.host.length) {
        silent = 0;
        return refusing(new Error("the connection was closed before the server answered"));
      }
      const index = next % target.host.length;
      next += 1;
      try {
        const socket = await given?.(target) ?? dial(target, index);
        watch(socket);
        return socket;
      } catch (error) {
        return refusing(error);
      }
    },
    stop() {
      stopped = true;
    },
    hangUp() {
      stopped = true;
      for (const socket of sockets)
        socket.destroy();
    }
  };
}
function dial({ host, port, path }, index) {
  const name = host[index];
  const socket = path ? connect({ path }) : connect({ host: name, port: port[index] });
  return Object.assign(socket, { host: name });
}
function refusing(error) {
  const socket = new Duplex({ read() {
  }, write: (_chunk, _encoding, done) => done(error) });
  setImmediate(() => setImmediate(() => socket.destroy(error)));
  return socket;
}
var ANSWER_TIMEOUT_MS = 5e3;
var ROUNDS = 4;
var isRelayed = (answer, backendPid) => answer.state?.pid !== void 0 && String(answer.state.pid) !== String(backendPid);
async function keepsSession(sql, openAnother) {
  if (!(await askSession(sql)).relayed)
    return true;
  const other = openAnother();
  try {
    const shared = compareSessions(sql, other);
    return !await withDeadline(shared, ANSWER_TIMEOUT_MS, () => new Error("no session within the time"));
  } catch {
    return false;
  } finally {
    await other.end({ timeout: 0 });
  }
}
async function compareSessions(one, other) {
  const first = await askSession(one);
  for (let round = 0; round < ROUNDS; round += 1) {
    if ((await askSession(other)).pid === first.pid)
      return true;
    for (let again = 0; again < 2; again += 1)
      if ((await askSession(one)).pid !== first.pid)
        return true;
  }
  return false;
}
async function askSession(sql) {
  const answer = await sql`select pg_backend_pid()::text`.values();
  const pid = only(answer)[0];
  return { pid, relayed: isRelayed(answer, pid) };
}
var leadsThroughPooler = async (sql) => (await askSession(sql)).relayed;
var VERSION = "0.1.0";
var OLDEST_SCHEMA = "0.1.0";
function requireCompatible(schema, oldestClient, client = VERSION) {
  if (isOlder(schema, OLDEST_SCHEMA)) {
    throw new ModuleCacheError("MC004", "the schema is too old for this client", {
      detail: `schema ${schema}, client ${client}, which works with a schema from ${OLDEST_SCHEMA} on`,
      hint: 'Upgrade the schema with "module-cache migrate", "alter extension module_cache update", or the script that "module-cache sql" prints.'
    });
  }
  if (isOlder(client, oldestClient)) {
    throw new ModuleCacheError("MC004", "the client is too old for this schema", {
      detail: `client ${client}, schema ${schema}, which works with a client from ${oldestClient} on`,
      hint: 'Upgrade the client with "npm install pg-module-cache".'
    });
  }
}
function isOlder(a, b) {
  const [left, right] = [a, b].map((version) => version.split(".").map((part) => Number.parseInt(part, 10)));
  for (let i = 0; i < 3; i += 1) {
    const difference = (left?.[i] ?? 0) - (right?.[i] ?? 0);
    if (difference !== 0)
      return difference < 0;
  }
  return false;
}
var isInstance = (connection) => typeof connection === "function";
async function openPool(connection, applicationName) {
  let source = isInstance(connection) ? givenPool(connection) : ownPool(connection, applicationName);
  const replace = async (other) => {
    const replaced = source;
    source = other;
    await replaced.end(0);
  };
  try {
    let { pinned, forgetful } = await inspectServer(source.sql());
    if (isInstance(connection)) {
      if (forgetful)
        await requireOwnSessions(connection);
    } else {
      const unprepared = forgetful ? { prepare: false } : {};
      if (forgetful)
        await replace(ownPool(connection, applicationName, unprepared));
      if (!pinned) {
        const settled = ownPool(connection, applicationName, { ...unprepared, connection: settledSessions });
        ({ pinned } = await inspectServer(settled.sql()).catch(() => ({ pinned: false })));
        if (pinned)
          await replace(settled);
        else
          await settled.end(0);
      }
    }
    const { sql, end } = source;
    return {
      run: (call) => pinned ? call(sql()) : sql().begin("isolation level read committed read write", call),
      close: () => end(CLOSE_TIMEOUT_S)
    };
  } catch (error) {
    await source.end(0);
    throw error;
  }
}
var settledSessions = {
  default_transaction_isolation: "read committed",
  // postgres.js leaves out what is false.
  default_transaction_read_only: "off"
};
var CLOSE_TIMEOUT_S = 5;
var backoff = (retries) => (0.5 + Math.random() / 2) * Math.min(1, 0.02 * 2 ** retries);
var givenPool = (sql) => ({ sql: () => sql, end: async () => {
} });
function ownPool(connection, applicationName, overrides = {}) {
  const retiring = /* @__PURE__ */ new Set();
  let current;
  let ended = false;
  function open() {
    const sql = openOwned(connection, {
      ...overrides,
      // Nothing here needs them. And a pooler lets in before it has a server: asking for them may fail then, and as
      // nobody waits for that answer it would end the process (postgres.js 3.4).
      fetch_types: false,
      connection: { application_name: applicationName, ...overrides.connection }
    });
    const options = sql.options;
    const opened = {
      sql,
      async end(timeout) {
        await sql.end({ timeout });
        dialer.hangUp();
      }
    };
    const dialer = createDialer({
      given: options.socket,
      onLost() {
        if (current !== opened || ended)
          return;
        current = void 0;
        const retired = opened.end(CLOSE_TIMEOUT_S).finally(() => retiring.delete(retired));
        retiring.add(retired);
      }
    });
    if (options.host.length === 1)
      options.socket = dialer.open;
    return opened;
  }
  current = open();
  return {
    sql() {
      if (ended)
        throw new Error("the pool is closed");
      current ??= open();
      return current.sql;
    },
    async end(timeout) {
      ended = true;
      await Promise.all([...retiring, current?.end(timeout)]);
    }
  };
}
function socketOf(connection) {
  if (typeof connection === "string")
    return void 0;
  const options = isInstance(connection) ? connection.options : connection;
  return options.socket;
}
function openDedicated(connection, overrides) {
  const own = {
    ...overrides,
    debug: false,
    onparameter: void 0,
    transform: { undefined: void 0, column: {}, value: {}, row: {} }
  };
  if (!isInstance(connection))
    return openOwned(connection, own);
  const parsed = connection.options;
  return postgres({
    ...parsed,
    ...own,
    connection: { ...parsed.connection, ...own.connection },
    parameters: {},
    shared: { retries: 0, typeArrayMap: {} }
  });
}
function openOwned(connection, overrides) {
  if (typeof connection === "string") {
    try {
      return postgres(connection, { onnotice: () => {
      }, backoff, ...overrides });
    } catch {
      throw new ModuleCacheError("MC107", "the connection is no URL", {
        detail: `${connection.length} characters that cannot be read as one`,
        hint: "Pass a URL such as postgres://user:password@host/database, with special characters percent-encoded."
      });
    }
  }
  return postgres({
    onnotice: () => {
    },
    backoff,
    ...connection,
    ...overrides,
    connection: { ...connection.connection, ...overrides.connection }
  });
}
var OLDEST_SERVER = 15e4;
async function inspectServer(sql) {
  const server = await sql`
    select
      current_setting('server_version_num'), current_setting('server_version'),
      current_setting('default_transaction_isolation'), current_setting('default_transaction_read_only'),
      to_regproc('module_cache.schema_version')::text, pg_is_in_recovery()::text, pg_backend_pid()::text,
      (select json_agg(name) from pg_prepared_statements where statement like '%pg_is_in_recovery%')::text`.values();
  const [versionNumber, version, isolation, readOnly, schemaVersion, standby, pid, names] = only(server);
  if (Number(versionNumber) < OLDEST_SERVER) {
    throw new ModuleCacheError("MC004", "this version of Postgres is not supported", {
      detail: `server_version: ${version}`,
      hint: "Use PostgreSQL 15 or newer."
    });
  }
  if (standby === "true") {
    throw new ModuleCacheError("MC005", "the server is a standby", {
      hint: "Connect to the primary: the cache cannot be read on a standby."
    });
  }
  if (schemaVersion == null) {
    throw new ModuleCacheError("MC004", "the database has no module_cache schema", {
      hint: 'Install it with "module-cache migrate", "create extension module_cache", or the script that "module-cache sql" prints.'
    });
  }
  const [schema, oldestClient] = only(await sql`select module_cache.schema_version(), module_cache.oldest_client()`.values());
  requireCompatible(String(schema), String(oldestClient));
  const prepared = JSON.parse(names ?? "[]").includes(server.statement.name);
  return {
    pinned: isolation === "read committed" && readOnly === "off",
    forgetful: prepared && isRelayed(server, pid)
  };
}
async function requireOwnSessions(instance) {
  const open = () => openDedicated(instance, { max: 1, prepare: false, fetch_types: false });
  const sql = open();
  try {
    if (await keepsSession(sql, open))
      return;
  } finally {
    await sql.end({ timeout: 0 });
  }
  throw new ModuleCacheError("MC107", "the pooler loses prepared statements", {
    detail: "The postgres.js instance prepares statements, and transactions share sessions that do not know them.",
    hint: "Pass prepare: false to postgres(), or use PgBouncer 1.21 or newer with max_prepared_statements."
  });
}
import { EventEmitter } from "node:events";
function createEmitter() {
  const emitter = new EventEmitter();
  const emit = emitter.emit.bind(emitter);
  emitter.emit = ((...args) => {
    try {
      return emit(...args);
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
      return true;
    }
  });
  return emitter;
}
function normalizeProduct(id, product) {
  const { body, headers = {}, dependencyKeys = [], expiresInMs } = product ?? {};
  const text = headersText(headers);
  const problem = typeof body !== "string" ? "its body is not a string" : text === void 0 ? "its headers are not an object that JSON can hold" : !Array.isArray(dependencyKeys) ? "its dependencyKeys are not an array" : expiresInMs !== void 0 && !(expiresInMs > 0 && expiresInMs < Number.POSITIVE_INFINITY) ? "its expiresInMs is not a positive number" : void 0;
  if (problem !== void 0) {
    throw new ModuleCacheError("MC003", "the producer returned no usable product", {
      detail: `${problem} (${id.realm}${id.path})`,
      hint: "Return { body, headers, dependencyKeys } with a string body."
    });
  }
  return {
    body: body.toWellFormed(),
    headers: JSON.parse(text),
    dependencyKeys: normalizeAll(id, dependencyKeys),
    isError: product.isError === true,
    expiresInMs: expiresInMs ?? null
  };
}
function headersText(headers) {
  if (typeof headers !== "object" || headers === null || Array.isArray(headers))
    return void 0;
  try {
    return JSON.stringify(headers).toWellFormed();
  } catch {
    return void 0;
  }
}
function normalizeAll(id, keys) {
  const normal = /* @__PURE__ */ new Set();
  for (const key of keys) {
    const declared = normalizeDependency(id.realm, key);
    if (declared === null) {
      throw new ModuleCacheError("MC001", "not a dependency key", {
        detail: `key: ${JSON.stringify(key)?.slice(0, 200)}`,
        hint: "A dependency key is a canonical path or key of the same realm, or a URL for a module of another realm."
      });
    }
    normal.add(declared);
  }
  return [...normal];
}
var FAILURE_HEADER = "module-cache-failure";
var FAILURE_LIFE_MS = 1e3;
var MAX_TRIES = 3;
var CONTENDED_RETRIES = 5;
var ELECTION_ATTEMPTS = 3;
function startFlight(context, id, producer) {
  const { pool, claims, l1, journal, events } = context;
  const ended = new AbortController();
  const began = { monotonic: performance.now(), wall: Date.now() };
  const fill = journal.begin();
  const ownCovers = [moduleCover(id.realm, id.path), realmCover(id.realm), GLOBAL_COVER];
  let joinable = true;
  let callers = 0;
  let production;
  let asked = { monotonic: 0, wall: 0 };
  const noteAsking = () => {
    asked = { monotonic: performance.now(), wall: Date.now() };
  };
  function keep(module, token, expiresInMs) {
    const seen = parseSnapshotToken(token);
    const covers = coversOf(id.realm, id.path, module.dependencyKeys);
    const outdatedAt = fill.outdatedAt(covers, seen.snapshot);
    if (outdatedAt !== void 0)
      events.emit("stale", { id, reason: "outdated on its way" });
    else if (seen.life === context.life()) {
      const expires = expiresInMs === null ? void 0 : { monotonic: asked.monotonic + expiresInMs, wall: asked.wall + expiresInMs };
      const { status, body, headers, dependencyKeys } = module;
      l1.set({ id, module: { status, body, headers, dependencyKeys }, covers, token, seen, expires });
    }
    return outdatedAt;
  }
  async function read() {
    noteAsking();
    const row = await pool.run((sql) => get(sql, id));
    if (row.token !== null)
      return row;
    await context.catchUp();
    noteAsking();
    return pool.run((sql) => get(sql, id));
  }
  function served(row, source) {
    const { status, body, headers, dependencyKeys } = row;
    if (headers[FAILURE_HEADER] !== void 0)
      throw producer === void 0 ? notThere(id) : failureOf(body);
    const module = { status, body, headers, dependencyKeys };
    const outdatedAt = row.token === null ? void 0 : keep(module, row.token, row.expiresInMs);
    return { module: { ...module, source, cached: true }, outdatedAt };
  }
  async function run() {
    let waited = false;
    let patienceEnds = performance.now() + context.claimPatienceMs;
    let row = await read();
    if (row.status !== "miss")
      return served(row, "l2");
    events.emit("miss", { id });
    if (producer === void 0)
      throw notThere(id);
    for (let tries = 1; ; ) {
      const claim2 = performance.now() < patienceEnds ? await elect() : void 0;
      try {
        row = await read();
      } catch (error) {
        await leaveElection(claim2);
        throw error;
      }
      if (row.status !== "miss") {
        await leaveElection(claim2);
        return served(row, waited ? "coalesced" : "l2");
      }
      if (claim2?.held === false) {
        waited = true;
        const woken = await claim2.next(context.pollMs * (0.75 + Math.random() / 2), ended.signal);
        claim2.close();
        ended.signal.throwIfAborted();
        if (woken)
          row = await read();
        if (row.status !== "miss")
          return served(row, "coalesced");
        continue;
      }
      const result2 = await produce(row.token, claim2, producer, tries >= MAX_TRIES);
      if (result2 !== void 0)
        return result2;
      tries += 1;
      patienceEnds = performance.now() + context.claimPatienceMs;
    }
  }
  async function elect() {
    for (let attempt = 1; ; attempt += 1) {
      ended.signal.throwIfAborted();
      try {
        return await claims.acquire(id);
      } catch (error) {
        if (attempt >= ELECTION_ATTEMPTS || error.name === "PostgresError") {
          events.emit("warning", { message: "a module is produced without a claim", error });
          return void 0;
        }
        await sleep(context.pollMs, ended.signal);
      }
    }
  }
  async function leaveElection(claim2) {
    if (claim2?.held === true)
      await claim2.release();
    if (claim2?.held === false)
      claim2.close();
  }
  async function produce(token, claim2, make, last) {
    const controller = new AbortController();
    const began2 = performance.now();
    let released = false;
    const release2 = async () => {
      if (released)
        return;
      released = true;
      await claim2?.release();
    };
    production = {
      controller,
      seen: token === null ? void 0 : parseSnapshotToken(token),
      onOutdated() {
        if (last)
          void release2();
        else
          controller.abort(new DOMException("the module was invalidated", "AbortError"));
      }
    };
    controller.signal.addEventListener("abort", () => void release2(), { once: true });
    try {
      let product;
      try {
        ended.signal.throwIfAborted();
        const making = Promise.resolve().then(() => make({ signal: controller.signal }));
        product = normalizeProduct(id, await orAborted(making, ended.signal));
      } catch (error) {
        if (controller.signal.aborted && !ended.signal.aborted)
          return void 0;
        if (!ended.signal.aborted && claim2 !== void 0)
          await keepFailure(token, error);
        throw error;
      }
      const stored = await store(token, product);
      events.emit("produced", { id, ms: performance.now() - began2, reason: stored });
      const { body, headers, dependencyKeys } = product;
      const status = product.isError ? "error" : "hit";
      const module = { status, body, headers, dependencyKeys };
      if (stored === "stored" && token !== null) {
        const outdatedAt2 = keep(module, token, product.expiresInMs);
        return { module: { ...module, source: "produced", cached: outdatedAt2 === void 0 }, outdatedAt: outdatedAt2 };
      }
      if (stored === "stale")
        events.emit("stale", { id, reason: "put" });
      const outdatedAt = token === null ? void 0 : fill.outdatedAt(coversOf(id.realm, id.path, module.dependencyKeys), parseSnapshotToken(token).snapshot);
      return { module: { ...module, source: "produced", cached: false }, outdatedAt };
    } finally {
      production = void 0;
      await release2();
    }
  }
  async function store(token, product) {
    const row = { ...product, token };
    try {
      for (let attempt = 0; ; attempt += 1) {
        noteAsking();
        const reason = await pool.run((sql) => put(sql, id, row));
        if (reason === "epoch")
          void context.catchUp();
        if (reason !== "contended" || attempt >= CONTENDED_RETRIES)
          return reason;
        await sleep(5 + Math.random() * 20, ended.signal);
      }
    } catch (error) {
      events.emit("warning", { message: "a product could not be stored", error });
      return "failed";
    }
  }
  async function keepFailure(token, error) {
    const { name, message } = error instanceof Error ? error : { name: "Error", message: String(error) };
    await store(token, {
      body: JSON.stringify({ name, message, code: error?.code ?? null }),
      headers: { [FAILURE_HEADER]: true },
      dependencyKeys: [],
      isError: true,
      expiresInMs: FAILURE_LIFE_MS
    });
  }
  const work = run().finally(() => {
    joinable = false;
    fill.end();
  });
  const result = orAborted(work, ended.signal);
  result.catch(() => {
  });
  return {
    result,
    landed: work.then(() => {
    }, () => {
    }),
    get joinable() {
      return joinable;
    },
    age: () => Math.max(performance.now() - began.monotonic, Date.now() - began.wall),
    join() {
      callers += 1;
    },
    leave() {
      callers -= 1;
      if (callers > 0 || ended.signal.aborted)
        return;
      joinable = false;
      const reason = new DOMException("nobody waits for this module any more", "AbortError");
      ended.abort(reason);
      production?.controller.abort(reason);
    },
    onApplied(covers, xid) {
      if (!ownCovers.some((cover) => covers.has(cover)))
        return;
      const seen = production?.seen;
      if (xid !== void 0 && seen !== void 0 && isVisible(xid, seen.snapshot))
        return;
      joinable = false;
      production?.onOutdated();
    },
    onDroppedAll() {
      joinable = false;
    },
    abort(reason) {
      joinable = false;
      ended.abort(reason);
      production?.controller.abort(reason);
    }
  };
}
function failureOf(body) {
  const failure = JSON.parse(body);
  if (failure.code === "MC105") {
    return new ModuleCacheError("MC105", failure.message);
  }
  return new ModuleCacheError("MC104", failure.message, {
    detail: `The producer failed with ${failure.name}.`,
    hint: "It is tried again for callers that come a second later.",
    cause: failure
  });
}
var isNotThere = (error) => error instanceof NotThere;
var NotThere = class extends Error {
};
var notThere = (id) => new NotThere(`${id.realm}${id.path}`);
function createJournal(limit = 1e4) {
  let position = 0;
  let remembered = 0;
  let entries = [];
  const open = /* @__PURE__ */ new Set();
  function voidAll() {
    for (const fill of open)
      fill.voidAt ??= fill.from + 1;
    entries = [];
    remembered = 0;
  }
  return {
    position: () => position,
    begin() {
      const fill = { from: position, voidAt: void 0 };
      open.add(fill);
      return {
        outdatedAt(covers, snapshot) {
          if (fill.voidAt !== void 0)
            return fill.voidAt;
          const own = new Set(covers);
          for (const entry of entries) {
            if (entry.position <= fill.from)
              continue;
            if (entry.xid !== void 0 && isVisible(entry.xid, snapshot))
              continue;
            if (entry.covers.some((cover) => own.has(cover)))
              return entry.position;
          }
          return void 0;
        },
        end() {
          open.delete(fill);
          if (open.size === 0) {
            entries = [];
            remembered = 0;
          }
        }
      };
    },
    record(covers, xid) {
      position += 1;
      if (open.size === 0)
        return;
      if (remembered + covers.length > limit) {
        voidAll();
        return;
      }
      entries.push({ position, covers, xid });
      remembered += covers.length;
    },
    recordDropAll() {
      position += 1;
      voidAll();
    }
  };
}
import { LRUCache } from "lru-cache";
var ENTRY_OVERHEAD_BYTES = 500;
var COVER_OVERHEAD_BYTES = 100;
var TRANSACTION_BYTES = 64;
function createL1(maxBytes) {
  const index = /* @__PURE__ */ new Map();
  const names = createNames();
  const entries = new LRUCache({
    maxSize: maxBytes,
    sizeCalculation: sizeOf,
    dispose: unindex
  });
  function unindex(entry) {
    names.delete(entry.id, entry);
    for (const cover of entry.covers) {
      const covered = index.get(cover);
      covered?.delete(entry);
      if (covered?.size === 0)
        index.delete(cover);
    }
  }
  return {
    get(id) {
      const entry = names.get(id);
      return entry === void 0 ? void 0 : entries.get(entry);
    },
    set(entry) {
      const previous = names.get(entry.id);
      if (previous !== void 0)
        entries.delete(previous);
      entries.set(entry, entry);
      if (entries.peek(entry) === void 0)
        return;
      names.set(entry.id, entry);
      for (const cover of entry.covers) {
        const covered = index.get(cover);
        if (covered === void 0)
          index.set(cover, /* @__PURE__ */ new Set([entry]));
        else
          covered.add(entry);
      }
    },
    delete: (entry) => void entries.delete(entry),
    drop(covers, xid) {
      let dropped = 0;
      for (const cover of covers) {
        for (const entry of index.get(cover) ?? []) {
          if (xid !== void 0 && isVisible(xid, entry.seen.snapshot))
            continue;
          entries.delete(entry);
          dropped += 1;
        }
      }
      return dropped;
    },
    clear: () => entries.clear(),
    stats: () => ({ entries: entries.size, bytes: entries.calculatedSize, covers: index.size })
  };
}
function sizeOf(entry) {
  const { body, headers, dependencyKeys } = entry.module;
  const { realm, path, kind, variant } = entry.id;
  let bytes = ENTRY_OVERHEAD_BYTES + Buffer.byteLength(body) + Buffer.byteLength(realm + path + kind + variant);
  bytes += Buffer.byteLength(JSON.stringify(headers)) + entry.token.length;
  bytes += entry.seen.snapshot.xip.size * TRANSACTION_BYTES;
  for (const key of dependencyKeys)
    bytes += Buffer.byteLength(key);
  for (const cover of entry.covers)
    bytes += COVER_OVERHEAD_BYTES + Buffer.byteLength(cover);
  return bytes;
}
function createNames() {
  const realms = /* @__PURE__ */ new Map();
  const within = (map, key) => {
    const inner = map.get(key) ?? /* @__PURE__ */ new Map();
    map.set(key, inner);
    return inner;
  };
  return {
    get: ({ realm, path, kind, variant }) => realms.get(realm)?.get(kind)?.get(variant)?.get(path),
    set({ realm, path, kind, variant }, value) {
      within(within(within(realms, realm), kind), variant).set(path, value);
    },
    delete({ realm, path, kind, variant }, value) {
      const kinds = realms.get(realm);
      const variants = kinds?.get(kind);
      const paths = variants?.get(variant);
      if (paths?.get(path) !== value)
        return;
      paths.delete(path);
      if (paths.size === 0)
        variants?.delete(variant);
      if (variants?.size === 0)
        kinds?.delete(kind);
      if (kinds?.size === 0)
        realms.delete(realm);
    }
  };
}
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
function checkOptions(options) {
  const { connection } = options ?? {};
  if (!connection || !["string", "object", "function"].includes(typeof connection)) {
    throw misuse(`connection is ${JSON.stringify(connection)}`, "Pass a URL such as postgres://user:password@host/database, options of postgres.js, or an instance of it.");
  }
  const broadcast = options.broadcast ?? "notify";
  const settings2 = {
    broadcast,
    maxBytes: Math.floor(options.l1?.maxBytes ?? 64e6),
    maxStalenessMs: options.maxStalenessMs ?? 5e3,
    heartbeatMs: options.heartbeatMs ?? (broadcast === "log" ? 250 : 1e3),
    deadlineMs: options.deadlineMs ?? 18e4,
    claimPatienceMs: options.claimPatienceMs ?? 3e4,
    name: options.name ?? `pg-module-cache ${hostname()} ${process.pid} ${randomUUID().slice(0, 4)}`
  };
  const { maxBytes, maxStalenessMs, heartbeatMs, deadlineMs, claimPatienceMs } = settings2;
  for (const [name, value] of Object.entries({
    maxBytes,
    maxStalenessMs,
    heartbeatMs,
    deadlineMs,
    claimPatienceMs
  })) {
    if (!(Number.isFinite(value) && value > 0))
      throw misuse(`${name} is ${value}`, "Pass a positive number.");
  }
  if (heartbeatMs >= maxStalenessMs) {
    throw misuse(`heartbeatMs ${heartbeatMs}, maxStalenessMs ${maxStalenessMs}`, "Memory could never be served between two heartbeats: make maxStalenessMs larger than heartbeatMs.");
  }
  if (typeof settings2.name !== "string" || !isText(settings2.name)) {
    throw misuse(`name is ${String(settings2.name)}`, "Pass text without NUL.");
  }
  if (broadcast !== "notify" && broadcast !== "log") {
    throw misuse(`broadcast is ${String(broadcast)}`, 'Pass "notify" or "log".');
  }
  return settings2;
}
function misuse(detail, hint) {
  return new ModuleCacheError("MC107", "an option of openModuleCache cannot be used", { detail, hint });
}
function checkRead({ consistency, after, signal, deadlineMs }) {
  if (consistency !== void 0 && consistency !== "bounded" && consistency !== "strong") {
    throw wrongShape(`consistency is ${String(consistency)}`, 'Pass "bounded" or "strong".');
  }
  if (after !== void 0 && typeof after !== "string") {
    throw wrongShape("after is no text", "Pass a token exactly as invalidate returned it.");
  }
  if (signal !== void 0 && typeof signal?.addEventListener !== "function") {
    throw wrongShape("signal is no AbortSignal", "Pass the signal of an AbortController.");
  }
  if (deadlineMs !== void 0 && !(deadlineMs > 0)) {
    throw wrongShape(`deadlineMs is ${String(deadlineMs)}`, "Pass a positive number of milliseconds.");
  }
}
function wrongShape(detail, hint) {
  return new ModuleCacheError("MC003", "an argument cannot be used", { detail, hint });
}
import { randomUUID as randomUUID2 } from "node:crypto";
var CONNECT_TIMEOUT_MS = 5e3;
var PROBE_TIMEOUT_MS = 5e3;
var UNLISTEN_TIMEOUT_MS = 500;
var MAX_BACKOFF_MS = 2e3;
var settings = [
  "default_transaction_isolation = 'read committed'",
  "default_transaction_read_only = off",
  "statement_timeout = 0",
  "lock_timeout = 0",
  "idle_session_timeout = 0",
  // A claim must not outlive a peer whose machine or network has gone without a word.
  "tcp_keepalives_idle = 5",
  "tcp_keepalives_interval = 2",
  "tcp_keepalives_count = 3",
  "tcp_user_timeout = 10000"
];
async function openSession(options) {
  let current;
  let connecting;
  let generation = 0;
  let links = 0;
  let closed = false;
  let retry;
  let attempts = 0;
  async function connect2(notifyProbe) {
    const probe = `module_cache_probe_${randomUUID2().replaceAll("-", "")}`;
    let heard = () => {
    };
    let closedEarly = (_) => {
    };
    const proof = new Promise((resolve, reject) => {
      heard = resolve;
      closedEarly = reject;
    });
    proof.catch(() => {
    });
    const link = openLink(probe, () => heard(), closedEarly);
    connecting = link;
    try {
      await withDeadline(link.sql.unsafe(`listen ${probe}`), CONNECT_TIMEOUT_MS, () => new Error(`no dedicated connection within ${CONNECT_TIMEOUT_MS} ms`));
      await withDeadline(Promise.all([notifyProbe(link, probe), proof]), PROBE_TIMEOUT_MS, deaf);
      await withDeadline(prepare(link, probe), CONNECT_TIMEOUT_MS, () => new Error(`no answer for ${CONNECT_TIMEOUT_MS} ms`));
      if (closed || link.lost)
        throw new Error("the dedicated connection was closed");
    } catch (error) {
      if (isDeaf(error))
        await unlisten(link, probe);
      void discard(link, 0);
      throw error;
    } finally {
      connecting = void 0;
    }
    current = link;
    link.since = performance.now();
    generation += 1;
    options.onConnected();
  }
  function openLink(probe, onProbe, onClose) {
    const dialer = createDialer({ given: socketOf(options.connection), first: links });
    links += 1;
    const link = {
      dialer,
      lost: false,
      since: 0,
      sql: openDedicated(options.connection, {
        max: 1,
        idle_timeout: 0,
        // postgres.js would otherwise close the connection after a while and take its claims along.
        max_lifetime: null,
        fetch_types: false,
        prepare: true,
        connect_timeout: CONNECT_TIMEOUT_MS / 1e3,
        connection: { application_name: options.applicationName },
        socket: dialer.open,
        onnotice: () => {
        },
        onnotify: (channel, payload) => {
          if (channel === probe)
            onProbe();
          else if (current === link)
            options.onNotification(channel, payload);
        },
        onclose: () => {
          const error = new Error("the dedicated connection was closed");
          link.lost = true;
          onClose(error);
          lose(link, error);
        }
      })
    };
    return link;
  }
  async function prepare({ sql }, probe) {
    const statements = [`unlisten ${probe}`, ...settings.map((setting) => `set ${setting}`)];
    if (options.broadcast === "log")
      statements.push("set module_cache.notify = off");
    else
      for (const channel of options.channels)
        statements.push(`listen ${channel}`);
    await sql.unsafe(statements.join(";"));
  }
  async function unlisten({ sql }, probe) {
    const late = () => new Error(`no answer for ${UNLISTEN_TIMEOUT_MS} ms`);
    await withDeadline(sql.unsafe(`unlisten ${probe}`), UNLISTEN_TIMEOUT_MS, late).catch(() => {
    });
  }
  async function discard(link, timeoutSeconds) {
    link.lost = true;
    link.dialer.stop();
    await link.sql.end({ timeout: timeoutSeconds });
    link.dialer.hangUp();
  }
  function lose(link, error) {
    if (current !== link || closed)
      return;
    current = void 0;
    generation += 1;
    if (performance.now() - link.since > MAX_BACKOFF_MS)
      attempts = 0;
    void discard(link, 0);
    options.onDisconnected(error);
    reconnectLater();
  }
  function reconnectLater() {
    if (closed || retry !== void 0)
      return;
    const backoff2 = Math.min(MAX_BACKOFF_MS, 50 * 2 ** attempts);
    attempts += 1;
    retry = setTimeout(() => {
      retry = void 0;
      connect2(proveAgain).catch(() => reconnectLater());
    }, attempts === 1 ? 0 : Math.random() * backoff2);
  }
  async function proveAgain({ sql }, channel) {
    if (await leadsThroughPooler(sql))
      await options.notify(channel);
    else
      await sql.unsafe(`notify ${channel}`);
  }
  await connect2((_, channel) => options.notify(channel));
  return {
    get generation() {
      return generation;
    },
    get connected() {
      return current !== void 0;
    },
    async run(call, timeoutMs) {
      const link = current;
      if (link === void 0)
        throw new Error("the dedicated connection is not there");
      try {
        return await withDeadline(call(link.sql), timeoutMs, () => new Error(`no answer for ${timeoutMs} ms`));
      } catch (error) {
        if (!isServerError(error) || isStandby(error))
          lose(link, error);
        throw error;
      }
    },
    replace(error) {
      if (current !== void 0)
        lose(current, error);
    },
    async close() {
      closed = true;
      clearTimeout(retry);
      const link = current ?? connecting;
      current = void 0;
      if (link !== void 0)
        await discard(link, link === connecting ? 0 : 1);
    }
  };
}
var isServerError = (error) => error instanceof Error && error.name === "PostgresError";
var isStandby = (error) => error.code === "MC005";
var isDeaf = (error) => error.code === "MC101";
function deaf() {
  return new ModuleCacheError("MC101", "the dedicated connection does not hear notifications", {
    detail: `A notification that another connection sent did not arrive within ${PROBE_TIMEOUT_MS} ms.`,
    hint: "A pooler in transaction mode accepts LISTEN and hears nothing: pass a direct connection to the same database as listenConnection."
  });
}
var CHANNEL_INVALIDATED = "module_cache_invalidated";
var CHANNEL_POPULATED = "module_cache_populated";
var POLL_MS = 300;
var MAX_TRIES2 = 3;
var LANDING_MS = 1e3;
async function openModuleCache(options) {
  const settings2 = checkOptions(options);
  const events = createEmitter();
  const journal = createJournal();
  const l1 = createL1(settings2.maxBytes);
  const flights = /* @__PURE__ */ new Map();
  const allFlights = /* @__PURE__ */ new Set();
  let session;
  let closing;
  const dedicated = () => {
    if (session === void 0)
      throw new Error("the dedicated connection is not there yet");
    return session;
  };
  const claims = createClaims(dedicated, events);
  const coherence = createCoherence({
    session: dedicated,
    l1,
    journal,
    events,
    heartbeatMs: settings2.heartbeatMs,
    maxStalenessMs: settings2.maxStalenessMs,
    onApplied(covers, xid) {
      if (allFlights.size === 0)
        return;
      const named = new Set(covers);
      for (const flight of allFlights)
        flight.onApplied(named, xid);
    },
    onDroppedAll() {
      for (const flight of allFlights)
        flight.onDroppedAll();
    }
  });
  const mute = settings2.broadcast === "log";
  const pool = await openPool(options.connection, settings2.name);
  try {
    session = await openSession({
      connection: options.listenConnection ?? options.connection,
      applicationName: settings2.name,
      channels: [CHANNEL_INVALIDATED, CHANNEL_POPULATED],
      broadcast: settings2.broadcast,
      notify: (channel) => pool.run((sql) => notify(sql, channel)),
      onNotification(channel, payload) {
        if (channel === CHANNEL_POPULATED)
          claims.onPopulated(payload);
        else
          coherence.onNotification(payload);
      },
      onConnected() {
        if (session === void 0)
          return;
        claims.wakeAll();
        coherence.onConnected();
      },
      onDisconnected: (error) => events.emit("disconnected", { error })
    });
    await coherence.start();
  } catch (error) {
    coherence.stop();
    await session?.close();
    await pool.close();
    throw error;
  }
  const context = {
    pool,
    claims,
    l1,
    journal,
    events,
    life: coherence.life,
    catchUp: coherence.catchUp,
    claimPatienceMs: settings2.claimPatienceMs,
    pollMs: POLL_MS
  };
  function fromMemory(id) {
    const entry = l1.get(id);
    if (entry === void 0 || !coherence.isFresh() || entry.seen.life !== coherence.life())
      return void 0;
    const { expires } = entry;
    if (expires !== void 0 && (performance.now() >= expires.monotonic || Date.now() >= expires.wall)) {
      l1.delete(entry);
      return void 0;
    }
    return entry;
  }
  function board(id, producer, alone) {
    const flightKey = producer === void 0 ? `get\0${keyOf(id)}` : keyOf(id);
    const current = flights.get(flightKey);
    const known = current !== void 0 && (coherence.isFresh() || current.age() < settings2.maxStalenessMs);
    if (known && current.joinable && !alone)
      return [current, true];
    const flight = startFlight(context, id, producer);
    flights.set(flightKey, flight);
    allFlights.add(flight);
    const land = () => {
      allFlights.delete(flight);
      if (flights.get(flightKey) === flight)
        flights.delete(flightKey);
    };
    flight.result.then(land, land);
    return [flight, false];
  }
  async function serve(request, producer, read) {
    if (closing !== void 0)
      throw closedError();
    const id = requireArtifactId(request ?? {});
    if (read.after === void 0 && (read.consistency ?? "bounded") === "bounded") {
      const entry = fromMemory(id);
      if (entry !== void 0) {
        events.emit("hit", { id, source: "l1" });
        return { ...entry.module, source: "l1", cached: true };
      }
    }
    checkRead(read);
    const patience = createPatience(read.deadlineMs ?? settings2.deadlineMs, read.signal);
    try {
      return await patience.wait(serveSlowly(id, producer, read, patience));
    } finally {
      patience.close();
    }
  }
  async function serveSlowly(id, producer, read, patience) {
    let strong = read.consistency === "strong";
    if (!strong && read.after !== void 0) {
      strong = !await patience.wait(coherence.satisfies(read.after));
    }
    const arrived = journal.position();
    for (let tries = 1; ; tries += 1) {
      const entry = fromMemory(id);
      if (entry !== void 0 && (!strong || await patience.wait(pool.run((sql) => isCurrent(sql, id, entry.token))))) {
        events.emit("hit", { id, source: "l1" });
        return { ...entry.module, source: "l1", cached: true };
      }
      if (closing !== void 0)
        throw closedError();
      const [flight, joined] = board(id, producer, strong);
      flight.join();
      try {
        const { module, outdatedAt } = await patience.wait(flight.result);
        if (outdatedAt !== void 0 && outdatedAt <= arrived && tries < MAX_TRIES2)
          continue;
        if (joined && module.source === "produced") {
          events.emit("coalesced", { id });
          return { ...module, source: "coalesced" };
        }
        if (module.source === "l2")
          events.emit("hit", { id, source: "l2" });
        if (module.source === "coalesced")
          events.emit("coalesced", { id });
        return module;
      } finally {
        flight.leave();
      }
    }
  }
  async function invalidateWith(tx, call, changesOf) {
    if (closing !== void 0)
      throw closedError();
    if (tx !== void 0 && typeof tx !== "function") {
      throw wrongShape("tx is no transaction", "Pass what the callback of sql.begin was given.");
    }
    if (tx !== void 0)
      return call(tx);
    const result = await pool.run(call);
    const { life, xid } = parseCoherenceToken(result.token);
    const x = life === coherence.life() ? String(xid) : void 0;
    for (const change of changesOf(result))
      coherence.apply({ ...change, x });
    return result;
  }
  async function shutDown() {
    coherence.stop();
    const landing = [...allFlights].map((flight) => flight.landed);
    for (const flight of allFlights)
      flight.abort(closedError());
    await withDeadline(Promise.all(landing), LANDING_MS, closedError).catch(() => {
    });
    await Promise.all([session?.close(), pool.close()]);
  }
  return {
    events,
    async get(request, read = {}) {
      try {
        return await serve(request, void 0, read);
      } catch (error) {
        if (isNotThere(error))
          return void 0;
        throw error;
      }
    },
    peek(request) {
      const { realm, path, kind = "transpile", variant = "" } = request ?? {};
      return fromMemory({ realm, path, kind, variant })?.module;
    },
    async getOrProduce(request, producer, read = {}) {
      if (typeof producer !== "function") {
        throw wrongShape("producer is no function", "Pass a function that returns { body, headers, dependencyKeys }.");
      }
      return serve(request, producer, read);
    },
    async invalidate(realm, paths, { tx } = {}) {
      const normal = requireRealm(realm);
      if (!Array.isArray(paths))
        throw wrongShape("paths is no array", "Pass an array of canonical paths.");
      return invalidateWith(tx, (sql) => invalidate(sql, normal, paths, mute), ({ modules }) => {
        const byRealm = /* @__PURE__ */ new Map();
        for (const module of modules) {
          const of = byRealm.get(module.realm);
          if (of === void 0)
            byRealm.set(module.realm, [module.path]);
          else
            of.push(module.path);
        }
        return [...byRealm].map(([r, m]) => ({ k: "module", r, m }));
      });
    },
    async clearRealm(realm, { tx } = {}) {
      const r = requireRealm(realm);
      return invalidateWith(tx, async (sql) => ({ token: await clearRealm(sql, r, mute) }), () => [{ k: "realm", r }]);
    },
    async clearAll({ tx } = {}) {
      return invalidateWith(tx, async (sql) => ({ token: await clearAll(sql, mute) }), () => [{ k: "global" }]);
    },
    stats() {
      const { entries, bytes } = l1.stats();
      return { entries, bytes, connected: dedicated().connected, fresh: coherence.isFresh() };
    },
    close() {
      closing ??= shutDown();
      return closing;
    }
  };
}
var keyOf = (id) => `${id.realm}\0${id.path}\0${id.kind}\0${id.variant}`;
function closedError() {
  return new ModuleCacheError("MC103", "the cache is closed", {
    hint: "Open another one with openModuleCache."
  });
}
import { Kysely } from "kysely";
import { PostgresJSDialect } from "kysely-postgres-js";
function openKysely(sql) {
  return new Kysely({ dialect: new PostgresJSDialect({ postgres: sql }) });
}
export {
  ModuleCacheError,
  dependencyKeyOf,
  normalizeDependency,
  normalizePath,
  normalizeRealm,
  openKysely,
  openModuleCache
};
