/* Watches a folder and closes the watcher again, with a database that is away. Has to end by itself. */
const { watchRealm } = await import(`${process.env.TEST_DIST ?? '../../../dist'}/realm/index.js`);

const [folder, usePolling] = process.argv.slice(2);
const cache = { invalidate: () => Promise.reject(new Error('the database is away')) };
const watcher = await watchRealm({
  cache,
  realm: 'https://child.example/',
  folder,
  usePolling: usePolling === 'true',
  onError: () => process.send({ type: 'failed' }),
});
process.send({ type: 'ready' });
process.once('message', async () => {
  await watcher.close();
  process.send({ type: 'closed' }, () => process.disconnect());
});
