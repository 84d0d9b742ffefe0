import { type Browser, chromium } from 'playwright-core';

/** Whatever a distribution calls it; the variable CHROMIUM names another. */
export const CHROMIUM = ['chromium', 'chromium-browser', 'google-chrome'];

export const launchChromium = (executablePath: string): Promise<Browser> =>
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
