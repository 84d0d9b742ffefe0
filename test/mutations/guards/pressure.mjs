const ABORT = 'test/client/abort.test.ts';
const AWAY = 'test/client/away.test.ts';
const BACKENDS = 'test/client/backends.test.ts';
const BREAKER = 'test/client/breaker.test.ts';
const LANES = 'test/client/lanes.test.ts';
const HTTP = 'test/http/away.test.ts';

export const away = {
  file: 'src/away.ts',
  guards: [
    {
      name: 'errors of a call are not about the database',
      text: '/^(53300|57P0[123]|08...|MC005)$/',
      without: '/./',
      test: [AWAY, 'a unique violation is an error of the call, not of the database'],
    },
    {
      name: 'a server without a connection left is away',
      text: '53300|',
      without: '',
      test: [AWAY, 'a server that has no connection left counts as away'],
    },
  ],
};

export const breaker = {
  file: 'src/breaker.ts',
  guards: [
    {
      name: 'looks come less and less often',
      text: 'Math.random() * backoff',
      without: 'Math.min(0, backoff)',
      test: [BREAKER, 'while the database is away it is looked for less and less often'],
    },
    {
      name: 'after it was stopped nothing looks',
      text: '      stopped = true;\n      clearTimeout(timer);',
      without: '',
      test: [BREAKER, 'after it was stopped nothing looks any more'],
    },
  ],
};

export const guardedPool = {
  file: 'src/guarded-pool.ts',
  guards: [
    {
      name: 'nothing is asked while the database is away',
      text: 'if (breaker.away !== undefined) {',
      without: 'if (breaker.away !== undefined && Date.now() < 0) {',
      test: [AWAY, 'nothing is served past its time: calls fail, and soon without asking'],
    },
    {
      name: 'who asks again at once keeps nothing from its turn',
      text: '        await nextTurn();\n',
      without: '',
      test: [AWAY, 'who asks again and again at once keeps nothing else from its turn'],
    },
    {
      name: 'a call that failed has the database looked at',
      text: '      breaker.look();\n',
      without: '',
      test: [AWAY, 'is found out long before the deadline, and calls fail at once from then on'],
    },
    {
      name: 'a write has all the time there is',
      text: 'write ? Math.max(deadlineMs, callTimeoutMs) : ',
      without: '',
      test: [AWAY, 'an invalidation is not cut off, and other calls that fail do not cut it off'],
    },
    {
      name: 'a large read has its time, whatever becomes of others',
      text: 'write || weight > 1',
      without: 'write',
      test: [AWAY, 'a large read is not cut off because a small one was given up'],
    },
  ],
};

export const lanes = {
  file: 'src/lanes.ts',
  guards: [
    {
      name: 'only so many wait',
      text: "    if (queue.size >= maxWaiting) throw tooMany('calls wait for the database', maxWaiting);\n",
      without: '',
      test: [LANES, 'beyond what may wait a call fails at once, and says what to do'],
    },
    {
      name: 'calls begin one at a time after an absence',
      text: '1 + Math.floor((performance.now() - startedAt) / STEP_MS);',
      without: 'connections + Math.max(0, startedAt - performance.now() - STEP_MS);',
      test: [LANES, 'after an absence calls begin one at a time, and more bit by bit'],
    },
    {
      name: 'one call that takes long does not hold up the others after an absence',
      text: '    nextStep();\n    return turn;\n',
      without: '    return turn;\n',
      test: [LANES, 'after an absence a call that takes long does not hold up those behind it'],
    },
  ],
};

