// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the texts are code

const CATCH_UP = 'test/client/catch-up.test.ts';
const CLOSE = 'test/client/close.test.ts';
const PROPERTY = 'test/client/property/property.test.ts';
const SINGLE_FLIGHT = 'test/client/single-flight.test.ts';
const STRONG = 'test/client/strong.test.ts';
const TRANSACTION = 'test/client/transaction.test.ts';

export const cache = {
  file: 'src/cache.ts',
  guards: [
    {
      name: 'ids of another life are not compared with what memory has seen',
      text: 'const x = life === coherence.life() ? String(xid) : undefined;',
      without: 'const x = String(xid);',
      test: [PROPERTY, 'by the answer to its own invalidation'],
    },
    {
      name: 'memory is served only while it is fresh',
      text: '    if (entry === undefined || !coherence.isFresh()) return undefined;\n',
      without: '',
      test: [CATCH_UP, 'trap: the monotonic clock stands still in suspend'],
    },
    {
      name: 'an entry ends with its life',
      text: 'if (expires !== undefined && (performance.now() >= expires.monotonic || Date.now() >= expires.wall)) {',
      without: 'if (expires?.monotonic === 0) {',
      test: [SINGLE_FLIGHT, 'gives a life: the answer is gone from every cache when it is over'],
    },
    {
      name: 'an entry ends with its life, by the monotonic clock',
      text: '(performance.now() >= expires.monotonic || Date.now() >= expires.wall)',
      without: 'Date.now() >= expires.wall',
      test: [CATCH_UP, 'an answer with a life does not outlive it because the wall clock was set back'],
    },
    {
      name: 'an entry ends with its life, by the wall clock',
      text: '(performance.now() >= expires.monotonic || Date.now() >= expires.wall)',
      without: 'performance.now() >= expires.monotonic',
      test: [CATCH_UP, 'an answer with a life does not outlive it in suspend'],
    },
    {
      name: 'what cannot produce is not joined by who wants it produced',
      text: 'producer === undefined ? `get\\0${nameOf(id)}` : nameOf(id);',
      without: 'nameOf(id);',
      test: [SINGLE_FLIGHT, 'get undefined for a module that nobody makes, also while it is being made'],
    },
    {
      name: 'old work is not joined while the log cannot be asked',
      text: 'const known = current !== undefined && (coherence.isFresh() || current.age() < settings.maxStalenessMs);',
      without: 'const known = current !== undefined;',
      test: [CATCH_UP, 'work that began before maxStaleness is not joined while the log cannot be asked'],
    },
    {
      name: 'outdated work is not joined',
      text: 'if (known && current.joinable && !alone)',
      without: 'if (known && !alone)',
      test: [SINGLE_FLIGHT, 'trap: joins the production begun before it (the module)'],
    },
    {
      name: 'a strong read never joins older work',
      text: 'if (known && current.joinable && !alone)',
      without: 'if (known && current.joinable)',
      test: [STRONG, 'trap: joins older work'],
    },
    {
      name: 'a read with a token, or a strong one, does not take what memory has at once',
      text: "if (read.after === undefined && (read.consistency ?? 'bounded') === 'bounded') {",
      without: 'if (read.signal?.aborted !== true) {',
      test: [STRONG, 'sees that invalidation, although nobody has told of it'],
    },
    {
      name: 'a strong read asks whether memory is current',
      text: '(!strong || (await patience.wait(isCurrent(entry, producer !== undefined, patience.signal))))',
      without: '(!strong || calls.isCurrent !== undefined)',
      test: [STRONG, 'never gets what a committed invalidation covers, although nobody has told of it'],
    },
    {
      name: 'a token that only the database can judge makes the read strong',
      text: 'return after !== undefined && !(await patience.wait(coherence.satisfies(after)));',
      without:
        'return after !== undefined && (await patience.wait(coherence.satisfies(after))) === undefined;',
      test: [STRONG, 'from the future is a strong read'],
    },
    {
      name: 'a read with a token arrives when its token is known',
      text: "    const strong = read.after === undefined ? read.consistency === 'strong' : await isStrong(read, patience);\n    const arrived = journal.position();",
      without:
        "    const arrived = journal.position();\n    const strong = read.after === undefined ? read.consistency === 'strong' : await isStrong(read, patience);",
      test: [STRONG, 'does not join a production from before it'],
    },
    {
      name: 'who came after the invalidation does not get the answer from before it',
      text: 'if (outdatedAt !== undefined && outdatedAt <= arrived && tries < MAX_TRIES) continue;',
      without: 'if (outdatedAt !== undefined && outdatedAt < 0 && tries < arrived - MAX_TRIES) continue;',
      test: [
        SINGLE_FLIGHT,
        'trap: gets the production begun before it, because the dependency was not known',
      ],
    },
    {
      name: 'it does not get the answer of a read from before it either',
      text: 'if (outdatedAt !== undefined && outdatedAt <= arrived && tries < MAX_TRIES) continue;',
      without:
        "if (outdatedAt !== undefined && outdatedAt <= arrived && tries < MAX_TRIES && module.source !== 'l2') continue;",
      test: [
        'test/client/fill-rule.test.ts',
        'a caller that comes after the invalidation does not get the answer that was already on its way',
      ],
    },
    {
      name: 'its own invalidation is applied at once',
      text: '    for (const change of changesOf(result)) coherence.apply({ ...change, x });\n',
      without:
        '    if (x === result.token) for (const change of changesOf(result)) coherence.apply({ ...change, x });\n',
      test: [TRANSACTION, 'an invalidation of its own is applied here at once, without waiting for the echo'],
    },
    {
      name: 'an invalidation in a transaction is not applied before it commits',
      text: '    if (tx !== undefined) return call(tx);\n    const result = await pool.run(call, { write: true });',
      without: '    const result = await (tx === undefined ? pool.run(call, { write: true }) : call(tx));',
      test: [TRANSACTION, '(broadcast notify) the change and its invalidation become visible together'],
    },
    {
      name: 'every flight hears of what was applied',
      text: 'for (const flight of allFlights) flight.onApplied(named, xid);',
      without: 'for (const flight of flights.values()) flight.onApplied(named, xid);',
      test: [
        'test/client/abort.test.ts',
        'a production that a strong read did not join gives way to it when it is lost',
      ],
    },
    {
      name: 'a caller that gives up leaves the flight',
      text: '      } finally {\n        seat.leave();\n      }',
      without: '      } finally {\n        flight.join();\n      }',
      test: [SINGLE_FLIGHT, 'as the last one aborts the production, and another process takes over'],
    },
    {
      name: 'a closed cache aborts what is on its way',
      text: '    for (const flight of allFlights) flight.abort(closedError());\n',
      without: '',
      test: [CLOSE, 'rejects those who wait, aborts what is being made, and leaves the work to others'],
    },
  ],
};
