/** Which realm and module the page shows: the fragment of its address, so that it can be kept and passed on. */
export interface Route {
  readonly realm: string | null;
  readonly module: string | null;
}

export function readRoute(): Route {
  const query = new URLSearchParams(location.hash.slice(1));
  return { realm: query.get('realm'), module: query.get('module') };
}

export function linkTo(realm: string, module?: string): string {
  return `#${new URLSearchParams(module === undefined ? { realm } : { realm, module })}`;
}
