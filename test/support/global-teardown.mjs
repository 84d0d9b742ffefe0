import { rmSync } from 'node:fs';
import postgres from 'postgres';

// biome-ignore lint/style/noDefaultExport: Jest asks for it
export default async function tearDown() {
  const server = globalThis.testServer;
  if (server !== undefined) {
    await server.stop('immediate');
    rmSync(server.dataDirectory, { recursive: true, force: true });
    return;
  }
  const admin = postgres(process.env.TEST_SERVER_URL, { max: 1, onnotice: () => {} });
  await admin`drop database if exists ${admin(process.env.TEST_TEMPLATE)} with (force)`;
  await admin.end();
}
