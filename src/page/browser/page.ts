import { html, render } from 'lit-html';
import { modelOf } from '../graph-model.js';
import type { Fleet, InvalidationRow, Message, RealmGraph, StatsRow } from '../messages.js';
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

const realmList = byId<HTMLSelectElement>('realm');
const connection = byId('connection');
const rates = createRates();
const invalidations = createInvalidations();
const modulesTable = createModulesTable();
const graphView = openGraph();

let realms: readonly string[] = [];
let shown: { realm: string | null; module: string | null } = { realm: null, module: null };
let graphText = '';
let counted = '';
let isOutdated = false;

const explanation = createExplanation(() => realms);
createSearch(() => shown.realm, open);

function openGraph(): GraphView | undefined {
  try {
    return createGraphView(open);
  } catch {
    byId('graph').textContent = 'This browser has no WebGL: the table has the same.';
    byId<HTMLDetailsElement>('modules').open = true;
    return undefined;
  }
}

function open(path: string): void {
  if (shown.realm === null) return;
  const link = linkTo(shown.realm, path);
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
    graphText = '';
    drawRealms();
    void showGraph();
  }
  if (!isOtherModule) return;
  graphView?.select(module);
  if (realm === null || module === null) return;
  void explanation.show(realm, module).then(() => isByUser && explanation.focus());
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
  const answer = await fetch(`graph?${new URLSearchParams({ realm })}`).catch(() => undefined);
  if (!answer?.ok) return;
  const text = await answer.text();
  if (realm !== shown.realm || text === graphText) return;
  graphText = text;
  const model = modelOf(JSON.parse(text) as RealmGraph);
  graphView?.show(model);
  graphView?.select(model.indexOf(shown.module ?? '') === undefined ? null : shown.module);
  modulesTable.show(model);
  const edges = plural(model.edges.length / 2, 'import');
  byId('graph-size').textContent = model.isTruncated
    ? `the first ${plural(model.paths.length, 'module')}, ${edges}`
    : `${plural(model.paths.length, 'module')}, ${edges}`;
}

setInterval(() => {
  if (!isOutdated) return;
  isOutdated = false;
  void showGraph();
  if (shown.realm !== null && shown.module !== null) void explanation.show(shown.realm, shown.module);
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
  if (work !== counted) isOutdated = true;
  counted = work;
}

function hear(rows: readonly InvalidationRow[]): void {
  graphView?.invalidated(rows);
  if (rows.length > 0) isOutdated = true;
}

function receive(message: Message): void {
  if (message.type === 'trouble') {
    setConnection('trouble', message.trouble);
  } else if (message.type === 'snapshot') {
    rates.show(message.samples);
    invalidations.show(message.invalidations);
    isOutdated = true;
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
follow(false);
openStream('events', receive, (state) => {
  if (state === 'connecting') setConnection('connecting', 'Connecting');
});
