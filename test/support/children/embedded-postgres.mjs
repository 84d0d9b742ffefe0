/* Starts a server on the folder in its first argument, and does with it what its parent says. */
import { startEmbeddedPostgres } from '../../../dist/cli/embedded-postgres.js';

const [dataDirectory] = process.argv.slice(2);
const binaries = process.env.TEST_POSTGRES_BINARIES;
process.on('SIGINT', () => process.send({ type: 'interrupted' }));

try {
  const server = await startEmbeddedPostgres({ dataDirectory, binaries, settings: { fsync: false } });
  process.send({ type: 'started', pid: server.pid, url: server.url, adopted: server.adopted });
  process.on('message', async ({ command }) => {
    if (command === 'exit') process.exit(0);
    if (command === 'finish') process.disconnect();
    if (command !== 'stop') return;
    await server.stop();
    process.send({ type: 'stopped' });
    process.disconnect();
  });
} catch (error) {
  process.send({ type: 'failed', code: error.code, message: error.message, detail: error.detail });
  process.disconnect();
}
