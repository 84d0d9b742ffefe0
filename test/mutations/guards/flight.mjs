const ANSWER_TOKEN = 'test/client/answer-token.test.ts';
const ABORT = 'test/client/abort.test.ts';
const CATCH_UP = 'test/client/catch-up.test.ts';
const CLAIMS = 'test/client/claims.test.ts';
const FILL_RULE = 'test/client/fill-rule.test.ts';
const SINGLE_FLIGHT = 'test/client/single-flight.test.ts';

export const flight = {
  file: 'src/flight.ts',
  guards: [
    {
      name: 'the token of an answer that is not kept is of after its sources were read',
      text: `const known = stored !== 'failed' && !alone && (await orAborted(context.catchUp(), ended.signal));
      const seen = known ? context.seen() : undefined;`,
      without: 'const { seen } = production;',
      test: [
        ANSWER_TOKEN,
        'trap: an answer that was outdated when it was ready has sources in it which its own token has not seen',
      ],
    },
    {
      name: 'the fill rule',
      text: 'const outdatedAt = fill.outdatedAt(covers, seen.snapshot);\n',
      without: 'const outdatedAt = undefined as number | undefined;\n',
      test: [
        FILL_RULE,
        'trap: the answer of an L2 read reaches the process after the notification that outdates it (its module)',
      ],
    },
    {
      name: 'the fill rule in a batch',
      text: 'const outdatedAt = fill.outdatedAt(covers, seen.snapshot);\n',
      without: 'const outdatedAt = undefined as number | undefined;\n',
      test: [
        'test/client/get-many.test.ts',
        'trap: the answer of a batch reaches the process after the notification that outdates it (one of the modules)',
      ],
    },
    {
      name: 'the fill rule after a put',
      text: 'const outdatedAt = keep(module, token, product.expiresInMs);\n',
      without: `const outdatedAt = undefined as number | undefined;
        const seen = parseSnapshotToken(token);
        const covers = coversOf(id.realm, id.path, module.dependencyKeys);
        l1.set({ id, module, covers, token, seen, expires: undefined });\n`,
      test: [
        FILL_RULE,
        'trap: the answer of a put reaches the process after the notification that outdates it (a dependency)',
      ],
    },
    {
      name: 'the fill begins before the database is asked',
      text: 'const fill: Fill = journal.begin();',
      without: `let begun: Fill | undefined;
  const fill: Fill = {
    outdatedAt: (covers, snapshot) => {
      begun ??= journal.begin();
      return begun.outdatedAt(covers, snapshot);
    },
    end: () => begun?.end(),
  };`,
      test: [
        FILL_RULE,
        'trap: the answer of an L2 read reaches the process after the notification that outdates it (a dependency)',
      ],
    },
    {
      name: 'an answer of another life is not kept',
      text: 'else if (seen.life !== context.life()) forget();',
      without: 'else if (seen.life === undefined) forget();',
      // Each of the two would do.
      and: {
        file: 'src/cache.ts',
        text: ' || entry.seen.life !== coherence.life()) return undefined;',
        without: ') return undefined;',
      },
      test: [CATCH_UP, 'that the cursor has not reached yet: its answers are served, and not kept'],
    },
    {
      name: 'the life of an answer counts from the question',
      text: '{ monotonic: asked.monotonic + expiresInMs, wall: asked.wall + expiresInMs };',
      without: '{ monotonic: performance.now() + expiresInMs, wall: Date.now() + expiresInMs };',
      test: [FILL_RULE, 'an answer that is on its way for longer than its life is not kept'],
    },
    {
      name: 'what the database did not store is not kept',
      text: "if (stored === 'stored' && token !== null) {",
      without: 'if (token !== null) {',
      test: [SINGLE_FLIGHT, 'that nobody has told of does not let the result in'],
    },
    {
      name: 'who came after the invalidation does not get a product that was refused for it',
      text: 'token === null && !alone ? undefined : fill.outdatedAt(covers, presented?.snapshot ?? NOTHING_SEEN);',
      without: 'fill.outdatedAt([], presented?.snapshot ?? NOTHING_SEEN);',
      test: [
        SINGLE_FLIGHT,
        'trap: gets the production begun before it, because the dependency was not known',
      ],
    },
    {
      name: 'somebody may have stored it before the claim was got',
      text: '        row = await read();\n      } catch (error) {',
      without: '      } catch (error) {',
      test: [CLAIMS, 'an answer that is there when the claim is got is not made again'],
    },
    {
      name: 'a claim is left when the read after it fails',
      text: '        await leaveElection(claim);\n        throw error;',
      without: '        throw error;',
      test: [CLAIMS, 'when the read after it fails, so that nothing can be produced'],
    },
    {
      name: 'a claim is left when the answer is there',
      text: "        await leaveElection(claim);\n        return served(row, waited ? 'coalesced' : 'l2');",
      without: "        return served(row, waited ? 'coalesced' : 'l2');",
      test: [CLAIMS, 'an answer that is there when the claim is got is not made again'],
    },
    {
      name: 'a claim is left when the production ends, or fails',
      text: '      production = undefined;\n      await release();',
      without: '      production = undefined;',
      test: [SINGLE_FLIGHT, 'throws synchronously: its caller is told what to do, and nothing is stored'],
    },
    {
      name: 'a claim is left when the production is aborted',
      text: "    controller.signal.addEventListener('abort', () => void release(), { once: true });\n",
      without: '',
      test: [SINGLE_FLIGHT, 'frees the claim for another process even while its producer goes on'],
    },
    {
      name: 'a claim is left when the last try is lost',
      text: 'if (last) void release();',
      without: 'if (last) return;',
      test: [SINGLE_FLIGHT, 'the third time: others need not wait for work that is lost'],
    },
    {
      name: 'patience with another producer ends',
      text: 'performance.now() < patienceEnds ? await elect() : undefined;',
      without: 'performance.now() < patienceEnds + 60_000 ? await elect() : undefined;',
      test: [CLAIMS, 'a failure does not replace what another process has made'],
    },
    {
      name: 'its own work does not count as waiting',
      text: '      patienceEnds = performance.now() + claimPatienceMs;\n    }',
      without: '    }',
      test: [CLAIMS, 'nobody produces because its own production took long: patience is for waiting'],
    },
    {
      name: 'an invalidation aborts the production that it covers',
      text: "        else controller.abort(new DOMException('the module was invalidated', 'AbortError'));\n",
      without: '',
      test: [SINGLE_FLIGHT, 'again and again: after three tries the caller gets its answer'],
    },
    {
      name: 'three tries are enough',
      text: 'tries >= MAX_TRIES);',
      without: 'tries >= MAX_TRIES + 1_000);',
      test: [SINGLE_FLIGHT, 'again and again: after three tries the caller gets its answer'],
    },
    {
      name: 'an aborted production is tried again',
      text: '        if (controller.signal.aborted && !ended.signal.aborted) return undefined;\n',
      without: '',
      test: [SINGLE_FLIGHT, 'aborts it, frees the claim, and those who waited get what is made anew'],
    },
    {
      name: 'an invalidated production is not joined',
      text: '      joinable = false;\n      production?.onOutdated();',
      without: '      production?.onOutdated();',
      test: [SINGLE_FLIGHT, 'trap: joins the production begun before it (an alias: foo for foo.ts)'],
    },
    {
      name: 'an invalidation of something else leaves the production alone',
      text: '      if (!isReached) return;\n',
      without: '      if (!isReached && covers.size === 0) return;\n',
      test: [SINGLE_FLIGHT, 'of something else leaves it alone'],
    },
    {
      name: 'an invalidation that the production has seen leaves it alone',
      text: '      if (xid !== undefined && seen !== undefined && isVisible(xid, seen.snapshot)) return;\n',
      without: '',
      test: [ABORT, 'news of an invalidation that a production has seen'],
    },
    {
      name: 'a failure is kept for those who wait',
      text: '        if (!ended.signal.aborted && claim !== undefined) await keepFailure(token, error);\n',
      without: '',
      test: [
        CLAIMS,
        'a production that fails is told to those who wait for it, and none of them fails in its turn',
      ],
    },
    {
      name: 'a failure is not served as a module',
      text: '    if (headers[FAILURE_HEADER] !== undefined) {\n',
      without: '    if (headers[FAILURE_HEADER] === null) {\n',
      test: [CLAIMS, 'a production that fails is told to those who wait for it'],
    },
    {
      name: 'a failure is kept for a second only',
      text: 'expiresInMs: FAILURE_LIFE_MS,',
      without: 'expiresInMs: null,',
      test: [CLAIMS, 'a failure that another process was told of is not told to who comes later'],
    },
    {
      name: 'a failure without the claim is not kept',
      text: ' && claim !== undefined) await keepFailure',
      without: ') await keepFailure',
      test: [CLAIMS, 'a failure without the claim is nothing to those who wait for its holder'],
    },
    {
      name: 'the last caller to leave aborts the production',
      text: '    ended.abort(reason);\n    production?.controller.abort(reason);\n  }\n',
      without: '    return void reason;\n  }\n',
      test: [SINGLE_FLIGHT, 'as the last one aborts the production, and another process takes over'],
    },
    {
      name: 'a caller that leaves does not take the others along',
      text: 'if (callers > 0 || ended.signal.aborted) return;',
      without: 'if (ended.signal.aborted) return;',
      test: [SINGLE_FLIGHT, 'at its deadline is told so, and the others still get their answer'],
    },
    {
      name: 'what was given up is not joined',
      text: '    joinable = false;\n    const reason',
      without: '    const reason',
      test: [ABORT, 'the last caller that gives up does not take along who asks in that very moment'],
    },
    {
      name: 'an answer that was given up is not waited for',
      text: 'const result = orAborted(work, ended.signal);',
      without: 'const result = work;',
      test: ['test/client/close.test.ts', 'closing rejects those who wait for an answer of the database'],
    },
    {
      name: 'without a connection to claim with a module is made all the same',
      text: "if (attempt >= ELECTION_ATTEMPTS || (error as Error).name === 'PostgresError') {",
      without: "if (attempt < 0 || (error as Error).name === 'PostgresError') {",
      test: [CLAIMS, 'a module is made all the same while the dedicated connection is away'],
    },
  ],
};

