import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';

/** Of CHROMIUM, or the first in PATH; undefined if this machine has none. */
export function findChromium(): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  const named = process.env.CHROMIUM;
  return [
    ...(named ? [named] : []),
    ...names.flatMap((name) => folders.map((folder) => join(folder, name))),
  ].find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export const launch = (executablePath: string): Promise<Browser> =>
  chromium.launch({
    executablePath,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });

export interface Answer {
  readonly url: string;
  /** As it was on the wire: the page itself is told 200 for a 304. */
  readonly status: number;
}

/** A page, and everything that the network answered to it since it was last asked. */
export async function openPage(context: BrowserContext): Promise<{ page: Page; answers(): Answer[] }> {
  const page = await context.newPage();
  const devtools = await context.newCDPSession(page);
  const urls = new Map<string, string>();
  let seen: { id: string; status: number }[] = [];
  devtools.on('Network.requestWillBeSent', ({ requestId, request }) => urls.set(requestId, request.url));
  devtools.on('Network.responseReceivedExtraInfo', ({ requestId, statusCode }) => {
    seen.push({ id: requestId, status: statusCode });
  });
  await devtools.send('Network.enable');
  return {
    page,
    answers() {
      const all = seen.map(({ id, status }) => ({ url: urls.get(id) ?? '', status }));
      seen = [];
      return all;
    },
  };
}
