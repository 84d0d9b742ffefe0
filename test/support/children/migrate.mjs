/* Migrates the database in its first argument when its parent says so. */
import { migrate } from '../../../dist/schema/migrate.js';

const [databaseUrl] = process.argv.slice(2);
process.once('message', async () => {
  try {
    process.send({ type: 'migrated', result: await migrate({ databaseUrl }) });
  } catch (error) {
    process.send({ type: 'failed', code: error.code, message: error.message, detail: error.detail });
  }
  process.disconnect();
});
process.send({ type: 'ready' });
