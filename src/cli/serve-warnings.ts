import type { CacheEmitter } from '../events.js';
import { describe } from './failure.js';

/** What a process that serves has to tell whoever reads the output of `serve`. */
export function onWarning(events: CacheEmitter, tell: (message: string) => void): void {
  events.on('warning', ({ message, error }) =>
    tell(error === undefined ? message : `${message}: ${describe(error)}`),
  );
  events.on('rechecked', ({ id: { realm, path, kind }, withinMs, isBound, outcome }) => {
    if (isBound && outcome === 'inconsistent')
      tell(`an answer from memory was older than ${withinMs} ms: ${path} (${kind}) of ${realm}`);
  });
}
