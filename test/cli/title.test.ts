import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { expect, test } from '@jest/globals';
import { titleOf } from '../../src/cli/title.js';
import { cli } from '../support/serve.js';

test.each([
  ['two arguments', ['top', '--database-url', 'postgres://app:secret@db/app', '--once']],
  ['one argument', ['top', '--database-url=postgres://app:secret@db/app', '--once']],
  ['a URL that is none', ['gc', '--database-url', 'postgres://app:se#cret@db/app']],
  ['the other URL', ['doctor', '--listen-url', 'postgres://db/app?password=secret']],
])('what a process list shows has no URL with a password: %s', (_, args) => {
  const title = titleOf(args);
  expect(title).toMatch(/^module-cache \w+ --(database|listen)-url[ =]\*\*\*/);
  expect(title).not.toMatch(/secret|cret@/);
});

// Where the command line of a process can be read.
(existsSync('/proc/self/cmdline') ? test : test.skip)(
  'the password in --database-url is in no process list while a command runs',
  async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const url = `postgres://app:secret-of-app@127.0.0.1:${port}/app`;
    const connected = once(server, 'connection');
    const command = execFile(process.execPath, [cli, 'status', '--database-url', url], () => {});
    try {
      const [socket] = (await connected) as [Socket];
      expect(readFileSync(`/proc/${command.pid}/cmdline`, 'utf8')).toMatch(
        /^module-cache status --database-url \*\*\*/,
      );
      socket.destroy();
    } finally {
      command.kill('SIGKILL');
      server.close();
    }
  },
);
