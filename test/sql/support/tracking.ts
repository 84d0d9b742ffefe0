import type { TestDatabase } from '../../support/database.js';
import { REALM, type Session, session } from '../support/session.js';

/** What peers learn of changes to tables, asked from a connection of its own. */
export interface Watcher {
  /** Since the last call, one line for each entry: `https://app.example/ a.ts b.ts`, `clear https://…`, `clear all`. */
  news(): Promise<string[]>;
}

export async function watch(database: Pick<TestDatabase, 'url'>): Promise<Watcher> {
  const observer = session(database);
  let { cursor } = await observer.changesSince(null);
  return {
    news: async () => {
      const next = await observer.changesSince(cursor);
      if (!next.complete) throw new Error('the watcher was told to drop everything');
      cursor = next.cursor;
      return next.changes.map(({ k, r, m = [] }) =>
        k === 'module' ? [r, ...m.sort()].join(' ') : `clear ${r ?? 'all'}`,
      );
    },
  };
}

export interface Tracking {
  source?: string;
  realm?: string | null;
  path?: string;
  realmColumn?: string | null;
}

export const track = (
  { sql }: Session,
  { source = 'files', realm = REALM, path = 'path', realmColumn = null }: Tracking = {},
) => sql`select module_cache.track_table(${source}::text::regclass, ${realm}, ${path}, ${realmColumn})`;

export const untrack = ({ sql }: Session, source = 'files') =>
  sql`select module_cache.untrack_table(${source}::text::regclass)`;
