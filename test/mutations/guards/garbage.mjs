const CLOSE = 'test/client/close.test.ts';
const COLLECTOR = 'test/client/collector.test.ts';
const GARBAGE = 'test/client/garbage.test.ts';
const REPORTS = 'test/client/peer-reports.test.ts';

export const collector = {
  file: 'src/garbage.ts',
  guards: [
    {
      name: 'only the elected process collects',
      text: 'if (!(await isElected())) return;',
      without: 'await isElected();',
      test: [COLLECTOR, 'a process that is not elected tries again and again, and collects nothing'],
    },
    {
      name: 'a function that is not there is not called',
      text: 'if (!(await session.run((sql) => calls.mayCall(sql, SIGNATURE), CALL_TIMEOUT_MS))) return false;',
      without: 'if (SIGNATURE.length === 0) return false;',
      test: [COLLECTOR, 'a process that may not collect, or whose schema is older, leaves it at that'],
    },
    {
      name: 'who has lost the lock stops',
      text: 'while (!ended.signal.aborted && session.generation === generation) {',
      without: 'while (!ended.signal.aborted && session.generation >= generation) {',
      test: [
        COLLECTOR,
        'a process that has lost its dedicated connection stops, because another may be elected',
      ],
    },
    {
      name: 'nothing is collected after the end',
      text: 'while (!ended.signal.aborted && session.generation === generation) {',
      without: 'while (session.generation === generation) {',
      test: [COLLECTOR, 'nothing is begun after the end, and the end waits for what is on its way'],
    },
    {
      name: 'no turn begins after the end',
      text: '    if (ended.signal.aborted) return;\n    timer',
      without: '    timer',
      test: [COLLECTOR, 'nothing is begun after the end, and the end waits for what is on its way'],
    },
    {
      name: 'the end waits for the batch on its way',
      text: '      return running;\n',
      without: '      return Promise.resolve();\n',
      test: [COLLECTOR, 'nothing is begun after the end, and the end waits for what is on its way'],
    },
    {
      name: 'others get most of the time',
      text: 'await sleep(ms * REST, ended.signal);',
      without: 'await sleep(REST, ended.signal);',
      test: [COLLECTOR, 'batches follow each other until all is done, and leave most of the time to others'],
    },
    {
      name: 'a batch that takes long is made smaller',
      text: 'batch = Math.max(BATCH.least, Math.floor(batch / 2));',
      without: 'batch = Math.max(BATCH.least, batch);',
      test: [COLLECTOR, 'batches become smaller where they take long, and larger where they do not'],
    },
    {
      name: 'who fails leaves it to others',
      text: '          await session.run(calls.resignCollector, CALL_TIMEOUT_MS);\n',
      without: '',
      test: [
        COLLECTOR,
        'a batch that fails is told, leaves the work to others, and is tried again with less',
      ],
    },
    {
      name: 'who failed tries again',
      text: '.finally(() => schedule(options.everyMs));',
      without: '.then(() => {});',
      test: [
        COLLECTOR,
        'a batch that fails is told, leaves the work to others, and is tried again with less',
      ],
    },
    {
      name: 'an operator who collects is not waited for',
      text: 'if (complete || !found) return;',
      without: 'if (complete) return;',
      test: [COLLECTOR, 'what an operator is collecting is not waited for'],
    },
  ],
};

