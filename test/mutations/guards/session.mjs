const CATCH_UP = 'test/client/catch-up.test.ts';
const CONNECTION = 'test/client/connection.test.ts';
const SESSION = 'test/client/session.test.ts';

export const waiting = {
  file: 'src/waiting.ts',
  guards: [
    {
      name: 'a process that was stopped takes what has arrived meanwhile',
      text: 'setImmediate(() => setImmediate(() => reject(onTimeout())))',
      without: 'reject(onTimeout())',
      test: [
        'test/client/waiting.test.ts',
        'a process that was busy for longer than the deadline takes the answer',
      ],
    },
    {
      name: 'a deadline is never longer than a timer can wait',
      text: 'Math.min(deadlineMs, MAX_TIMER_MS),',
      without: 'Math.max(deadlineMs, Math.min(MAX_TIMER_MS, 0)),',
      test: ['test/client/waiting.test.ts', 'a deadline of 2147483648 ms is not one of a single millisecond'],
    },
  ],
};

export const events = {
  file: 'src/events.ts',
  guards: [
    {
      name: 'a listener that throws keeps nothing from being applied',
      text: '      process.nextTick(() => {\n        throw error;\n      });\n      return true;',
      without: '      throw error;',
      test: [
        'test/client/notifications.test.ts',
        'a listener of the application that throws keeps no invalidation from being applied',
      ],
    },
  ],
};

export const session = {
  file: 'src/session.ts',
  guards: [
    {
      name: 'the dedicated connection proves that it hears',
      text: 'Promise.all([notifyProbe(link, probe), proof])',
      without: 'Promise.all([notifyProbe(link, probe)])',
      test: [CONNECTION, 'because something between swallows notifications is refused (broadcast notify)'],
    },
    {
      name: 'its age does not end it',
      text: 'max_lifetime: null,',
      without: '',
      test: [CATCH_UP, 'trap: max_lifetime closes the dedicated connection and takes its claims along'],
    },
    {
      name: 'idleness does not end it',
      text: "  'idle_session_timeout = 0',\n",
      without: '',
      test: [CONNECTION, 'are ended when they are idle keeps its dedicated connection (by its role)'],
    },
    {
      name: 'the limit of a statement does not apply to it',
      text: "  'statement_timeout = 0',\n",
      without: '',
      test: [CONNECTION, 'may not run long keeps its dedicated connection usable'],
    },
    {
      name: 'one that is silent is replaced',
      text: 'if (!isServerError(error) || isStandby(error)) lose(link, error);',
      without: 'if (isStandby(error)) lose(link, error);',
      test: [SESSION, 'a dedicated connection that has fallen silent is replaced'],
    },
    {
      name: 'one to what has become a standby is replaced',
      text: 'if (!isServerError(error) || isStandby(error)) lose(link, error);',
      without: 'if (!isServerError(error)) lose(link, error);',
      test: [SESSION, 'a dedicated connection whose server has become a standby is replaced'],
    },
    {
      name: 'one that was closed is replaced',
      text: '          onClose(error);\n          lose(link, error);',
      without: '          onClose(error);',
      test: [CATCH_UP, 'is applied as soon as it listens again, long before the next heartbeat'],
    },
    {
      name: 'it is looked for until it is there',
      text: '.catch(() => reconnectLater());',
      without: '.catch(() => {});',
      test: [CATCH_UP, 'is applied as soon as it listens again, long before the next heartbeat'],
    },
    {
      name: 'a backend that waits leaves when its connection is given up',
      text: "perform set_config('client_connection_check_interval', '1s', false);",
      without: 'null;',
      test: [
        'test/client/backends.test.ts',
        'while the log is locked, a dedicated connection that was given up leaves the server soon',
      ],
    },
    {
      name: 'without notifications it releases claims without them',
      text: "statements.push('set module_cache.notify = off');",
      without: 'statements.push();',
      test: [
        CATCH_UP,
        'broadcast "log": processes are coherent within one heartbeat, and nothing at all is notified',
      ],
    },
  ],
};
