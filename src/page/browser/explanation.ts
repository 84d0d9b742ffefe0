import { html, nothing, render, type TemplateResult } from 'lit-html';
import type { ExplanationRow } from '../messages.js';
import { byId } from './dom.js';
import { bytes, count, plural, time } from './format.js';
import { linkTo } from './route.js';

const SHOWN = 100;
const tones = { hit: 'good', error: 'bad', tombstone: 'warn', miss: 'warn' } as const;

/** Why a module is a hit or a miss, in the words of the database, with its neighbours as links. */
export function createExplanation(knownRealms: () => readonly string[]): {
  show(realm: string, path: string): Promise<void>;
  focus(): void;
} {
  const place = byId('module');
  const heading = byId('module-heading');
  let asked = 0;
  render(
    html`<p class="empty">Search a module, or click one in the graph, to see why it is a hit or a miss.</p>`,
    place,
  );

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

  return {
    async show(realm, path) {
      asked += 1;
      const mine = asked;
      heading.textContent = path;
      const answer = await fetch(`explain?${new URLSearchParams({ realm, path })}`).catch(() => undefined);
      if (mine !== asked) return;
      if (answer === undefined || !answer.ok) {
        const told = answer === undefined ? 'The server did not answer.' : await answer.text();
        render(html`<p class="bad">${told}</p>`, place);
        return;
      }
      const rows = (await answer.json()) as ExplanationRow[];
      if (mine !== asked) return;
      const [first] = rows;
      render(
        html`<p class="quiet">${realm}</p>
          ${rows.map((row) => artifact(realm, row))}
          ${first === undefined ? nothing : links(realm, 'Dependents', first.dependents, first.dependentCount)}`,
        place,
      );
    },
    focus: () => heading.focus(),
  };
}
