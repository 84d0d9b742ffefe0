import { html, render } from 'lit-html';
import { type GraphModel, modelOf } from '../graph-model.js';
import type { Fleet, InvalidationRow, Message, RealmGraph, StatsRow } from '../messages.js';
import { ask } from './ask.js';
import { byId, makeScrollable, makeSkippable } from './dom.js';
import { createExplanation } from './explanation.js';
import { plural } from './format.js';
import { createGraphView, type GraphView } from './graph-view.js';
import { createInvalidations } from './invalidations.js';
import { createModulesTable } from './modules-table.js';
import { createRates } from './rates.js';
import { linkTo, readRoute } from './route.js';
import { createSearch } from './search.js';
import { openStream } from './stream.js';
import { drawFleet, drawProduction, drawStats } from './tables.js';

/** How often what the graph and the explanation show is asked for again, if something has happened, in ms. */
const RENEW_MS = 3_000;
/** Once more, because another process of the server may give out what it has kept from before. */
const RENEWALS = 2;

const realmList = byId<HTMLSelectElement>('realm');
const connection = byId('connection');
const graphSize = byId('graph-size');
const graphNotice = byId('graph-notice');
const rates = createRates();
const invalidations = createInvalidations();
const modulesTable = createModulesTable();

let realms: readonly string[] = [];
let shown: { realm: string | null; module: string | null } = { realm: null, module: null };
let graphView: GraphView | undefined;
let graph: GraphModel | undefined;
let graphText = '';
let graphsAsked = 0;
let isGraphOnItsWay = false;
let counted = '';
let renewals = 0;

const explanation = createExplanation(() => realms);
createSearch(() => shown.realm, open);

function openGraph(): void {
  graphView?.close();
  graphNotice.textContent = '';
  try {
    graphView = createGraphView({
      onSelect: open,
      onLost: () =>
        showTable('The browser has taken the graphics of the graph away: the table has the same.'),
      onRestored: openGraph,
    });
    if (graph !== undefined) drawGraph(graph);
  } catch {
    graphView = undefined;
    byId('graph').replaceChildren();
    showTable('This browser has no WebGL: the table has the same.');
  }
}

function showTable(why: string): void {
  graphNotice.textContent = why;
  byId<HTMLDetailsElement>('modules').open = true;
}

function open(realm: string, path: string): void {
  const link = linkTo(realm, path);
  if (location.hash === link) explanation.focus();
  else location.hash = link;
}

function setConnection(state: 'live' | 'connecting' | 'trouble', text: string): void {
  if (connection.textContent !== text) connection.textContent = text;
  connection.dataset.state = state;
}

/** What the address says; else the realm with the most answers. */
function follow(isByUser: boolean): void {
  const { realm: wanted, module } = readRoute();
  const realm = wanted ?? realms[0] ?? null;
  const isOther = realm !== shown.realm;
  const isOtherModule = isOther || module !== shown.module;
  shown = { realm, module };
  if (isOther) {
    drawRealms();
    void showGraph();
  }
  if (!isOtherModule) return;
  graphView?.select(module);
  if (realm === null || module === null) explanation.clear();
  else void explanation.show(realm, module, isByUser);
}

function drawRealms(): void {
  const known = shown.realm === null || realms.includes(shown.realm) ? realms : [shown.realm, ...realms];
  render(
    known.map((realm) => html`<option .selected=${realm === shown.realm}>${realm}</option>`),
    realmList,
  );
}

async function showGraph(): Promise<void> {
  const { realm } = shown;
  if (realm === null) return;
  if (graph?.realm !== realm) {
    // Nothing of another realm stays, however long the answer takes.
    drawGraph(modelOf({ realm, paths: [], statuses: [], edges: [], isTruncated: false }));
    graphText = '';
    graphSize.textContent = 'Loading';
  }
  graphsAsked += 1;
  const mine = graphsAsked;
  isGraphOnItsWay = true;
  const answer = await ask('graph', { realm }).catch((error: Error) => error);
  if (mine !== graphsAsked) return;
  isGraphOnItsWay = false;
  if (answer instanceof Error) {
    graphSize.textContent = answer.message;
    renewals = RENEWALS;
    return;
  }
  if (answer !== graphText) drawGraph(modelOf(JSON.parse(answer) as RealmGraph));
  graphText = answer;
  graphSize.textContent = sizeOf(graph as GraphModel);
}

function drawGraph(model: GraphModel): void {
  graph = model;
  graphView?.show(model);
  graphView?.select(model.indexOf(shown.module ?? '') === undefined ? null : shown.module);
  modulesTable.show(model);
}

function sizeOf({ paths, edges, isTruncated }: GraphModel): string {
  const size = `${plural(paths.length, 'module')}, ${plural(edges.length / 2, 'import')}`;
  return isTruncated ? `the first ${size}` : size;
}

setInterval(() => {
  if (renewals === 0 || isGraphOnItsWay || document.hidden) return;
  renewals -= 1;
  void showGraph();
  explanation.renew();
}, RENEW_MS);

function showFleet({ peers, claims }: Fleet): void {
  drawFleet(peers);
  drawProduction(claims);
}

function showStats(stats: readonly StatsRow[]): void {
  drawStats(stats);
  const named = [...new Set(stats.flatMap(({ realm }) => realm ?? []))];
  if (named.join(' ') !== realms.join(' ')) {
    realms = named;
    if (shown.realm === null) follow(false);
    drawRealms();
  }
  const work = stats
    .filter(({ realm }) => realm === shown.realm)
    .map(({ artifacts, productions }) => `${artifacts} ${productions}`)
    .join();
  if (work !== counted) renewals = RENEWALS;
  counted = work;
}

function hear(rows: readonly InvalidationRow[]): void {
  graphView?.invalidated(rows);
  if (rows.length > 0) renewals = RENEWALS;
}

function receive(message: Message): void {
  if (message.type === 'trouble') {
    setConnection('trouble', message.trouble);
  } else if (message.type === 'snapshot') {
    rates.show(message.samples);
    if (message.invalidations !== null) invalidations.show(message.invalidations);
    renewals = RENEWALS;
    if (message.fleet !== null) showFleet(message.fleet);
    if (message.stats !== null) showStats(message.stats);
    if (message.trouble !== null) setConnection('trouble', message.trouble);
  } else if (message.type === 'fleet') {
    setConnection('live', 'Live');
    showFleet(message.fleet);
  } else if (message.type === 'stats') {
    showStats(message.stats);
    if (message.sample !== null) rates.add(message.sample);
  } else {
    invalidations.add(message.invalidations, message.missed);
    hear(message.invalidations);
  }
}

realmList.addEventListener('change', () => {
  location.hash = linkTo(realmList.value);
});
addEventListener('hashchange', () => follow(true));
makeScrollable();
makeSkippable();
openGraph();
follow(false);
openStream('events', receive, (reason) => {
  if (reason === null) setConnection('connecting', 'Connecting');
  else setConnection('trouble', reason);
});
