import type { BrowserContext, Page } from 'playwright-core';

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
