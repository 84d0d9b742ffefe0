import type { Documentation, DocumentationTag } from './types.js';

export interface Comment {
  readonly type: string;
  readonly value: string;
  readonly start?: number | null;
  readonly end?: number | null;
}

/** Finds doc comments by their place: which node the parser ties a comment to depends on its version. */
export interface DocumentationFinder {
  /** The doc comment directly above the position. */
  before(position: number): Documentation | null;
  /** The same for what begins with decorators: it can also stand behind them. */
  behind(position: number): Documentation | null;
  /** The first doc comment, if it stands before all code and is not about the declaration that may begin the code. */
  ofFile(code: number, isDeclaration: boolean): Documentation | null;
}

const fileTags = new Set(['module', 'packageDocumentation', 'file', 'fileoverview', 'overview', 'license']);

export function createDocumentationFinder(source: string, comments: readonly Comment[]): DocumentationFinder {
  const byEnd = new Map(comments.map((comment) => [comment.end ?? -1, comment]));
  const byStart = new Map(comments.map((comment) => [comment.start ?? -1, comment]));

  /** Directly: no blank line between. */
  function before(position: number): Comment | null {
    for (let next = position; ; ) {
      const end = source.slice(0, next).trimEnd().length;
      const comment = byEnd.get(end);
      const gap = source.slice(end, next);
      if (comment === undefined || gap.split(lineBreak).length > 2) return null;
      next = comment.start ?? 0;
      if (isDocumentation(comment)) return belongs(next, gap) ? comment : null;
    }
  }

  /** What stands behind other code in the same line is about that code. */
  function belongs(start: number, gap: string): boolean {
    const lineStart = Math.max(source.lastIndexOf('\n', start - 1), source.lastIndexOf('\r', start - 1)) + 1;
    return source.slice(lineStart, start).trim() === '' || !lineBreak.test(gap);
  }

  const parsed = (comment: Comment | null): Documentation | null =>
    comment === null ? null : parseDocumentation(comment.value);

  return {
    before(position) {
      const doc = parsed(before(position));
      return doc !== null && isAboutFile(doc) ? null : doc;
    },
    behind(position) {
      let end = position;
      let found: Comment | null = null;
      for (;;) {
        end += source.slice(end).search(/\S|$/);
        const comment = byStart.get(end);
        if (comment === undefined) return parsed(found);
        if (isDocumentation(comment)) found = comment;
        end = comment.end ?? Number.POSITIVE_INFINITY;
      }
    },
    ofFile(code, isDeclaration) {
      const comment = comments.find(isDocumentation);
      if (comment === undefined || (comment.end ?? 0) > code) return null;
      const doc = parseDocumentation(comment.value);
      return !isDeclaration || before(code) !== comment || isAboutFile(doc) ? doc : null;
    },
  };
}

const lineBreak = /\r\n?|\n/;
const isDocumentation = ({ type, value }: Comment): boolean =>
  type === 'CommentBlock' && value.startsWith('*') && value.length > 1;
const isAboutFile = ({ tags }: Documentation): boolean => tags.some(({ name }) => fileTags.has(name));

/** `comment` is what stands between the marks, with the second star. */
export function parseDocumentation(comment: string): Documentation {
  const text: string[] = [];
  const tags: { name: string; lines: string[] }[] = [];
  let fenced = false;
  for (const line of withoutStars(comment.slice(1))) {
    const tag = fenced ? null : /^\s*@([a-z][\w:-]*)\s*(.*)$/i.exec(line);
    if (tag !== null) tags.push({ name: tag[1] as string, lines: [tag[2] as string] });
    else (tags.at(-1)?.lines ?? text).push(line);
    // What looks like a tag in a block of code is a decorator.
    if (/^\s*(?:```|~~~)/.test(line)) fenced = !fenced;
  }
  return {
    text: joined(text),
    tags: tags.map(({ name, lines }): DocumentationTag => ({ name, text: joined(lines) })),
  };
}

function withoutStars(comment: string): string[] {
  const [first = '', ...rest] = comment.split(lineBreak);
  const written = rest.filter((line) => line.trim() !== '');
  if (written.every((line) => /^\s*\*/.test(line))) {
    return [first.trim(), ...rest.map((line) => line.replace(/^\s*\* ?/, ''))];
  }
  const indent = Math.min(...written.map((line) => line.search(/\S/)));
  return [first.trim(), ...rest.map((line) => line.slice(indent))];
}

const joined = (lines: readonly string[]): string =>
  lines
    .map((line) => line.trimEnd())
    .join('\n')
    .replace(/^\n+|\n+$/g, '');