export const reports = {
  file: 'src/peer-reports.ts',
  guards: [
    {
      name: 'what is on its way is needed',
      text: 'if (needed?.life === life && needed.snapshot.xmin < xmin) xmin = needed.snapshot.xmin;',
      without: 'if (needed === null) xmin = 0n;',
      test: [GARBAGE, 'a production that takes longer than anything is kept is stored'],
    },
    {
      name: 'what is of another life is not needed',
      text: 'if (needed?.life === life && needed.snapshot.xmin < xmin)',
      without: 'if (needed !== undefined && needed.snapshot.xmin < xmin)',
      test: [REPORTS, 'what is on its way needs what its token has not seen'],
    },
    {
      name: 'a new connection is told what an earlier one was',
      text: 'if (reported?.generation !== session.generation || reported.life !== life) return true;',
      without: 'if (reported?.life !== life) return true;',
      test: [REPORTS, 'a new connection, or a new life, has to be told at once'],
    },
    {
      name: 'a new life is told',
      text: 'if (reported?.generation !== session.generation || reported.life !== life) return true;',
      without: 'if (reported?.generation !== session.generation) return true;',
      test: [REPORTS, 'a new connection, or a new life, has to be told at once'],
    },
    {
      name: 'a new connection is told soon',
      text: 'onConnected: () => schedule(FIRST_CHECK_MS),',
      without: 'onConnected: () => {},',
      test: [REPORTS, 'a new connection, or a new life, has to be told at once'],
    },
    {
      name: 'an idle fleet comes to rest',
      text: '(newest >= reported.xmin && reported.xmin !== xmin)',
      without: 'reported.xmin !== xmin',
      test: [REPORTS, 'it is not reported again while the log holds nothing that is in the way'],
    },
    {
      name: 'who is not behind any more says so',
      text: ' ||\n      (newest >= reported.xmax && reported.xmax !== xmax)',
      without: '',
      test: [REPORTS, 'that it has applied what it was behind by is reported, whatever else it needs'],
    },
    {
      name: 'an idle process is heard of',
      text: ' || performance.now() - reported.at > IDLE_MS',
      without: '',
      test: [REPORTS, 'but once a minute, so that operators see that it is there'],
    },
    {
      name: 'what was done until the end is said',
      text: '        if (!(await report().catch(() => false))) return;\n',
      without: '        return;\n',
      test: [REPORTS, 'what was done until the end is said at the end'],
    },
    {
      name: 'an older schema gets no report',
      text: 'if (!(await session.run((sql) => calls.mayCall(sql, signature), CALL_TIMEOUT_MS))) return false;',
      without: 'if (signature.length === 0) return false;',
      test: [REPORTS, 'an older schema is asked only whether it has become a newer one'],
    },
    {
      name: 'no report after the end',
      text: '    if (stopped) return;\n    clearTimeout',
      without: '    clearTimeout',
      test: [REPORTS, 'nothing runs after the end'],
    },
  ],
};

export const needs = {
  file: 'src/flight.ts',
  guards: [
    {
      name: 'a token on its way is needed before it is known',
      text: '    seenThen = context.seen();\n',
      without: '',
      test: [GARBAGE, 'what a process was asked for before it knows the answer is needed as well'],
    },
    {
      name: 'the token of a production is needed',
      text: 'needs: () => (production === undefined ? seenThen : production.seen),',
      without: 'needs: () => (production === undefined ? seenThen : undefined),',
      test: [GARBAGE, 'a production that takes longer than anything is kept is stored'],
    },
  ],
};

export const newest = {
  file: 'src/coherence.ts',
  guards: [
    {
      name: 'a log that was not read to its end may hold anything',
      text: '    if (!row.complete) newest = seen.snapshot.xmax;\n',
      without: '',
      test: [GARBAGE, 'what was invalidated before a process began does not stay for its sake'],
    },
    {
      name: 'what the log tells shows what is in the way',
      text: "    for (const { x = '0' } of row.changes) if (BigInt(x) > newest) newest = BigInt(x);\n",
      without: '',
      test: [GARBAGE, 'a process that catches up lets go of what it needed'],
    },
  ],
};

export const options = {
  file: 'src/cache.ts',
  guards: [
    {
      name: 'close ends the reports',
      text: ', reports?.stop() ?? Promise.resolve()',
      without: '',
      test: [CLOSE, 'a process ends by itself after close when nothing is going on'],
    },
    {
      name: 'close ends the collection of garbage',
      text: 'garbage?.stop() ?? Promise.resolve(), ',
      without: '',
      test: [CLOSE, 'a process ends by itself after close when nothing is going on'],
    },
    {
      name: 'a reconnected process reports anew',
      text: '        reports?.onConnected();\n',
      without: '',
      test: [GARBAGE, 'a process that was away for a moment reports anew at once'],
    },
  ],
};
