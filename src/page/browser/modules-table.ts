import { html, render } from 'lit-html';
import type { GraphModel } from '../graph-model.js';
import { byId, perFrame } from './dom.js';
import { count } from './format.js';
import { linkTo } from './route.js';

const words = { live: 'cached', error: 'cached error', dead: 'invalidated' } as const;

/** The graph as a table: made only while it is open. Those that most others depend on come first. */
export function createModulesTable(): { show(model: GraphModel): void } {
  const details = byId<HTMLDetailsElement>('modules');
  const place = byId('modules-table');
  let model: GraphModel | undefined;

  const draw = perFrame(() => {
    if (!details.open || model === undefined) return;
    const { realm, paths, statuses, dependencies, dependents } = model;
    const importers = (index: number): number => dependents[index]?.length ?? 0;
    const order = paths.map((_, index) => index).sort((one, other) => importers(other) - importers(one));
    render(
      html`<table>
        <thead>
          <tr>
            <th scope="col">Module</th><th scope="col">Status</th>
            <th scope="col" class="number">Depends on</th><th scope="col" class="number">Dependents</th>
          </tr>
        </thead>
        <tbody>
          ${order.map(
            (index) => html`<tr>
              <th scope="row" class="long"><a href=${linkTo(realm, paths[index])}>${paths[index]}</a></th>
              <td>${words[statuses[index] as keyof typeof words]}</td>
              <td class="number">${count(dependencies[index]?.length ?? 0)}</td>
              <td class="number">${count(importers(index))}</td>
            </tr>`,
          )}
        </tbody>
      </table>`,
      place,
    );
  });
  details.addEventListener('toggle', draw);
  return {
    show(shown) {
      model = shown;
      draw();
    },
  };
}
