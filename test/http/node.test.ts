import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { createModuleHandler, createNodeListener } from '../../src/http/index.js';
import { servedRealm } from './support/served-realm.js';

/** What stands in the request line: everything in between likes to tidy it up, and the folder above looks like the root. */

const modules = servedRealm();
let server: Server;
beforeEach(async () => {
  server = createServer(createNodeListener(createModuleHandler(await modules.setup())));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(() => new Promise((resolve) => server.close(resolve)));

function send(
  target: string,
  headers: string[] = [],
): Promise<{ status: number; head: string; body: string }> {
  return new Promise((resolve, reject) => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.on('error', reject);
    socket.on('close', () => {
      const [head = '', body = ''] = text.split('\r\n\r\n');
      resolve({ status: Number(head.split(' ')[1]), head, body });
    });
    // Not its end: Node takes half a connection that is closed for a client that went away.
    socket.write(
      [`GET ${target} HTTP/1.1`, 'Host: localhost', 'Connection: close', ...headers, '', ''].join('\r\n'),
    );
  });
}

test.each([
  '/../secret.ts',
  '/a/../secret.ts',
  '/a/./secret.ts',
  '/..',
  '/%2e%2e/secret.ts',
  '/%2E%2e%2fsecret.ts',
  '/.%2e/secret.ts',
  '/a/%2e',
  '/..\\secret.ts',
  '/%5c..%5csecret.ts',
  '/a\\secret.ts',
  '/..%00/secret.ts',
  '/%zz',
  'http://localhost/../secret.ts',
])('%s is refused', async (target) => {
  await modules.write('secret.ts', 'export const secret = 1;');
  expect(await send(target)).toMatchObject({
    status: 400,
    body: expect.stringContaining('not a module path'),
  });
});

test.each([
  ['/a.ts', 200],
  ['/a.ts?x=../..', 200],
  ['/%61.ts', 200],
  ['/..a/b.ts', 404],
  ['/a...ts', 404],
  ['/%252e%252e/a.ts', 404],
])('%s is not: %s', async (target, status) => {
  await modules.write('a.ts', 'export const a = 1;');
  expect((await send(target)).status).toBe(status);
});

test('a host that is none is refused, and nothing ends the server', async () => {
  await modules.write('a.ts', 'export const a = 1;');
  expect((await send('*')).status).toBe(400);
  expect((await send('/a.ts', ['x-module-cache-after: garbage'])).status).toBe(400);
  expect((await send('/a.ts', [`if-none-match: ${'"x", '.repeat(1000)}`])).status).toBe(200);
  expect((await send('/a.ts')).status).toBe(200);
});
