/** An element that the page is known to have. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`there is no element ${id}`);
  return element as T;
}

/** Lets the keyboard scroll what is longer than its place. */
export function makeScrollable(): void {
  for (const element of document.querySelectorAll<HTMLElement>('.scroll')) {
    element.tabIndex = 0;
    element.setAttribute('role', 'group');
    const heading = element.closest('section')?.getAttribute('aria-labelledby');
    if (heading) element.setAttribute('aria-labelledby', heading);
  }
}

/** The fragment of the address says what is shown: a link to another part of the page leaves it alone. */
export function makeSkippable(): void {
  for (const link of document.querySelectorAll<HTMLAnchorElement>('.skip')) {
    link.addEventListener('click', (event) => {
      event.preventDefault();
      byId(link.hash.slice(1)).focus();
    });
  }
}

/** A colour of the style sheet, in the scheme of the moment. */
export const colour = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Runs with the next frame, however often it is asked for, and at most every so many ms. */
export function perFrame(task: () => void, everyMs = 0): () => void {
  let isWaiting = false;
  let last = Number.NEGATIVE_INFINITY;
  const frame = (now: number): void => {
    if (now - last < everyMs) {
      requestAnimationFrame(frame);
      return;
    }
    isWaiting = false;
    last = now;
    task();
  };
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(frame);
  };
}

export const prefersStillness = matchMedia('(prefers-reduced-motion: reduce)');
export const prefersDark = matchMedia('(prefers-color-scheme: dark)');
