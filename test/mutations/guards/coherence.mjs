const CATCH_UP = 'test/client/catch-up.test.ts';
const FILL_RULE = 'test/client/fill-rule.test.ts';
const NOTIFICATIONS = 'test/client/notifications.test.ts';
const PROPERTY = 'test/client/property/property.test.ts';
const STRONG = 'test/client/strong.test.ts';

export const coherence = {
  file: 'src/coherence.ts',
  guards: [
    {
      name: 'after a reconnect ids of notifications are not compared until the log was asked',
      text: 'apply(change, !reconnected);',
      without: 'apply(change, true);',
      test: [PROPERTY, 'by a notification that arrives before the log was asked'],
    },
    {
      name: 'a drop-all voids fills in flight',
      text: '    journal.recordDropAll();\n',
      without: '',
      test: [FILL_RULE, 'trap: everything was dropped while an answer was on its way'],
    },
    {
      name: 'a drop-all empties memory',
      text: '    l1.clear();\n    journal.recordDropAll();',
      without: '    journal.recordDropAll();',
      test: [CATCH_UP, 'drops everything if the log no longer reaches back'],
    },
    {
      name: 'incomplete changes drop everything',
      text: "    else dropAll(cursor === undefined ? 'start' : 'the log does not reach back to the cursor');\n",
      without: '',
      test: [CATCH_UP, 'drops everything if the log no longer reaches back'],
    },
    {
      name: 'an invalidation is remembered for the answers on their way',
      text: '    journal.record(covers, xid);\n',
      without: '',
      test: [FILL_RULE, 'reaches the process after the notification that outdates it (its module)'],
    },
    {
      name: 'an invalidation drops what is in memory',
      text: 'const dropped = l1.drop(covers, xid);',
      without: 'const dropped = 0;',
      test: [NOTIFICATIONS, 'of a module drops from memory what it names'],
    },
    {
      name: 'a realm clear covers the realm',
      text: "  if (change.k === 'realm') return coversOfRealm(realm);\n",
      without: '',
      test: [
        FILL_RULE,
        'the answer of a put reaches the process after the notification that outdates it (its realm)',
      ],
    },
    {
      name: 'a global clear covers everything',
      text: "if (change.k === 'global') return [GLOBAL_COVER];",
      without: "if (change.k === 'global') return [];",
      test: [NOTIFICATIONS, 'of everything drops from memory what it names'],
    },
    {
      name: 'news to read the log reads it',
      text: "    if (change.k === 'log') {\n      void catchUp();\n      return;",
      without: "    if (change.k === 'log') {\n      return;",
      test: [CATCH_UP, 'news to read the log is not answered with what was asked before it'],
    },
    {
      name: 'a catch-up that began before does not count',
      text: `    queued ??= running.then(() => {
      queued = undefined;
      return catchUp();
    });
    return queued;`,
      without: '    return queued ?? running;',
      test: [CATCH_UP, 'news to read the log is not answered with what was asked before it'],
    },
    {
      name: 'catch-up after a reconnect',
      text: '      reconnected = true;\n      void catchUp();',
      without: '      reconnected = true;',
      test: [CATCH_UP, 'is applied as soon as it listens again, long before the next heartbeat'],
    },
    {
      name: 'catch-up at the heartbeat',
      text: 'void catchUp().finally(scheduleHeartbeat);',
      without: 'scheduleHeartbeat();',
      test: [CATCH_UP, 'a process is coherent within one heartbeat (off for the transaction)'],
    },
    {
      name: 'staleness by the monotonic clock',
      text: 'performance.now() < freshUntil.monotonic && ',
      without: '',
      test: [CATCH_UP, 'a wall clock that is set back does not make memory trusted for longer'],
    },
    {
      name: 'staleness by the wall clock',
      text: ' && Date.now() < freshUntil.wall',
      without: '',
      test: [CATCH_UP, 'trap: the monotonic clock stands still in suspend'],
    },
    {
      name: 'freshness counts from the question, not from its answer',
      text: 'monotonic: began.monotonic + options.maxStalenessMs,\n      wall: began.wall + options.maxStalenessMs,',
      without:
        'monotonic: performance.now() + options.maxStalenessMs,\n      wall: Date.now() + options.maxStalenessMs,',
      test: [CATCH_UP, 'is not hidden by a catch-up that was asked before and answered after the pause'],
    },
    {
      name: 'a token counts only once the cursor has seen it',
      text: '      await catchUp();\n      return seen();',
      without: '      return catchUp();',
      test: [STRONG, 'from the future is a strong read'],
    },
    {
      name: 'a token counts only in its own life',
      text: 'cursor?.seen.life === life && isVisible(xid, cursor.seen.snapshot);',
      without: 'cursor !== undefined && isVisible(xid, cursor.seen.snapshot) && life !== undefined;',
      test: [STRONG, 'of another life is a strong read'],
    },
    {
      name: 'a bounded number of notifications is taken one by one',
      text: 'return budget[kind] <= PER_SECOND[kind];',
      without: 'return true;',
      test: [NOTIFICATIONS, 'by hand costs a bounded amount of work, and is right in the end'],
    },
    {
      name: 'what goes beyond that leads to the log',
      text: '          void catchUp();\n        }, OVERFLOW_MS);',
      without: '        }, OVERFLOW_MS);',
      test: [NOTIFICATIONS, 'hides no invalidation that comes with it'],
    },
    {
      name: 'a payload that is no JSON is ignored',
      text: '  } catch {\n    return undefined;\n  }',
      without: '  } catch (error) {\n    throw error;\n  }',
      test: [NOTIFICATIONS, 'whatever it is, never throws'],
    },
    {
      name: 'a payload without usable paths is ignored',
      text: " || !m.every((path) => typeof path === 'string')",
      without: '',
      test: [NOTIFICATIONS, 'is told to the operator and changes nothing'],
    },
    {
      name: 'a payload of an unknown kind is ignored',
      text: "if (k !== 'module' || !Array.isArray(m) || !m.every((path) => typeof path === 'string')) return undefined;\n  return { k,",
      without:
        "if (!Array.isArray(m) || !m.every((path) => typeof path === 'string')) return undefined;\n  return { k: 'module',",
      test: [NOTIFICATIONS, 'is told to the operator and changes nothing'],
    },
    {
      name: 'a payload without a usable realm is ignored',
      text: '  if (realm === null) return undefined;\n',
      without: '  if (realm === null) return { k: k as Change["k"], r: r as string, m: [] };\n',
      test: [NOTIFICATIONS, 'is told to the operator and changes nothing'],
    },
    {
      name: 'a payload with an odd transaction id is ignored',
      text: ' && /^\\d{1,20}$/.test(x)',
      without: '',
      test: [NOTIFICATIONS, 'is told to the operator and changes nothing'],
    },
    {
      name: 'a realm is known by any of its spellings',
      text: "typeof r === 'string' ? normalizeRealm(r) : null;",
      without: "typeof r === 'string' && normalizeRealm(r) !== null ? r : null;",
      test: [NOTIFICATIONS, 'of a realm in another spelling drops from memory what it names'],
    },
  ],
};
