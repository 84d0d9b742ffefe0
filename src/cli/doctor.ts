import { only } from '../calls.js';
import { type DatabaseOptions, namedUrl, openQuestions, print } from './database.js';
import { type CheckStatus, type Finding, type Patient, runCheck } from './doctor/check.js';
import { connectionChecks } from './doctor/connection.js';
import { fleetChecks } from './doctor/fleet.js';
import { schemaChecks } from './doctor/schema.js';
import { describeServer, serverChecks } from './doctor/server.js';
import { describe } from './failure.js';
import { styleFor } from './style.js';
import { columnsOf, hang, padEnd, printable } from './text.js';

export interface DoctorOptions extends DatabaseOptions {
  /** Of Postgres itself, if the database URL leads to a pooler. */
  listenUrl?: string;
}

/** Looks at all that a working cache needs. Exits with 1 if a check fails; a warning is none. */
export async function doctorCommand(options: DoctorOptions): Promise<void> {
  const url = namedUrl(options);
  const questions = openQuestions(url, 'module-cache doctor');
  const findings: Finding[] = [];
  try {
    const server = await reach({ url, listenUrl: options.listenUrl, questions }, options, findings);
    if (server !== undefined) {
      for (const check of [...serverChecks, ...connectionChecks, ...schemaChecks, ...fleetChecks]) {
        const finding = await runCheck(check, server);
        report(finding, options, findings);
        // Else each of the others would wait as long.
        if (finding.status === 'fail' && !(await isThere(server))) break;
      }
    }
  } finally {
    await questions.close();
  }
  const of = (status: CheckStatus): number => findings.filter((finding) => finding.status === status).length;
  const failed = of('fail');
  if (options.json) print(JSON.stringify({ failed, warned: of('warn'), checks: findings }));
  else print(`${failed} failed, ${of('warn')} with a warning, ${of('skip')} skipped, ${of('pass')} passed`);
  if (failed > 0) process.exitCode = 1;
}

const STILL_THERE_MS = 5_000;

const isThere = ({ questions }: Patient): Promise<boolean> =>
  questions
    .ask((sql) => sql`select 1`, STILL_THERE_MS)
    .then(
      () => true,
      () => false,
    );

/** Undefined if there is nobody to ask. */
async function reach(
  patient: Omit<Patient, 'hasSchema'>,
  options: DoctorOptions,
  findings: Finding[],
): Promise<Patient | undefined> {
  const name = 'connection';
  const where = describeServer(patient.url);
  try {
    const rows = await patient.questions.ask((sql) =>
      sql`select (to_regnamespace('module_cache') is not null)::text`.values(),
    );
    report({ name, status: 'pass', figure: where, advice: '' }, options, findings);
    return { ...patient, hasSchema: only(rows)[0] === 'true' };
  } catch (error) {
    const figure = `${where}: ${describe(error).replace(/^module-cache: /, '')}`;
    const advice =
      'Nothing else can be looked at. Is the server up, the address right, the password known, and the way open?';
    report({ name, status: 'fail', figure, advice }, options, findings);
    return undefined;
  }
}

const INDENT = ' '.repeat(26);
const colours = { pass: 'green', warn: 'yellow', fail: 'red', skip: 'dim' } as const;

function report(finding: Finding, { json }: DoctorOptions, findings: Finding[]): void {
  findings.push(finding);
  if (json) return;
  const style = styleFor(process.stdout);
  const { name, status, figure, advice } = finding;
  const columns = columnsOf(process.stdout);
  const title = `${style(colours[status], status)}  ${padEnd(name, 18)}  `;
  const lines = hang(title, printable(figure), columns);
  if (advice !== '') lines.push(...hang(`${INDENT}${style('dim', '→')} `, advice, columns));
  for (const line of lines) print(line);
}
