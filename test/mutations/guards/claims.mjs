const CLAIMS = 'test/client/claims.test.ts';

export const claims = {
  file: 'src/claims.ts',
  guards: [
    {
      name: 'a waiter is registered before it looks again',
      text: '    waiters.set(key, registered.add(onPopulated));\n    return {\n      held: false,\n      async next(pollMs, signal) {\n',
      without:
        '    return {\n      held: false,\n      async next(pollMs, signal) {\n        waiters.set(key, registered.add(onPopulated));\n',
      test: [CLAIMS, 'trap: the notification passes while the waiter, who has been refused, looks again'],
    },
    {
      name: 'a waiter that was woken before it waits does not wait',
      text: '        if (!populated) {',
      without: '        if (pollMs > 0) {',
      test: [CLAIMS, 'trap: the notification passes while the waiter, who has been refused, looks again'],
    },
    {
      name: 'the end of a claim wakes those who wait',
      text: '      populated = true;\n      wake();',
      without: '      populated = true;',
      test: [CLAIMS, 'the end of a claim wakes those who wait, they need not look by themselves'],
    },
    {
      name: 'a claim that went with its connection is not released again',
      text: '          if (session().generation !== generation) return;\n',
      without: '',
      test: [
        CLAIMS,
        'a claim that went with its connection is not released: this process may have got it anew',
      ],
    },
    {
      name: 'a claim that cannot be released ends with its connection',
      text: '            if (session().generation === generation) session().replace(error);\n',
      without: '',
      test: [CLAIMS, 'when its release fails'],
    },
  ],
};
