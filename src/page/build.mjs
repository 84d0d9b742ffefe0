/* Puts together what the browser gets, with all that it needs of other packages: dist/page/assets. */
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const from = new URL('browser/', import.meta.url);
const to = new URL('../../dist/page/assets/', import.meta.url);
const modules = new URL('../../node_modules/', import.meta.url);

await rm(to, { recursive: true, force: true });
await mkdir(to, { recursive: true });
const { metafile } = await build({
  entryPoints: ['page.ts', 'login.ts', 'layout-worker.ts', 'page.css'].map((name) =>
    fileURLToPath(new URL(name, from)),
  ),
  outdir: fileURLToPath(to),
  absWorkingDir: fileURLToPath(new URL('../..', import.meta.url)),
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  legalComments: 'none',
  metafile: true,
  define: { 'process.env.NODE_ENV': '"production"' },
});
for (const name of ['index.html', 'login.html', 'icon.svg'])
  await copyFile(new URL(name, from), new URL(name, to));
await writeFile(new URL('third-party.txt', to), await licencesOf(Object.keys(metafile.inputs)));

/** Of each package that is part of it, because it goes to users with ours. */
async function licencesOf(inputs) {
  const names = inputs.flatMap((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? []);
  const texts = [...new Set(names)].sort().map(async (name) => {
    const { version } = JSON.parse(await readFile(new URL(`${name}/package.json`, modules), 'utf8'));
    return `${name} ${version}\n\n${await licenceOf(name)}`;
  });
  return (await Promise.all(texts)).join(`\n${'-'.repeat(80)}\n`);
}

async function licenceOf(name) {
  for (const file of [
    'LICENSE',
    'LICENSE.txt',
    'LICENSE.md',
    'LICENCE',
    'License',
    'Readme.md',
    'README.md',
  ]) {
    try {
      return await readFile(new URL(`${name}/${file}`, modules), 'utf8');
    } catch {}
  }
  throw new Error(`${name} says nothing of its licence`);
}
