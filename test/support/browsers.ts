import { type Browser, chromium, firefox } from 'playwright-core';

/** Browsers as a distribution has them; a variable called as the first of its programs names another. */
export const CHROMIUM = ['chromium', 'chromium-browser', 'google-chrome'];
export const FIREFOX = ['firefox', 'firefox-esr'];

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

/** Over WebDriver BiDi, which Firefox itself speaks. */
export const launchFirefox = (executablePath: string): Promise<Browser> =>
  firefox.launch({ executablePath, channel: 'moz-firefox' });
