import { ModuleCacheError } from '../errors.js';

export interface Trouble {
  /** Of HTTP. */
  readonly status: number;
  readonly text: string;
}

/** What may be told of an error: nothing of where the database is, and nothing of what it holds. */
export function describeTrouble(error: unknown): Trouble {
  const { code } = error as { code?: unknown };
  if (code === 'MC006')
    return { status: 403, text: 'The realm is private, and the role of this page is no member of its role.' };
  const text = describeAbsence(error, String(code));
  return text === undefined ? { status: 500, text: 'Internal error.' } : { status: 503, text };
}

/** Of what can be asked again later. */
function describeAbsence(error: unknown, code: string): string | undefined {
  if (code === '42501')
    return 'The role of this page may not read the views of operators: grant it module_cache_operator.';
  if (/^28...$/.test(code)) return 'The database does not let the role of this page in.';
  if (code === '57014') return 'The database has taken too long.';
  if (!(error instanceof ModuleCacheError)) return undefined;
  if (code === 'MC108') return 'The database cannot be reached.';
  if (code === 'MC109') return 'Too much is asked of this page at once.';
  if (/^MC(004|005|107)$/.test(code)) return `The database cannot be used: ${error.message}.`;
  return undefined;
}
