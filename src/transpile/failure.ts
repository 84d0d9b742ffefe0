import type { CompileFailure, TranspileResult } from './protocol.js';

interface BabelError extends Error {
  loc?: { line?: number; column?: number; start?: { line: number; column: number } };
}

const frameLine = /^(?:> | {2}) *\d+ \||^ +\|(?: |$)/;

/** The result for a module that Babel does not compile. `filename` is the name that Babel knew it by. */
export function failureResult(error: unknown, path: string, filename: string): TranspileResult {
  return {
    body: JSON.stringify(describeFailure(error, path, filename)),
    headers: { 'content-type': 'application/json; charset=utf-8' },
    dependencyKeys: [],
    isError: true,
  };
}

function describeFailure(thrown: unknown, path: string, filename: string): CompileFailure {
  const error = (thrown instanceof Error ? thrown : new Error(String(thrown))) as BabelError;
  const text = error.message.replaceAll(`${filename}: `, '').replaceAll(filename, path);
  const lines = text.split('\n');
  const first = lines.findIndex((line) => frameLine.test(line));
  const length = first < 0 ? 0 : lines.slice(first).findIndex((line) => !frameLine.test(line));
  const end = length < 0 ? lines.length : first + length;
  const frame = first < 0 ? null : lines.slice(first, end);
  const start = error.loc?.start ?? error.loc;
  return {
    name: error.name,
    message: messageOf(frame === null ? lines : [...lines.slice(0, first), '', ...lines.slice(end)]),
    file: path,
    line: start?.line ?? lineOf(frame),
    column: start?.column === undefined ? columnOf(frame) : start.column + 1,
    codeFrame: frame === null ? null : frame.join('\n'),
  };
}

/** Without the place, which Babel counts from 0, and without its advice about a shell command on this machine. */
function messageOf(lines: string[]): string {
  return lines
    .join('\n')
    .replace(/\n+If you already added the plugin for this syntax[\s\S]*$/, '')
    .replace(/ \(\d+:\d+\)(?=:?(?:\n|$))/g, '')
    .replace(/\n{2,}/g, '\n')
    .trim();
}

/** Errors of plugins carry their place in the frame only. */
function lineOf(frame: string[] | null): number | null {
  const number = firstMatch(frame, /^> *(\d+) \|/);
  return number === null ? null : Number(number);
}

function columnOf(frame: string[] | null): number | null {
  const before = firstMatch(frame, /^ +\| ([ \t]*)\^/);
  return before === null ? null : before.length + 1;
}

function firstMatch(lines: string[] | null, pattern: RegExp): string | null {
  for (const line of lines ?? []) {
    const found = pattern.exec(line)?.[1];
    if (found !== undefined) return found;
  }
  return null;
}
