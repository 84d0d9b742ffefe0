import { html, render } from 'lit-html';
import { ask } from './ask.js';
import { byId } from './dom.js';

const WAIT_MS = 120;

/** A search field with a list, as the combobox pattern of WAI-ARIA has it; `/` leads to it from everywhere. */
export function createSearch(
  realm: () => string | null,
  onChoose: (realm: string, path: string) => void,
): void {
  const form = byId<HTMLFormElement>('search');
  const input = byId<HTMLInputElement>('search-text');
  const list = byId('found');
  let found: readonly string[] = [];
  /** The one that was searched. */
  let searched: string | null = null;
  let active = -1;
  let asked = 0;
  let wait: ReturnType<typeof setTimeout> | undefined;

  function draw(): void {
    const isOpen = found.length > 0;
    render(
      found.map(
        (path, index) =>
          html`<div id=${`found-${index}`} role="option" aria-selected=${index === active} data-index=${index}>${path}</div>`,
      ),
      list,
    );
    list.hidden = !isOpen;
    input.setAttribute('aria-expanded', String(isOpen));
    if (active < 0) input.removeAttribute('aria-activedescendant');
    else {
      input.setAttribute('aria-activedescendant', `found-${active}`);
      byId(`found-${active}`).scrollIntoView({ block: 'nearest' });
    }
  }

  function close(): void {
    clearTimeout(wait);
    asked += 1;
    found = [];
    active = -1;
    draw();
  }

  async function find(): Promise<readonly string[]> {
    searched = realm();
    const text = input.value.trim();
    if (searched === null || text === '') return [];
    return JSON.parse(await ask('search', { realm: searched, text }).catch(() => '[]')) as string[];
  }

  async function look(): Promise<void> {
    asked += 1;
    const mine = asked;
    const paths = await find();
    if (mine !== asked) return;
    found = paths;
    active = -1;
    draw();
  }

  function choose(path: string): void {
    close();
    input.value = '';
    if (searched !== null) onChoose(searched, path);
  }

  input.addEventListener('input', () => {
    clearTimeout(wait);
    wait = setTimeout(look, WAIT_MS);
  });
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') close();
    if ((event.key !== 'ArrowDown' && event.key !== 'ArrowUp') || found.length === 0) return;
    event.preventDefault();
    const step = event.key === 'ArrowDown' ? 1 : -1;
    active = active < 0 && step < 0 ? found.length - 1 : (active + step + found.length) % found.length;
    draw();
  });
  input.addEventListener('blur', close);
  // The field would lose the focus, and close the list.
  list.addEventListener('mousedown', (event) => event.preventDefault());
  list.addEventListener('click', (event) => {
    const item = (event.target as Element).closest<HTMLElement>('[role=option]');
    const path = found[Number(item?.dataset.index)];
    if (path !== undefined) choose(path);
  });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const typed = input.value.trim();
    if (typed === '') return;
    // Who is faster than the list gets the same as from it; what is not stored can be asked for as well.
    const path = found[active] ?? (await find())[0] ?? typed;
    choose(path);
  });
  addEventListener('keydown', (event) => {
    const { target } = event;
    const isTyping = target instanceof HTMLElement && target.closest('input, textarea, select') !== null;
    if (event.key !== '/' || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    input.focus();
  });
}
