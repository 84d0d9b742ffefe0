import { readdirSync, readFileSync } from 'node:fs';
import { extname } from 'node:path';

export interface Asset {
  readonly body: string;
  readonly type: string;
}

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
};

/** What the browser needs, as the build has put it together; by name. */
export function readAssets(): ReadonlyMap<string, Asset> {
  const folder = new URL('assets/', import.meta.url);
  return new Map(
    readdirSync(folder).map((name) => [
      name,
      {
        body: readFileSync(new URL(name, folder), 'utf8'),
        type: TYPES[extname(name)] ?? 'application/octet-stream',
      },
    ]),
  );
}