export const failure = {
  file: 'src/failure.ts',
  guards: [
    {
      name: 'a failure that this process was told of is no answer for who comes later',
      text: 'if (told !== undefined && told <= began.monotonic) return true;',
      without: 'if (told !== undefined && told <= began.monotonic) return false;',
      test: [
        SINGLE_FLIGHT,
        'get another error from another try: what one of them was told is not told to who comes later',
      ],
    },
    {
      name: 'a failure that ended before is no answer for who comes later',
      text: 'return expiresInMs !== null && FAILURE_LIFE_MS - expiresInMs > ageMs;',
      without: 'return false;',
      test: [CLAIMS, 'a failure that another process was told of is not told to who comes later'],
    },
    {
      name: 'a failure is an answer for who came before it',
      text: 'return expiresInMs !== null && FAILURE_LIFE_MS - expiresInMs > ageMs;',
      without: 'return expiresInMs !== null;',
      test: [CLAIMS, 'a production that fails is told to those who wait for it'],
    },
    {
      name: '"no such module" is an answer for who came before it was found out',
      text: 'return expiresInMs !== null && FAILURE_LIFE_MS - expiresInMs > ageMs;',
      without: 'return expiresInMs !== null;',
      test: ['test/definition/lookup.test.ts', '(null) trap: makes every waiter produce in turn'],
    },
  ],
};

export const product = {
  file: 'src/product.ts',
  guards: [
    {
      name: 'what is declared is a key, however it is spelled',
      text: 'dependencyKeys: normalizeAll(id, dependencyKeys),',
      without: 'dependencyKeys: normalizeAll(id, dependencyKeys).length > 0 ? [...dependencyKeys] : [],',
      test: ['test/client/connection.test.ts', 'works with a URL'],
    },
    {
      name: 'this process serves the bytes that the others read',
      text: '(body as string).toWellFormed()',
      without: '(body as string)',
      test: [
        SINGLE_FLIGHT,
        'names a body of lone surrogates: this process serves the same bytes as the others',
      ],
    },
    {
      name: 'what a producer does with its headers later changes nothing',
      text: 'headers: JSON.parse(text as string),',
      without: 'headers,',
      test: [SINGLE_FLIGHT, 'gives headers: what it does with them later changes nothing'],
    },
  ],
};