export const silence = {
  file: 'src/pool.ts',
  guards: [
    {
      name: 'a call that is not answered ends',
      text: 'const ms = Math.min(limitMs, MAX_TIMER_MS);',
      without: 'const ms = Math.max(limitMs, MAX_TIMER_MS);',
      test: [AWAY, 'is found out long before the deadline, and calls fail at once from then on'],
    },
    {
      name: 'a busy instance of the application is waited for',
      text: '            if (isInstance(connection) && statement.isWaiting() && isThere()) continue;\n',
      without: '',
      test: [AWAY, 'a read waits for a connection of the application that is busy'],
    },
    {
      name: 'an application that keeps its instance busy does not make the database count as away',
      text: '          if (error === silence && isWaiting() && isThere()) continue;\n',
      without: '',
      test: [AWAY, 'an application that keeps its instance busy does not make the database count as away'],
    },
  ],
};

export const pool = {
  file: 'src/pool.ts',
  guards: [
    {
      name: 'nothing is sent behind a look through PgBouncer',
      text: `pg_is_in_recovery()::text, \${''}::text\``,
      without: 'pg_is_in_recovery()::text`',
      test: ['test/client/pgbouncer.test.ts', 'trap: a look at the database does not cost whoever asks'],
    },
    {
      name: 'a backend that waits leaves with its client',
      text: 'const wanted = relayed ? [] : [{ ...settledSessions, ...leaveWithClient }];',
      without: 'const wanted = relayed ? [] : [settledSessions];',
      test: [BACKENDS, 'a process does not have more and more backends, however long that lasts'],
    },
  ],
};

export const ownPool = {
  file: 'src/own-pool.ts',
  guards: [
    {
      name: 'a lost connection leaves other calls their time',
      text: 'opened.end(Math.max(CLOSE_TIMEOUT_S, left))',
      without: 'opened.end(Math.min(CLOSE_TIMEOUT_S, Math.abs(left)))',
      test: [
        AWAY,
        'an invalidation is not cut off because another connection of the pool was broken by the network',
      ],
    },
    {
      name: 'closing: what a retired pool still has time for is not waited for',
      text: 'for (const one of retired) one.cutOff();',
      without: 'for (const one of retired) if (timeout < 0) one.cutOff();',
      test: [
        'test/client/close.test.ts',
        'closing takes no longer than 8 s, whatever a silent database was asked',
      ],
    },
    {
      name: 'closing: a pool that has nothing in flight ends at once',
      text: 'if (opened.calls.size === 0) cutOff();',
      without: 'if (opened.calls.size < 0) cutOff();',
      test: ['test/client/close.test.ts', 'closing does not wait for anything when nothing is in flight'],
    },
  ],
};

export const connection = {
  file: 'src/connection.ts',
  guards: [
    {
      name: 'the size of a pool comes with a URL as text',
      text: "typeof max === 'number' ? sql",
      without: 'max !== undefined ? sql',
      test: ['test/client/connection.test.ts', 'has as many connections as its URL says, and no more'],
    },
  ],
};

export const queue = {
  file: 'src/queue.ts',
  guards: [
    {
      name: 'who gives up leaves the queue',
      text: "        signal?.addEventListener('abort', onAbort, { once: true });\n",
      without: '',
      test: [LANES, 'who gives up while waiting makes room for others'],
    },
    {
      name: 'who gives up while waiting for a turn leaves the queue',
      text: "        signal?.addEventListener('abort', onAbort, { once: true });\n",
      without: '',
      test: ['test/client/concurrency.test.ts', 'and gives up makes room for others, and is not begun'],
    },
  ],
};

export const strong = {
  file: 'src/cache.ts',
  guards: [
    {
      name: 'a strong read whose caller has left is not asked for',
      text: 'calls.isCurrent(sql, id, token), { signal });',
      without: 'calls.isCurrent(sql, id, token), signal.aborted ? { signal } : {});',
      test: [ABORT, 'of what memory holds: is never asked for once its caller has left'],
    },
  ],
};

export const strongMany = {
  file: 'src/batch.ts',
  guards: [
    {
      name: 'many strong reads whose caller has left are not asked for',
      text: '            signal: patience.signal,\n',
      without: '',
      test: [ABORT, 'of many that memory holds: is never asked for once its caller has left'],
    },
    {
      name: 'a question whose flights have all been given up is not asked',
      text: 'if (wantedBy === 0) unwanted.abort(signal.reason);',
      without: 'if (wantedBy < 0) unwanted.abort(signal.reason);',
      test: [ABORT, 'of many that it does not hold: is never asked for once its caller has left'],
    },
  ],
};

