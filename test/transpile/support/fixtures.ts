import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll } from '@jest/globals';
import type {
  CompileFailure,
  TranspileResult,
  Transpiler,
  TranspilerOptions,
} from '../../../src/transpile/index.js';
import { createTranspiler } from '../../../src/transpile/index.js';

export const packageRoot = fileURLToPath(new URL('../../../', import.meta.url));
/** Folder whose Babel the tests use: name one with Babel 8 in it to run them all with that. */
export const project = process.env.BABEL_PROJECT ?? packageRoot;
export const realm = 'https://example.com/app/';

const closers: (() => unknown)[] = [];
afterAll(async () => {
  for (const close of closers.reverse()) await close();
});

/** A transpiler that is closed when the file's tests are done. */
export async function open(options: TranspilerOptions = {}): Promise<Transpiler> {
  const transpiler = await createTranspiler({
    threads: 1,
    ...options,
    babel: { cwd: project, ...options.babel },
  });
  closers.push(() => transpiler.close());
  return transpiler;
}

/** A project of its own with these files, in which Babel's packages can be found by name. */
export function folder(files: Record<string, string>): string {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'transpile-')));
  closers.push(() => rmSync(root, { recursive: true, force: true }));
  mkdirSync(join(root, 'node_modules'));
  symlinkSync(join(project, 'node_modules/@babel'), join(root, 'node_modules/@babel'));
  write(root, files);
  return root;
}

export function write(root: string, files: Record<string, string>): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), content);
  }
}

/** What a program prints that has `createTranspiler` and `options`, run in a process of its own, elsewhere. */
export function inProcess(
  program: string,
  options: TranspilerOptions = {},
  { flags = [], env = {} }: { flags?: string[]; env?: Record<string, string> } = {},
): string {
  const entry = pathToFileURL(join(packageRoot, 'dist/transpile/index.js')).href;
  const script = `const { createTranspiler } = await import('${entry}');
    const options = ${JSON.stringify({ ...options, babel: { cwd: project, ...options.babel } })};
    ${program}`;
  return execFileSync(process.execPath, [...flags, '--input-type=module', '-e', script], {
    cwd: tmpdir(),
    env: { ...process.env, ...env },
    encoding: 'utf8',
    timeout: 30_000,
  });
}

/** Code without its source map comment. */
export const codeOf = (result: TranspileResult): string =>
  result.body.replace(/\n?\/\/# sourceMappingURL=.*$/s, '');

export const failureOf = (result: TranspileResult): CompileFailure =>
  JSON.parse(result.body) as CompileFailure;

export function sourceMapOf(body: string): { payload: SourceMap['payload']; map: SourceMap } {
  const encoded = /\n\/\/# sourceMappingURL=data:application\/json;charset=utf-8;base64,([\w+/=]+)\s*$/.exec(
    body,
  );
  const payload = JSON.parse(Buffer.from(encoded?.[1] ?? '', 'base64').toString()) as SourceMap['payload'];
  return { payload, map: new SourceMap(payload) };
}

/** Dependency keys of one module. */
export async function keysOf(
  transpiler: Transpiler,
  source: string,
  path = 'models/person.ts',
  inRealm = realm,
): Promise<string[]> {
  const result = await transpiler.transpile({ realm: inRealm, path, source });
  if (result.isError) throw new Error(result.body);
  return result.dependencyKeys;
}
