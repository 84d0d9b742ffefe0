import { html, nothing, render, type TemplateResult } from 'lit-html';
import { repeat } from 'lit-html/directives/repeat.js';
import { type ClaimRow, MAX_ROWS, type PeerRow, type StatsRow } from '../messages.js';
import { byId, perFrame } from './dom.js';
import { bytes, count, duration, percent } from './format.js';
import { linkTo } from './route.js';

/** The tables that are shown as the server tells them. What is in them is text, whatever it looks like. */

const number = (text: string): TemplateResult => html`<td class="number">${text}</td>`;
const heading = (text: string): TemplateResult => html`<th scope="col" class="number">${text}</th>`;
const empty = (text: string): TemplateResult => html`<p class="empty">${text}</p>`;

/** Draws the newest rows with the next frame. */
function drawing<Row>(
  id: string,
  template: (rows: readonly Row[]) => TemplateResult,
): (rows: readonly Row[]) => void {
  const place = byId(id);
  let newest: readonly Row[];
  const draw = perFrame(() => {
    const more = html`<p class="quiet">There are more than these ${count(MAX_ROWS)}.</p>`;
    render([template(newest.slice(0, MAX_ROWS)), newest.length > MAX_ROWS ? more : nothing], place);
  });
  return (rows) => {
    newest = rows;
    draw();
  };
}

const tones = { listening: 'good', polling: 'good', silent: 'bad' } as const;

function lag({ behind, lagMs }: PeerRow): string {
  return behind === 0 ? 'none' : `${duration(lagMs)} (${behind} behind)`;
}

export const drawFleet = drawing('fleet', (peers: readonly PeerRow[]) =>
  peers.length === 0
    ? empty('No process uses the cache.')
    : html`<table>
        <thead>
          <tr>
            <th scope="col">Name</th><th scope="col">Status</th>${heading('Lag')}${heading('Hit rate')}
            ${heading('Reads a minute')}${heading('Entries')}${heading('Memory')}
            <th scope="col">Version</th><th scope="col">Host</th>
          </tr>
        </thead>
        <tbody>
          ${peers.map(
            (peer) => html`<tr>
              <th scope="row">${peer.name ?? peer.applicationName ?? '–'}</th>
              <td class=${tones[peer.status]}>
                ${peer.status}${peer.status === 'silent' ? ` for ${duration(peer.silentMs)}` : nothing}
              </td>
              ${number(lag(peer))}${number(percent(peer.hitRate))}${number(count(peer.reads))}
              ${number(count(peer.entries))}${number(bytes(peer.bytes))}
              <td>${peer.version ?? '–'}</td>
              <td>${peer.host ?? '–'}${peer.processId === null ? nothing : `, ${peer.processId}`}</td>
            </tr>`,
          )}
        </tbody>
      </table>`,
);

export const drawProduction = drawing('production', (claims: readonly ClaimRow[]) =>
  claims.length === 0
    ? empty('Nothing is being produced.')
    : html`<table>
        <thead>
          <tr><th scope="col">Module</th><th scope="col">Producer</th>${heading('For')}<th scope="col">Waiting</th></tr>
        </thead>
        <tbody>
          ${claims.map(
            (claim) => html`<tr>
              <th scope="row" class="long">
                <a href=${linkTo(claim.realm, claim.path)}>${claim.path}</a>
                <span class="quiet">${claim.kind}</span>
              </th>
              <td class="long">${claim.producer}</td>
              ${number(duration(claim.ageMs))}
              <td class="long">${claim.waiting.length === 0 ? 'nobody' : claim.waiting.join(', ')}</td>
            </tr>`,
          )}
        </tbody>
      </table>`,
);

function meanMs({ productions, productionMs }: StatsRow): string {
  return productionMs === null || productions === 0 ? '–' : duration(productionMs / productions);
}

export const drawStats = drawing('stats', (rows: readonly StatsRow[]) =>
  rows.length === 0
    ? empty('Nothing is stored, and nothing was read.')
    : html`<table>
        <thead>
          <tr>
            <th scope="col">Realm</th><th scope="col">Kind</th>${heading('Stored')}${heading('Bytes')}
            ${heading('Memory hits')}${heading('Database hits')}${heading('Misses')}${heading('Productions')}
            ${heading('Mean')}${heading('Shared')}${heading('Rejected')}${heading('Failed')}
            ${heading('Invalidations')}
          </tr>
        </thead>
        <tbody>
          ${repeat(
            rows,
            ({ realm, kind }) => `${realm} ${kind}`,
            (row) => html`<tr>
              <th scope="row" class="long">
                ${row.realm === null ? 'others' : html`<a href=${linkTo(row.realm)}>${row.realm}</a>`}
              </th>
              <td>${row.kind ?? '–'}</td>
              ${number(count(row.artifacts))}${number(bytes(row.bytes))}${number(count(row.l1Hits))}
              ${number(count(row.l2Hits))}${number(count(row.misses))}${number(count(row.productions))}
              ${number(meanMs(row))}${number(count(row.coalesced))}${number(count(row.rejected))}
              ${number(count(row.failures))}${number(count(row.invalidations))}
            </tr>`,
          )}
        </tbody>
      </table>`,
);
