import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';

/**
 * Runs the tests of these files whose names contain one of these texts against a build, on a server that is there and
 * has the template.
 * Resolves to those that were run; rejects if Jest could not run a file.
 */
export async function runTests({ root, folder, serverUrl, template, signal }, build, tests, timeoutMs) {
  const report = join(folder, `report-${randomUUID()}.json`);
  const names = [...new Set(tests.map(({ name }) => escapeForRegExp(name)))];
  const output = await start(
    [
      ...['--experimental-vm-modules', '--disable-warning=ExperimentalWarning'],
      join(root, 'node_modules/jest/bin/jest.js'),
      ...['--runTestsByPath', ...new Set(tests.map(({ file }) => file))],
      ...['--testNamePattern', `(${names.join('|')})`, '--testTimeout', String(Math.ceil(timeoutMs))],
      // What lacks a guard may leave something behind that keeps Jest alive.
      ...['--json', '--outputFile', report, '--forceExit', '--cacheDirectory', join(folder, 'cache')],
    ],
    {
      cwd: root,
      env: { ...process.env, TEST_DIST: build, TEST_DATABASE_URL: serverUrl, TEST_TEMPLATE: template },
      signal,
    },
  );
  const { testResults } = readReport(report, output);
  rmSync(report);
  return testResults.flatMap(({ name, message, assertionResults }) => {
    // Without a test it is the file that failed.
    if (assertionResults.length === 0) throw new Error(message);
    return assertionResults
      .filter(({ status }) => status === 'passed' || status === 'failed')
      .map(({ fullName, status, duration, failureMessages }) => ({
        file: relative(root, name),
        name: fullName,
        passed: status === 'passed',
        ms: duration ?? 0,
        // What failed first; a hook after it may then wait in vain for what the test has left.
        message: failureMessages[0] ?? '',
      }));
  });
}

const escapeForRegExp = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

function readReport(report, output) {
  try {
    return JSON.parse(readFileSync(report, 'utf8'));
  } catch {
    throw new Error(`Jest did not come to an end: ${output}`);
  }
}

/** Resolves to what it wrote. That tests fail is no error of Jest. */
function start(args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, {
      ...options,
      killSignal: 'SIGKILL',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk;
      });
    }
    child.once('error', reject);
    child.once('close', () => resolve(output));
  });
}
