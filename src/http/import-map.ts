import { misuse } from './misuse.js';

/**
 * Where bare specifiers lead, as in the `imports` of an import map: a key is a whole specifier, or ends in `/` and
 * stands for all that begin with it; the longest that fits is taken. A value is a URL, an absolute path of the same
 * host, or `./` and a path below the mount.
 */
export type ImportMap = { readonly [specifier: string]: string };

/** Where a specifier leads: to a path below the mount, percent-encoded, or to an address as a browser takes it. */
export type Mapped = { readonly pathname: string; readonly suffix: string } | { readonly url: string };

export interface ImportMapper {
  /** Undefined for what the map does not name. */
  map(specifier: string): Mapped | undefined;
  /** Equal for equal maps, whatever the order of their keys. */
  readonly fingerprint: string;
}

const url = /^[a-z][a-z0-9+.-]*:/i;

/** @throws ModuleCacheError MC107 for a key or value that can lead nowhere */
export function createImportMapper(imports: ImportMap = {}): ImportMapper {
  const entries = Object.entries(imports).sort(([a], [b]) => (a < b ? 1 : -1));
  for (const [key, value] of entries) requireEntry(key, value);
  return {
    fingerprint: JSON.stringify(entries),
    map(specifier) {
      // Sorted downwards, so a longer key comes before those that it begins with.
      for (const [key, value] of entries) {
        if (key === specifier) return addressOf(value);
        if (!key.endsWith('/') || !specifier.startsWith(key)) continue;
        const mapped = within(value, specifier.slice(key.length));
        if (mapped !== undefined) return addressOf(mapped);
        return undefined;
      }
      return undefined;
    },
  };
}

function requireEntry(key: string, value: unknown): void {
  const leads =
    typeof value === 'string' && (value.startsWith('./') || value.startsWith('/') || URL.canParse(value));
  const problem =
    key === '' || /^\.{0,2}\//.test(key)
      ? 'is no bare specifier'
      : !leads
        ? `leads to ${JSON.stringify(value)}`
        : key.endsWith('/') && !value.endsWith('/')
          ? 'ends in a slash and its value does not'
          : undefined;
  if (problem === undefined) return;
  throw misuse(
    `imports: ${JSON.stringify(key)} ${problem}`,
    'Keys are bare specifiers such as rxjs or lib/, values URLs, absolute paths, or ./ and a path below the mount.',
  );
}

/** Undefined for what would climb out of the address that the prefix stands for. */
function within(value: string, rest: string): string | undefined {
  const base = new URL(value, 'http://x/');
  // As in import maps the rest is no longer a path of its own, so `a//b` or `a/https:…` stays below.
  if (url.test(rest) || rest.startsWith('/') || !URL.canParse(rest, base.href)) return undefined;
  return new URL(rest, base).href.startsWith(base.href) ? value + rest : undefined;
}

function addressOf(value: string): Mapped {
  if (!value.startsWith('./')) return { url: value };
  const { pathname, search, hash } = new URL(value, 'http://x/');
  return { pathname: pathname.slice(1), suffix: search + hash };
}
