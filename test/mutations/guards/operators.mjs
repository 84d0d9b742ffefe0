const REPORTS = 'test/client/peer-reports.test.ts';
const WAITS = 'test/client/show-waiting.test.ts';

export const activity = {
  file: 'src/activity.ts',
  guards: [
    {
      name: 'each answer is counted once',
      text: '        cell.counts = nothing();\n',
      without: '',
      test: [REPORTS, 'what it has served is reported within seconds, and each answer once'],
    },
    {
      name: 'a report holds no more than the database takes',
      text: 'if (taken.length >= TAKEN_AT_ONCE) break;',
      without: '',
      test: [
        REPORTS,
        'a server for many tenants reports them in turn, and counts no more than a thousand apart',
      ],
    },
    {
      name: 'what is counted apart is bounded',
      text: '    if (count >= COUNTED_APART) return otherCell(kind);\n',
      without: '',
      test: [
        REPORTS,
        'a server for many tenants reports them in turn, and counts no more than a thousand apart',
      ],
    },
  ],
};

export const shownWaits = {
  file: 'src/show-waiting.ts',
  guards: [
    {
      name: 'trap: thousands of waits fill the lock table of the server',
      text: 'shown < SHOWN_AT_ONCE && ',
      without: '',
      test: [WAITS, 'trap: thousands of waits fill the lock table of the server'],
    },
    {
      name: 'a wait is not over between two polls',
      text: 'if (wait.waiters > 0 || now - wait.left < OVER_AFTER_MS) continue;',
      without: 'if (wait.waiters > 0) continue;',
      test: [WAITS, 'who looks for itself now and then waits in between, whenever that is'],
    },
    {
      name: 'a short wait is not shown',
      text: ' && now - wait.since >= SHOWN_AFTER_MS',
      without: '',
      test: [WAITS, 'a short wait is not shown, and costs nothing'],
    },
    {
      name: 'who has the claim does not wait for it',
      text: '      waits.delete(key);\n      hide(wait, key).catch(() => {});',
      without: '      waits.delete(key);',
      test: [WAITS, 'who has the claim itself now does not wait for it'],
    },
    {
      name: 'a lock that went with its connection is not given back on another',
      text: 'if (shownOn !== undefined && shownOn === session().generation) await show(key, false);',
      without: 'if (shownOn !== undefined) await show(key, false);',
      test: [WAITS, 'locks go with their connection, and are taken on the next one'],
    },
    {
      name: 'an older schema shows no waits',
      text: ' && (await mayShow(generation))',
      without: '',
      test: [WAITS, 'a failure is nobody else’s, and an older schema is left alone'],
    },
    {
      name: 'no timer after the end',
      text: ' || stopped || waits.size === 0) return;',
      without: ' || waits.size === 0) return;',
      test: [WAITS, 'nothing runs after the end'],
    },
  ],
};
