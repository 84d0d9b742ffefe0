import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { misuse } from './misuse.js';

/** Who may look at the page. */
export interface AccessOptions {
  /**
   * Whoever knows it may: as `Authorization: Bearer`, or once in the form of the page, which keeps a cookie. At least
   * 16 characters.
   */
  token?: string;
  /** Asked at every request, for pages behind a login of their own. */
  authorize?: (request: Request) => boolean | Promise<boolean>;
  /**
   * Whoever reaches it may: the server listens on loopback addresses alone, and no proxy leads there. The page then
   * answers to names of loopback only, so that no other name can be made to lead to it.
   */
  loopback?: boolean;
}

export type Verdict = 'allowed' | 'refused' | 'unknown';

export interface Access {
  /** `refused`: nobody may ask like this. `unknown`: it did not say who it is. */
  judge(request: Request): Promise<Verdict>;
  /** Whether there is a token that the form could ask for. */
  readonly hasToken: boolean;
  /** The cookie for whoever knows the token; undefined if it is another one. */
  sessionFor(request: Request, token: string): string | undefined;
}

export const MIN_TOKEN_LENGTH = 16;
const COOKIE = 'module-cache-page';
const SESSION_S = 12 * 3600;

/** @throws ModuleCacheError MC107 if nothing protects the page */
export function createAccess({ token, authorize, loopback = false }: AccessOptions): Access {
  if ([token !== undefined, authorize !== undefined, loopback].filter(Boolean).length !== 1) {
    throw misuse(
      'not exactly one of token, authorize and loopback is given',
      'Pass a token, or authorize, or loopback: true if the server can be reached from its own machine alone.',
    );
  }
  if (token !== undefined && (typeof token !== 'string' || token.length < MIN_TOKEN_LENGTH)) {
    throw misuse(
      `the token has fewer than ${MIN_TOKEN_LENGTH} characters`,
      'Make one with "openssl rand -base64 24".',
    );
  }
  const sign = (expires: string): string =>
    createHmac('sha256', token as string)
      .update(`module-cache page ${expires}`)
      .digest('base64url');

  function hasSession(request: Request): boolean {
    const [expires = '', signature = ''] = cookieOf(request)?.split('.') ?? [];
    return Number(expires) * 1000 > Date.now() && isSame(signature, sign(expires));
  }

  function knowsToken(request: Request): boolean {
    const bearer = /^bearer +(.+?) *$/i.exec(request.headers.get('authorization') ?? '')?.[1];
    return bearer !== undefined && isSame(bearer, token as string);
  }

  return {
    hasToken: token !== undefined,
    async judge(request) {
      if (isOfOtherOrigin(request)) return 'refused';
      if (loopback) return isLoopback(request) && !isForwarded(request) ? 'allowed' : 'refused';
      if (authorize !== undefined) return (await authorize(request)) === true ? 'allowed' : 'refused';
      return knowsToken(request) || hasSession(request) ? 'allowed' : 'unknown';
    },
    sessionFor(request, given) {
      if (token === undefined || !isSame(given, token)) return undefined;
      const expires = String(Math.floor(Date.now() / 1000) + SESSION_S);
      const secure = new URL(request.url).protocol === 'https:' ? '; Secure' : '';
      // Without a path it is for the folder of the form, wherever that is to the browser.
      return `${COOKIE}=${expires}.${sign(expires)}; Max-Age=${SESSION_S}; HttpOnly; SameSite=Strict${secure}`;
    },
  };
}

/** `127.0.0.1`, `::1`, `localhost`, as a name in a URL, an address to listen on, or both. */
export function isLoopbackHost(host: string): boolean {
  const name = host.replace(/^\[(.*)\]$/, '$1').toLowerCase();
  return (
    name === '::1' || /^127(\.\d{1,3}){3}$/.test(name) || name === 'localhost' || name.endsWith('.localhost')
  );
}

/**
 * A page of another site can have its own name lead to a loopback address, and is then of the same origin to a browser.
 * But it cannot change the name that the browser sends.
 */
function isLoopback(request: Request): boolean {
  const host = request.headers.get('host');
  const names = [new URL(request.url).hostname];
  try {
    if (host !== null) names.push(new URL(`http://${host}`).hostname);
  } catch {
    return false;
  }
  return names.every(isLoopbackHost);
}

const FORWARDED = ['forwarded', 'via', 'x-forwarded-for', 'x-forwarded-host', 'x-real-ip'];

/** A proxy stands in between, and whoever it answers to is not known. */
const isForwarded = ({ headers }: Request): boolean => FORWARDED.some((name) => headers.has(name));

/** Browsers say so themselves; those of before 2023, and pages without TLS, say the origin of what is not a GET. */
function isOfOtherOrigin({ headers, url }: Request): boolean {
  const site = headers.get('sec-fetch-site');
  if (site !== null) return site !== 'same-origin' && site !== 'none';
  const origin = headers.get('origin');
  if (origin === null) return false;
  try {
    // Not the scheme, which a proxy that ends TLS changes.
    return new URL(origin).host !== (headers.get('host') ?? new URL(url).host);
  } catch {
    return true;
  }
}

function cookieOf({ headers }: Request): string | undefined {
  for (const pair of (headers.get('cookie') ?? '').split(';')) {
    const [name, value] = pair.trim().split('=', 2);
    if (name === COOKIE) return value;
  }
  return undefined;
}

/** In the same time, however much of it is right. */
function isSame(given: string, known: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(known));
}
