import { rmSync } from 'node:fs';
import { dropTemplate } from './template.mjs';

// biome-ignore lint/style/noDefaultExport: Jest asks for it
export default async function tearDown() {
  const { testServer: server, testTemplate: template } = globalThis;
  if (server !== undefined) {
    await server.stop('immediate');
    rmSync(server.dataDirectory, { recursive: true, force: true });
  } else if (template !== undefined) {
    await dropTemplate(process.env.TEST_SERVER_URL, template);
  }
}