export const leaving = {
  file: 'src/waiting.ts',
  guards: [
    {
      name: 'who leaves before work ends leaves nothing behind',
      text: 'leave = () => void waiting.delete(one);',
      without: 'leave = () => {};',
      test: [
        'test/client/waiting.test.ts',
        'callers who leave before work ends leave nothing behind, however long it takes',
      ],
    },
  ],
};

export const grace = {
  file: 'src/cache.ts',
  guards: [
    {
      name: 'a lost dedicated connection has the database looked at',
      text: '      onDisconnected(error) {\n        pool.look();',
      without: '      onDisconnected(error) {',
      test: [AWAY, 'it is known without any call, once the dedicated connection is lost'],
    },
    {
      name: 'strong and causal reads get nothing past its time',
      text: 'isAway(error) && mayBeStale(read) ? notTooOld(id)',
      without: 'isAway(error) && (read.signal === undefined || mayBeStale(read)) ? notTooOld(id)',
      test: [AWAY, 'memory is served past its time, and says so; not to strong or causal reads, nor by peek'],
    },
    {
      name: 'the grace period ends',
      text: '    if (coherence.ageMs() >= settings.maxStalenessMs + settings.graceMs) return undefined;\n',
      without: '',
      test: [AWAY, 'it ends'],
    },
    {
      name: 'without the database only so many are produced at once',
      text: 'createTurns(ALONE_AT_ONCE, MAX_FLIGHTS)',
      without: 'createTurns(ALONE_AT_ONCE * MAX_FLIGHTS)',
      test: [AWAY, 'only so many are at work at once'],
    },
    {
      name: 'a strong read without the database is answered by what is produced after it',
      text: "if (canProduce && settings.withoutDatabase === 'produce' && isAway(error)) return false;",
      without: "if (canProduce && settings.withoutDatabase === 'produce' && isAway(error)) return true;",
      test: [AWAY, 'a strong read does not take memory that is fresh, because nobody can tell'],
    },
  ],
};

export const alone = {
  file: 'src/flight.ts',
  guards: [
    {
      name: 'what the database has called outdated is forgotten',
      text: "    forget();\n    events.emit('miss', { id });",
      without: "    events.emit('miss', { id });",
      test: [AWAY, 'what the database has called outdated stays so when it goes away after that'],
    },
    {
      name: 'what memory holds is not made anew',
      text: ' || options.preferStale?.() === true',
      without: '',
      test: [AWAY, 'what memory holds is not made anew within the grace period'],
    },
    {
      name: 'what a producer throws is its own',
      text: 'if (error === thrown || ',
      without: 'if (',
      test: [AWAY, 'a producer that throws throws, and is not asked twice'],
    },
  ],
};

export const httpStale = {
  file: 'src/http/answers.ts',
  guards: [
    {
      name: 'nobody keeps what is past its time',
      text: "module.staleMs === undefined ? asked.cacheControl : 'no-store'",
      without: 'asked.cacheControl',
      test: [HTTP, 'a module from memory says so, and nobody may keep it or go on with theirs'],
    },
    {
      name: 'nobody is told that theirs is still good',
      text: 'if (!stale && ifNoneMatch !== null',
      without: 'if (ifNoneMatch !== null',
      test: [HTTP, 'a module from memory says so, and nobody may keep it or go on with theirs'],
    },
  ],
};

export const httpChanged = {
  file: 'src/http/reader.ts',
  guards: [
    {
      name: 'what is known to be outdated is not served, with or without the database',
      text: '        strong = true;\n',
      without: '        strong = tries < 0;\n',
      test: [HTTP, 'a module whose source is another by now is not served from memory'],
    },
  ],
};
