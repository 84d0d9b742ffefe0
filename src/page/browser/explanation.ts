import { html, nothing, render, type TemplateResult } from 'lit-html';
import type { ExplanationRow } from '../messages.js';
import { ask } from './ask.js';
import { byId } from './dom.js';
import { bytes, count, plural, time } from './format.js';
import { linkTo } from './route.js';

const SHOWN = 100;
const tones = { hit: 'good', error: 'bad', tombstone: 'warn', miss: 'warn' } as const;

/** Why a module is a hit or a miss, in the words of the database, with its neighbours as links. */
export interface Explanation {
  /** @param takeFocus when it is there, unless the focus has moved meanwhile */
  show(realm: string, path: string, takeFocus: boolean): Promise<void>;
  /** Asks again for what is shown, unless that is on its way. */
  renew(): void;
  clear(): void;
  focus(): void;
}

export function createExplanation(knownRealms: () => readonly string[]): Explanation {
  const place = byId('module');
  const heading = byId('module-heading');
  let shown: { readonly realm: string; readonly path: string } | undefined;
  let asked = 0;
  let answered = 0;

  /** A key of another realm is a URL, of which the realm is the beginning. */
  function link(realm: string, key: string): TemplateResult | string {
    if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(key)) return html`<a href=${linkTo(realm, key)}>${key}</a>`;
    const other = knownRealms()
      .filter((known) => key.startsWith(known))
      .sort((one, another) => another.length - one.length)[0];
    return other === undefined ? key : html`<a href=${linkTo(other, key.slice(other.length))}>${key}</a>`;
  }

  const links = (realm: string, title: string, keys: readonly string[], all: number): TemplateResult =>
    html`<h3>${title} (${count(all)})</h3>
      ${
        keys.length === 0
          ? html`<p class="quiet">None.</p>`
          : html`<ul>
              ${keys.slice(0, SHOWN).map((key) => html`<li>${link(realm, key)}</li>`)}
              ${all > SHOWN ? html`<li>and ${plural(all - Math.min(SHOWN, keys.length), 'more one')}</li>` : nothing}
            </ul>`
      }`;

  const artifact = (realm: string, row: ExplanationRow): TemplateResult =>
    html`<h3><span class=${tones[row.status]}>${row.status}</span> ${row.kind ?? nothing}</h3>
      <p>${row.reason}</p>
      ${
        row.createdAt === null
          ? nothing
          : html`<dl>
              <dt>stored</dt><dd>${time(row.createdAt)}</dd>
              ${row.expiresAt === null ? nothing : html`<dt>expires</dt><dd>${time(row.expiresAt)}</dd>`}
              <dt>size</dt><dd>${bytes(row.bytes)}</dd>
              ${row.variant ? html`<dt>variant</dt><dd>${row.variant}</dd>` : nothing}
            </dl>`
      }
      ${row.dependencies === null ? nothing : links(realm, 'Depends on', row.dependencies, row.dependencies.length)}`;

  const explained = (realm: string, rows: readonly ExplanationRow[]): TemplateResult =>
    html`<p class="quiet">${realm}</p>
      ${rows.map((row) => artifact(realm, row))}
      ${rows[0] === undefined ? nothing : links(realm, 'Dependents', rows[0].dependents, rows[0].dependentCount)}`;

  async function show(realm: string, path: string, takeFocus: boolean): Promise<void> {
    asked += 1;
    const mine = asked;
    const focused = document.activeElement;
    shown = { realm, path };
    heading.textContent = path;
    let content: TemplateResult;
    try {
      const rows = JSON.parse(await ask('explain', { realm, path })) as ExplanationRow[];
      content = explained(realm, rows);
    } catch (error) {
      content = html`<p class="bad">${(error as Error).message}</p>`;
    }
    if (mine !== asked) return;
    answered = mine;
    // The link that was followed may have gone with what was shown before.
    const hasMoved = document.activeElement !== focused && focused?.isConnected === true;
    render(content, place);
    if (takeFocus && !hasMoved) heading.focus();
  }

  function clear(): void {
    asked += 1;
    answered = asked;
    shown = undefined;
    heading.textContent = 'Module';
    render(
      html`<p class="empty">Search a module, or click one in the graph, to see why it is a hit or a miss.</p>`,
      place,
    );
  }
  clear();

  return {
    show,
    clear,
    renew() {
      if (shown !== undefined && answered === asked) void show(shown.realm, shown.path, false);
    },
    focus: () => heading.focus(),
  };
}
