import { misuse } from './misuse.js';

/**
 * Which pages of other origins may load modules: none (the default), all (`true`), one, those of a list, or those for
 * which a function says true; one that throws says no. A page loads a module of another origin only with this, whatever
 * the attributes of its script. Credentials are not allowed: what is private to a cookie stays with its own origin.
 */
export type Cors = boolean | string | readonly string[] | ((origin: string) => boolean);

const EXPOSED = 'etag, x-module-cache, x-module-cache-token, x-module-cache-stale, x-module-cache-peer';
const PREFLIGHT = {
  'access-control-allow-methods': 'GET, HEAD',
  'access-control-allow-headers': 'x-module-cache-after, if-none-match',
  // Chromium remembers no preflight for longer.
  'access-control-max-age': '7200',
};

/** Adds to a response what browsers ask for. */
export type AddCors = (request: Request, headers: Headers) => void;

/** @throws ModuleCacheError MC107 for what names no origins */
export function createCors(cors: Cors = false): AddCors {
  if (cors === false) return () => {};
  const allowed = allowedOrigins(cors);
  return (request, headers) => {
    const origin = request.headers.get('origin');
    if (typeof allowed !== 'string') headers.append('vary', 'origin');
    const allow =
      typeof allowed === 'string' ? allowed : origin !== null && allowed(origin) ? origin : undefined;
    if (allow === undefined) return;
    headers.set('access-control-allow-origin', allow);
    headers.set('access-control-expose-headers', EXPOSED);
    if (request.method !== 'OPTIONS') return;
    for (const [name, value] of Object.entries(PREFLIGHT)) headers.set(name, value);
  };
}

/** One value for all requests, or a question for each. */
function allowedOrigins(cors: Exclude<Cors, false>): string | ((origin: string) => boolean) {
  if (cors === true) return '*';
  if (typeof cors === 'function') {
    return (origin) => {
      try {
        return cors(origin) === true;
      } catch {
        return false;
      }
    };
  }
  if (cors === '*') return cors;
  const origins = typeof cors === 'string' ? [cors] : cors;
  if (!Array.isArray(origins) || !origins.every(isOrigin)) {
    throw misuse(
      `cors is ${JSON.stringify(cors)}`,
      'Pass true, an origin such as https://app.example, an array of origins, or a function from origin to boolean.',
    );
  }
  return typeof cors === 'string' ? cors : (origin) => origins.includes(origin);
}

const isOrigin = (text: unknown): boolean =>
  typeof text === 'string' && URL.canParse(text) && new URL(text).origin === text;
