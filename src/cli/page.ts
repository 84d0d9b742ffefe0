import { readFile } from 'node:fs/promises';
import { ModuleCacheError } from '../errors.js';
import { isLoopbackHost, MIN_TOKEN_LENGTH } from '../page/access.js';

export interface PageOptions {
  /** True: it has to be there. False: it is off. Otherwise it is there if that is safe. */
  page?: boolean;
  pageTokenFile?: string;
}

/** Whom the page is shown: whoever knows the token, or without one whoever reaches a loopback address. */
export interface PageConfig {
  readonly token?: string;
}

export const PAGE_PATH = '/-/';
const TOKEN_VARIABLE = 'MODULE_CACHE_PAGE_TOKEN';
const HINT = `Give it a token of at least ${MIN_TOKEN_LENGTH} characters in ${TOKEN_VARIABLE} or with --page-token-file, such as "openssl rand -base64 24" makes.`;

/**
 * Undefined if there is no page.
 *
 * @throws ModuleCacheError MC107 for a token that cannot be used, and if there has to be a page and nothing protects it
 */
export async function settlePage(
  { page, pageTokenFile }: PageOptions,
  host: string,
): Promise<PageConfig | undefined> {
  if (page === false) return undefined;
  const token = await readToken(pageTokenFile);
  if (token !== undefined) return { token };
  if (isLoopbackHost(host)) return {};
  if (page === undefined) return undefined;
  throw new ModuleCacheError('MC107', 'nothing protects the page', {
    detail: `--host ${host}`,
    hint: HINT,
  });
}

async function readToken(file: string | undefined): Promise<string | undefined> {
  let token = process.env[TOKEN_VARIABLE] || undefined;
  if (file !== undefined) {
    try {
      token = (await readFile(file, 'utf8')).trim();
    } catch (error) {
      throw new ModuleCacheError('MC107', 'the token of the page cannot be read', {
        detail: `${file}: ${(error as Error).message}`,
        hint: HINT,
        cause: error,
      });
    }
  }
  if (token === undefined || token.length >= MIN_TOKEN_LENGTH) return token;
  throw new ModuleCacheError('MC107', 'the token of the page is too short', { hint: HINT });
}
