import { html, nothing, render, type TemplateResult } from 'lit-html';
import { repeat } from 'lit-html/directives/repeat.js';
import type { InvalidationRow } from '../messages.js';
import { byId, perFrame } from './dom.js';
import { count, decimal, plural, time } from './format.js';
import { linkTo } from './route.js';

const SHOWN = 50;
const NAMED = 3;
/** People read slower than frames. */
const DRAW_MS = 200;
/** A screen reader is told at most so often. */
const ANNOUNCE_MS = 5_000;

/** The newest invalidations, the last one first. */
export function createInvalidations(): {
  show(rows: readonly InvalidationRow[]): void;
  add(rows: readonly InvalidationRow[], missed: boolean): void;
} {
  const place = byId('invalidations');
  const pause = byId<HTMLButtonElement>('pause');
  const rate = byId('invalidations-rate');
  const announcement = byId('announcement');
  let newest: readonly InvalidationRow[] = [];
  let isPaused = false;
  let news: InvalidationRow[] = [];
  let times: number[] = [];
  let missedAt = Number.NEGATIVE_INFINITY;

  const draw = perFrame(() => {
    if (!isPaused) render(template(newest), place);
    const since = performance.now() - 10_000;
    times = times.filter((at) => at > since);
    const orMore = missedAt > since ? 'more than ' : '';
    rate.textContent = times.length === 0 ? '' : `${orMore}${decimal(times.length / 10)} a second`;
  }, DRAW_MS);

  function announce(): void {
    const last = news.at(-1);
    if (last === undefined) return;
    const others = news.length === 1 ? '' : `${plural(news.length, 'invalidation')}, the last: `;
    const reached = last.scope === 'module' ? `, ${plural(last.modules, 'module')} reached` : '';
    announcement.textContent = `${others}${what(last)} by ${who(last)}${reached}.`;
    news = [];
  }
  setInterval(announce, ANNOUNCE_MS);
  setInterval(() => times.length > 0 && draw(), 1_000);
  pause.addEventListener('click', () => {
    isPaused = !isPaused;
    pause.setAttribute('aria-pressed', String(isPaused));
    draw();
  });

  return {
    show(rows) {
      newest = rows.toReversed().slice(0, SHOWN);
      draw();
    },
    add(rows, missed) {
      newest = [...rows.toReversed(), ...newest].slice(0, SHOWN);
      news.push(...rows);
      const now = performance.now();
      times.push(...rows.map(() => now));
      if (missed) missedAt = now;
      draw();
    },
  };
}

const who = ({ applicationName, role }: InvalidationRow): string =>
  applicationName === '' ? role : `${applicationName} (${role})`;

function what({ scope, realm, named, namedCount, modules }: InvalidationRow): string {
  if (scope === 'global') return 'everything';
  if (scope === 'realm') return `the realm ${realm}`;
  if (scope === 'closed') return `the realm ${realm}, which was made private`;
  // A module of another realm was named, and these are its importers.
  if (named.length === 0) return `${realm} (${plural(modules, 'importer')})`;
  const more = namedCount > NAMED ? ` and ${count(namedCount - NAMED)} more` : '';
  return `${named.slice(0, NAMED).join(', ')}${more}`;
}

function namedLinks(row: InvalidationRow): TemplateResult | string {
  const { scope, realm, named, namedCount } = row;
  if (scope !== 'module' || realm === null || named.length === 0) return what(row);
  return html`${named.slice(0, NAMED).map((path) => html`<a href=${linkTo(realm, path)}>${path}</a> `)}${
    namedCount > NAMED ? `and ${count(namedCount - NAMED)} more` : nothing
  }`;
}

const template = (rows: readonly InvalidationRow[]): TemplateResult =>
  rows.length === 0
    ? html`<p class="empty">None since garbage was last collected.</p>`
    : html`<table>
        <thead>
          <tr>
            <th scope="col">At</th><th scope="col">Scope</th><th scope="col">Named</th>
            <th scope="col" class="number">Reached</th><th scope="col">Who</th><th scope="col">From</th>
          </tr>
        </thead>
        <tbody>
          ${repeat(
            rows,
            ({ id }) => id,
            (row) => html`<tr>
              <td>${time(row.at)}</td>
              <td>${row.scope}</td>
              <td class="long">${namedLinks(row)}</td>
              <td class="number">${row.scope === 'module' ? count(row.modules) : 'all'}</td>
              <td class="long">${who(row)}</td>
              <td>${row.address ?? 'local socket'}</td>
            </tr>`,
          )}
        </tbody>
      </table>`;
