import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createNodeListener } from '../../../src/http/index.js';
import { createPage, type Page, type PageOptions } from '../../../src/page/index.js';

export interface PageServer {
  readonly page: Page;
  /** Address of the page, on a free port of 127.0.0.1. */
  readonly url: string;
  /** What the page did not tell who asked. */
  readonly errors: readonly unknown[];
  close(): Promise<void>;
}

/** A page behind Node's own server; a port is one that was free before. */
export async function servePage(options: PageOptions, port = 0): Promise<PageServer> {
  const errors: unknown[] = [];
  const page = createPage({ onError: (error) => errors.push(error), ...options });
  const server = createServer(createNodeListener(page));
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  let closed: Promise<void> | undefined;
  async function close(): Promise<void> {
    await page.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  return {
    page,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/-/`,
    errors,
    close() {
      closed ??= close();
      return closed;
    },
  };
}
